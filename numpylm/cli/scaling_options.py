"""The options of ``numpylm scaling fit | predict | report | sweep``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from numpylm.scaling.laws.forms import FORMS


def add_scaling(commands: Any) -> None:
    """Add ``scaling`` with its sub-commands and their options."""
    meaning = "fit scaling laws and predict a run from them"
    description = f"{meaning[0].upper()}{meaning[1:]}."
    parser = commands.add_parser("scaling", help=meaning, description=description)
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    p = _action(actions, "fit", "fit a scaling law to the runs of a table")
    _add_fit_options(p)
    p = _action(actions, "predict", "the loss of a run before it is trained")
    _add_fit_options(p)
    p.add_argument("--params", type=float, nargs="+", metavar="N", help="parameters of the runs")
    p.add_argument("--tokens", type=float, nargs="+", metavar="D", help="training tokens")
    p.add_argument("--unique", type=float, nargs="+", metavar="U",
                   help="of them unique (default: all)")  # fmt: skip
    p.add_argument("--compute", type=float, nargs="+", metavar="C",
                   help="FLOPs; a law of N and D is then taken at its optimum")  # fmt: skip
    p = _action(actions, "report", "a page with every table and figure of a folder of runs")
    p.add_argument("folder", help="with runs.csv, and curves.csv if there are loss curves")
    p.add_argument("--form", choices=FORMS, help="(default: as the plan of a sweep, or kaplan)")
    _add_common(p)
    p = _action(actions, "sweep", "train a family of models, fit a law, predict larger runs")
    _add_sweep_options(p)


def _action(actions: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    p = actions.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
    p.add_argument("--json", action="store_true", help="print the result as JSON")
    return p


def _add_fit_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("runs", help="a table of runs (.csv, .jsonl, .json), or a fit that --save wrote")
    p.add_argument("--form", choices=FORMS, help="of the law (default: chinchilla)")
    _add_common(p)
    p.add_argument("--save", metavar="FILE", help="keep the fit, to predict from it later")


def _add_common(p: argparse.ArgumentParser) -> None:
    p.add_argument("--columns", default="", metavar="N=…,D=…,loss=…",
                   help="what the columns are called (default: N, D, C, U, loss, run)")  # fmt: skip
    p.add_argument("--holdout-above", type=float, metavar="C",
                   help="fit the runs of up to C FLOPs and predict the others (default: as "
                        "the table of a sweep says)")  # fmt: skip
    p.add_argument("--bootstrap", type=int, default=None, metavar="N",
                   help="resamples for the intervals; 0: none (default: 1000)")  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="of the resamples (default: 0)")
    p.add_argument("--loss", default="huber", choices=("huber", "lad", "mse"),
                   help="of the residuals of ln L (default: huber)")  # fmt: skip
    p.add_argument("--delta", type=float, help="Huber's threshold (default: 0.001)")
    p.add_argument("--reduction", default="sum", choices=("sum",),
                   help="always the sum over the runs: the mean has a smaller gradient, and "
                        "optimisers then stop early")  # fmt: skip
    p.add_argument("--fix", default="", metavar="E=…", help="hold constants at these values")


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
