"""How many real held-out runs lie in their 95 % intervals, on the public tables of scaling laws.

Of each table the fifth of the runs with the most compute is held out, and the others are fitted. A
run outside its interval is not luck alone: the form may be wrong there, or the scatter another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.scaling.fit.prediction import study
from numpylm.scaling.fit.run_table import Runs, read_runs


class Table(NamedTuple):
    """A table as its README describes it."""

    name: str
    file: str
    form: str
    columns: dict[str, str]
    options: dict[str, Any] = {}  # noqa: RUF012  (of read_runs)


GEMSTONES = {"N": "params_active_precise", "D": "tokens", "loss": "final_loss", "run": "run_name"}
GADRE = {"N": "params", "D": "tokens", "loss": "loss_c4_val", "run": "run"}
PORIAN = {"N": "n", "D": "tokens", "C": "flops"}
TASKS = ("hellaswag_val", "arc_easy_test", "arc_challenge_test", "csqa_val", "openbookqa_test",
         "piqa_val", "socialiqa_val")  # fmt: skip
TABLES = [
    Table("Gemstones, cooled", "gemstones/wandb_df_for_fitting_cool_end.jsonl", "chinchilla",
          GEMSTONES),
    Table("Gemstones, hot", "gemstones/wandb_df_for_fitting_hot.jsonl", "chinchilla", GEMSTONES),
    Table("Muennighoff", "datablations/datablations_182.csv", "data-constrained",
          {"N": "params", "D": "tokens", "U": "unique_tokens", "run": "run"}),
    *(Table(f"Gadre, {name}", "gadre/models.csv", "chinchilla", GADRE,
            {"where": [f"dataset={name}"]}) for name in ("c4_original", "rpj", "rw_original")),
    Table("Porian, tuned", "porian/isoflop_points.csv", "chinchilla", PORIAN,
          {"where": ["file=summary_df", "hparams=tuned", "param_count=standard", "val=val"]}),
    Table("Step Law, the best of each N and D", "step-law/dense_lr_bs_loss.csv", "chinchilla",
          {"loss": "smooth loss"}, {"best": True}),
    *(Table(f"OLMo ladder, {task}", "olmo-ladder/checkpoints.csv", "chinchilla",
            {"loss": f"{task}_bpb"}, {"last": 5, "units": {"loss": "as-is"}}) for task in TASKS),
]  # fmt: skip


def real_tables(samples: int) -> Iterator[str]:
    """A row for each table: how many held-out runs, how many inside, the mean error."""
    folder = Path(os.environ.get("NUMPYLM_DATA", "")) / "scaling"
    if not folder.is_dir():
        raise SystemExit("set NUMPYLM_DATA to a folder that holds scaling/")
    yield "| table | form | fitted | held out | inside | mean error |\n|---|---|---|---|---|---|"
    inside = held_out = 0
    for table in TABLES:
        try:
            runs = read_runs(folder / table.file, table.columns, **table.options)
            above = None if runs.held_out.any() else threshold(runs)
            found = study(runs, table.form, above=above, samples=samples, profiled=False)
        except ValueError as error:
            yield f"| {table.name} | {table.form} | – | – | {error} | |"
            continue
        if found.boot is None:
            yield f"| {table.name} | {table.form} | {len(found.runs)} | – | {found.no_intervals}||"
            continue
        held = found.holdout()
        count = len(held["runs"])
        inside, held_out = inside + held["inside"], held_out + count
        yield (f"| {table.name} | {table.form} | {len(found.runs)} | {count} | {held['inside']} "
               f"({held['inside'] / count:.0%}) | {held['mean_error']:.2%} |")  # fmt: skip
    yield f"| all | | | {held_out} | {inside} ({inside / max(held_out, 1):.0%}) | |"


def threshold(runs: Runs) -> float:
    """The compute up to which four fifths of the runs lie."""
    return float(np.quantile(runs.compute, 0.8, method="lower"))
