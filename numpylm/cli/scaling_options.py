"""The options of ``numpylm scaling fit | predict | report | sweep``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from numpylm.scaling.fit.run_table import NAMES, UNITS
from numpylm.scaling.laws.forms import FORMS


def add_scaling(commands: Any) -> None:
    """Add ``scaling`` with its sub-commands and their options."""
    meaning = "fit scaling laws and predict a run from them"
    description = f"{meaning[0].upper()}{meaning[1:]}."
    parser = commands.add_parser("scaling", help=meaning, description=description)
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    p = _action(actions, "fit", "fit a scaling law to the runs of a table")
    _add_fit_options(p, "tables of runs (.csv, .tsv, .jsonl, .json), fitted together")
    p.add_argument("--by", metavar="COLUMN", help="one fit for each value of a column")
    p.add_argument("--save", metavar="FILE", help="keep the fit, to predict from it later")
    p = _action(actions, "predict", "the loss of a run before it is trained")
    _add_fit_options(p, "tables of runs, or a fit that --save wrote")
    p.add_argument("--params", type=float, nargs="+", metavar="N", help="parameters of the runs")
    p.add_argument("--tokens", type=float, nargs="+", metavar="D", help="training tokens")
    p.add_argument("--unique", type=float, nargs="+", metavar="U",
                   help="of them unique (default: all)")  # fmt: skip
    p.add_argument("--compute", type=float, nargs="+", metavar="C",
                   help="FLOPs; with --params or --tokens the other follows from C = 6 N D, alone "
                        "a law of N and D is taken at its optimum")  # fmt: skip
    p.add_argument("--schedule", metavar="FILE",
                   help="a table of step and learning_rate, for the annealing law: its loss "
                        "curve is predicted")  # fmt: skip
    p = _action(actions, "report", "a page with every table and figure of a folder of runs")
    p.add_argument("folder", help="with runs.csv, and curves.csv if there are loss curves")
    _add_common(p)
    p = _action(actions, "sweep", "train a family of models, fit a law, predict larger runs")
    _add_sweep_options(p)


def _action(actions: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    p = actions.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
    p.add_argument("--json", action="store_true", help="print the result as JSON")
    return p


def _add_fit_options(p: argparse.ArgumentParser, what: str) -> None:
    p.add_argument("runs", nargs="+", help=what)
    _add_common(p)


def _add_common(p: argparse.ArgumentParser) -> None:
    p.add_argument("--form", choices=FORMS,
                   help="of the law (default: that of plan.json beside the table, or "
                        "chinchilla)")  # fmt: skip
    p.add_argument("--columns", default="", metavar="N=…,loss=…",
                   help=f"what the columns are called (default: {', '.join(NAMES)}; a column "
                        "role says fit or holdout)")  # fmt: skip
    p.add_argument("--units", default="", metavar="N=…,loss=…",
                   help=f"of a column: {', '.join(UNITS)}")  # fmt: skip
    p.add_argument("--where", action="append", default=[], metavar="CONDITION",
                   help="only rows such as dataset=rpj or N>1e9; may be repeated")  # fmt: skip
    p.add_argument("--best", action="store_true",
                   help="of each N and D only the row of the lowest loss")  # fmt: skip
    p.add_argument("--last", type=int, metavar="K",
                   help="of each run its last row, with the mean loss of its last K")  # fmt: skip
    p.add_argument("--holdout", metavar="CONDITION",
                   help="fit the other rows and predict these, as N>1e9 (default: those whose "
                        "role is holdout)")  # fmt: skip
    p.add_argument("--holdout-above", type=float, metavar="C",
                   help="fit the runs of up to C FLOPs and predict the others")  # fmt: skip
    p.add_argument("--bootstrap", type=int, default=None, metavar="N",
                   help="resamples for the intervals; 0: none (default: 1000)")  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="of the resamples (default: 0)")
    p.add_argument("--loss", default="huber", choices=("huber", "lad", "mse"),
                   help="of the residuals (default: huber)")  # fmt: skip
    p.add_argument("--delta", type=float, help="Huber's threshold (default: 0.001)")
    p.add_argument("--reduction", default="sum", choices=("sum",),
                   help="always the sum over the runs: the mean has a smaller gradient, and "
                        "optimisers then stop early")  # fmt: skip
    p.add_argument("--residuals", default="log", choices=("log", "nats"),
                   help="of ln L, or of L itself (default: log)")  # fmt: skip
    p.add_argument("--fix", default="", metavar="E=…", help="hold constants at these values")
    p.add_argument("--tie", metavar="alpha=beta", help="hold two exponents equal")
    p.add_argument("--memory", type=float, metavar="LAMBDA",
                   help="of the annealing law (default: fitted too)")  # fmt: skip


def _add_sweep_options(p: argparse.ArgumentParser) -> None:
    """Where there is no default it is what the plan in the folder says, if there is one."""
    p.add_argument("--budget", default="10min", metavar="TIME",
                   help="90s, 10min, 1h, 10h: what it may take here (default: 10min)")  # fmt: skip
    p.add_argument("--folder", help="of the sweep (default: results/TIME); one that was stopped "
                                    "goes on")  # fmt: skip
    p.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1),
                   help="runs at a time, one process each; with --dask, those that the "
                        "plan counts on (default: 2)")  # fmt: skip
    p.add_argument("--dask", metavar="ADDRESS",
                   help="of a scheduler, as tcp://host:8786: train on its workers")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="print the plan and train nothing")
    p.add_argument("--corpus", help="text to train on, as in numpylm train (default: pydoc)")
    p.add_argument("--tokenizer", choices=("char", "byte"), help="(default: char)")
    p.add_argument("--form", choices=("kaplan", "chinchilla", "generalised", "data-constrained"),
                   help="of the headline, fixed before training (default: generalised; below "
                        "5min kaplan; data-constrained for 30min and more on a text that is "
                        "read again)")  # fmt: skip
    p.add_argument("--seed", type=int, help="of initial weights and batches (default: 1)")
    p.add_argument("--bootstrap", type=int, metavar="N",
                   help="resamples for the intervals (default: 1000, below 5min 100)")  # fmt: skip
