"""A table of training runs: what a scaling law is fitted to.

A row is a run, or a point of its loss curve, with the columns

    N       parameters, in whatever way they are counted; say which, for it changes the exponents
    D       training tokens
    C       training FLOPs; of N, D and C one may be missing, and is then taken from C = 6 N D
    loss    nats per token
    U       unique tokens, for the data-constrained law (default: D)
    S1, S2  of the annealing law; or ``step`` and ``learning_rate`` of every point of a curve
    run     name; rows of one name are one run. Without it each row is a run, but each file of a
            loss curve is one
    role    what a run is for, in a table that ``numpylm scaling sweep`` wrote: "fit" rows are
            fitted, "holdout" rows held out, others (lr-check, seed, diverged) left out

Only what a law reads has to be there: an empty cell is an error when it is used. Every row is
accounted for: ``Runs.account`` says how many were read, and why some were left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.conditions import Condition
from numpylm.scaling.fit.derived_columns import best_of_each, completed, mean_of_last
from numpylm.scaling.fit.runs import Runs
from numpylm.scaling.fit.table_file import Row, columns_of, numbers, read_rows_of
from numpylm.scaling.laws.annealing import MEMORY

NAMES = ("N", "D", "C", "U", "S1", "S2", "loss", "step", "learning_rate", "run")
ROLES = ("fit", "holdout")
MAY_BE_ZERO = {"step", "learning_rate", "S2"}
UNITS = {"as-is": 1.0, "nats": 1.0, "bits": math.log(2.0), "ones": 1.0, "thousands": 1e3,
         "millions": 1e6, "billions": 1e9, "trillions": 1e12}  # fmt: skip
SMALLEST = 50.0  # parameters or tokens: no table has only runs below it


def read_runs(
    paths: Path | Sequence[Path],
    columns: dict[str, str] | None = None,
    *,
    where: Sequence[str] = (),
    holdout: str | None = None,
    units: dict[str, str] | None = None,
    best: bool = False,
    last: int | None = None,
    memory: float = MEMORY,
) -> Runs:
    """Runs of one or several .csv, .tsv, .jsonl or .json files.

    columns: our names to the files'. where: conditions that rows must meet. holdout: one that says
    which are held out (default: the column role). units: of N, D, … and loss, as ``UNITS``; the
    loss in bits becomes nats. best: of each N and D only the row of the lowest loss. last: of
    each run only its last row, with the mean loss of so many of its last rows. memory: λ of
    the annealing law, for S2.

    Raises ``ValueError``, with file and line, for a file that is no table, a column that is not
    there, a loss that is missing, no number or not positive, and a run that is there twice.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    columns, units = columns or {}, units or {}
    for option, names in (("columns", columns), ("units", units)):
        for name in names:
            if name not in NAMES:
                raise ValueError(f"--{option} {name}=… is none of {', '.join(NAMES)}")
    everything = [row for path in paths for row in read_rows_of(path)]
    source = " ".join(str(path) for path in paths)
    header = columns_of(everything)
    for name in (*columns, "loss"):
        if columns.get(name, name) not in header:
            raise ValueError(f"{source} has no column {columns.get(name, name)!r} for {name}; "
                             f"it has {', '.join(header) or 'no rows'}")  # fmt: skip
    rows, left_out = _kept(everything, where, columns)
    if not rows:
        why = ", ".join(f"{why} {count}" for why, count in left_out.items())
        raise ValueError(f"{source}: no row is left of {len(everything)} ({why})")
    called = {name: columns.get(name, name) for name in NAMES}
    found = {name: there for name, there in called.items() if there in header}
    numeric, wrong = _numeric(rows, found, units)
    runs = Runs(
        numeric, _names(rows, found), source, renamed=columns, rows=rows, wrong=wrong,
        places=[row.place for row in rows], held_out=np.zeros(len(rows), bool),
        read=len(everything), left_out=left_out,
    )  # fmt: skip
    runs.column("loss")
    runs = completed(runs, memory)
    if last is not None:
        runs = mean_of_last(runs, last)
    if best:
        runs = best_of_each(runs)
    return replace(runs, **_held(runs, holdout))


def _kept(
    rows: list[Row], where: Sequence[str], columns: dict[str, str]
) -> tuple[list[Row], dict[str, int]]:
    """The rows to read, and how many are left out for which reason."""
    left_out: Counter[str] = Counter()
    for text in where:
        holds = Condition.parsed(text).holds(rows, columns)
        left_out[f"not {text}"] += holds.count(False)
        rows = [row for row, kept in zip(rows, holds, strict=True) if kept]
    if any(row.cells.get("role") in ROLES for row in rows):
        for row in rows:
            if (role := row.cells.get("role", "fit")) not in ROLES:
                left_out[f"role {role}"] += 1
        rows = [row for row in rows if row.cells.get("role", "fit") in ROLES]
    return rows, {why: count for why, count in left_out.items() if count}


def _numeric(
    rows: list[Row], found: dict[str, str], units: dict[str, str]
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """The columns that are numbers, in our units, and what is wrong with their cells."""
    numeric, wrong = {}, {}
    for name, there in found.items():
        if name == "run":
            continue
        values, what = numbers(rows, there)
        unit = units.get(name, "as-is")
        if unit not in UNITS or (unit in ("bits", "nats")) != (name == "loss" and unit != "as-is"):
            raise ValueError(f"--units {name}={unit} must be one of {', '.join(UNITS)}; nats and "
                             "bits are for the loss alone")  # fmt: skip
        column = np.array(values) * UNITS[unit]
        for i, value in enumerate(column):
            if not what[i] and (not math.isfinite(value) or value < 0.0
                                or (value == 0.0 and name not in MAY_BE_ZERO)):  # fmt: skip
                at_least = "not be negative" if name in MAY_BE_ZERO else "be positive and finite"
                what[i] = f"{rows[i].place}: {there} is {values[i]:g}; it must {at_least}"
        _guard(name, there, column, name in units)
        numeric[name], wrong[name] = column, what
    return numeric, wrong


def _guard(name: str, there: str, column: Array, told: bool) -> None:
    """Refuse numbers that are surely in another unit, unless the unit was told."""
    if told:
        return
    if name in ("N", "D") and np.nanmax(column, initial=0.0) < SMALLEST:
        raise ValueError(f"{there} is at most {np.nanmax(column):g}: in which unit? Say so with "
                         f"--units {name}=billions, or {name}=ones")  # fmt: skip
    lowered = there.lower()
    if name == "loss" and any(mark in lowered for mark in ("bpb", "bpc", "bits")):
        raise ValueError(f"{there} seems to be in bits: say --units loss=bits to have nats, or "
                         "loss=as-is to fit it as it is")  # fmt: skip
    if name == "loss" and any(mark in lowered for mark in ("ppl", "perplexity")):
        raise ValueError(f"{there} seems to be a perplexity: its logarithm is the loss in nats")


def _names(rows: list[Row], found: dict[str, str]) -> list[str]:
    """The run of each row: as the table says; one a file for curves; else one a row."""
    if "run" in found:
        return [str(row.cells.get(found["run"])) for row in rows]
    if {"step", "learning_rate"} <= found.keys():
        return [row.path.stem for row in rows]
    return [row.place.rpartition(", ")[2].replace("run", "row") for row in rows]


def _held(runs: Runs, holdout: str | None) -> dict:
    """Which rows are held out, and what says so."""
    if holdout is not None:
        held = np.array(Condition.parsed(holdout).holds(runs.rows, runs.renamed))
        for part, what in ((held, "predict"), (~held, "fit")):
            if not part.any():
                raise ValueError(f"a hold-out of {holdout} leaves nothing to {what}")
        return {"held_out": held, "held_by": holdout}
    held = np.array([row.cells.get("role") == "holdout" for row in runs.rows])
    return {"held_out": held, "held_by": "role" if held.any() else ""}
