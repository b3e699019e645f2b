"""A table of training runs: what a scaling law is fitted to.

A row is a run, or a point of its loss curve, with the columns

    N       parameters, in whatever way they are counted; say which, for it changes the exponents
    D       training tokens
    C       training FLOPs; of N, D and C one may be missing, and is then taken from C = 6 N D
    loss    nats per token
    U       unique tokens, for the data-constrained law (default: D)
    S1, S2  of the annealing law; or ``step`` and ``learning_rate`` of every point of a curve
    run     name; rows of one name are one run
    role    what a run is for, in a table that ``numpylm scaling sweep`` wrote: "fit" and "holdout"
            are read, others (lr-check, seed, diverged) are left out
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.laws.annealing import annealing_areas
from numpylm.scaling.laws.power_laws import Law

NAMES = ("N", "D", "C", "U", "S1", "S2", "loss", "step", "learning_rate", "run")
TEXT = {"run"}
ROLES = ("fit", "holdout")
MAY_BE_ZERO = {"step", "learning_rate", "S2"}


@dataclass(frozen=True)
class Runs:
    """Columns by name, (n,) each, and the names of the runs."""

    columns: dict[str, Array]
    names: list[str]
    source: str
    derived: str = ""  # which column was computed, and how
    renamed: dict[str, str] = field(default_factory=dict)  # our names to the file's
    holdout_above: float | None = None  # FLOPs, where the table says which runs are held out

    def __len__(self) -> int:
        return len(self.names)

    def inputs(self, law: Law) -> Array:
        """What the law reads, (n, K). Raises ``ValueError`` if a column is missing."""
        missing = [name for name in law.inputs if name not in self.columns]
        if missing:
            raise ValueError(
                f"{self.source} has no column {', '.join(missing)}, which {law.form} needs; it has "
                f"{', '.join(self.columns)} (rename with --columns {missing[0]}=NAME)"
            )
        return np.stack([self.columns[name] for name in law.inputs], axis=1)

    @property
    def loss(self) -> Array:
        """(n,) nats."""
        return self.columns["loss"]

    @property
    def compute(self) -> Array:
        """(n,) FLOPs; where there is none, the position of a row in the table."""
        return self.columns.get("C", np.arange(1.0, len(self) + 1.0))

    def select(self, kept: Array) -> Runs:
        """The rows for which booleans (n,) are True."""
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        columns = {name: column[kept] for name, column in self.columns.items()}
        return replace(self, columns=columns, names=names)


def read_runs(path: Path, columns: dict[str, str] | None = None) -> Runs:
    """Runs of a .csv, .jsonl or .json file. ``columns`` maps our names to the file's.

    Raises ``ValueError`` for a column that is not there, a value that is missing, no number or not
    positive, and for a run that is there twice.
    """
    everything = _rows(path)
    numbered = [(i, row) for i, row in enumerate(everything, 1) if row.get("role", "fit") in ROLES]
    rows = [row for _, row in numbered]
    wanted = {name: name for name in NAMES} | (columns or {})
    for name in columns or {}:
        if name not in NAMES:
            raise ValueError(f"--columns {name}=… is none of {', '.join(NAMES)}")
    header = list(everything[0]) if everything else []
    found = {name: there for name, there in wanted.items() if there in header}
    for name, there in wanted.items():
        if there not in header and (name in (columns or {}) or name == "loss"):
            raise ValueError(f"{path} has no column {there!r} for {name}; it has "
                             f"{', '.join(header) or 'no rows'}")  # fmt: skip
    numbers = {name: np.array([_number(row, there, i, name, path) for i, row in numbered])
               for name, there in found.items() if name not in TEXT}  # fmt: skip
    names = [str(row[found["run"]]) for row in rows] if "run" in found else []
    names = names or [f"row {i}" for i, _ in numbered]
    runs = _completed(Runs(numbers, names, str(path), renamed=columns or {}))
    held_out = np.array([row.get("role") == "holdout" for row in rows])
    above = float(runs.compute[~held_out].max()) if held_out.any() and not held_out.all() else None
    return replace(runs, holdout_above=above)


def column_names(path: Path) -> list[str]:
    """What the columns of a table are called."""
    rows = _rows(path)
    return list(rows[0]) if rows else []


def _rows(path: Path) -> list[dict]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        elif path.suffix == ".json":
            rows = json.loads(text)
        else:
            rows = list(csv.DictReader(text.splitlines()))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold a list of runs, each with its columns")
    return rows


def _number(row: dict, there: str, i: int, name: str, path: Path) -> float:
    """A positive number, or an error that says where it is not."""
    text = row.get(there)
    try:
        value = float(text)
    except (TypeError, ValueError):
        what = "is missing" if text in (None, "") else f"{text!r} is no number"
        raise ValueError(f"{path}, run {i}: {there} {what}") from None
    if not math.isfinite(value) or (value <= 0 and name not in MAY_BE_ZERO):
        raise ValueError(f"{path}, run {i}: {there} is {value:g}; it must be positive and finite")
    return value


def _completed(runs: Runs) -> Runs:
    """Add what follows from other columns; refuse what is there twice."""
    c, derived = dict(runs.columns), ""
    if "C" not in c and {"N", "D"} <= c.keys():
        c["C"], derived = 6.0 * c["N"] * c["D"], "C = 6 N D"
    elif "D" not in c and {"N", "C"} <= c.keys():
        c["D"], derived = c["C"] / (6.0 * c["N"]), "D = C / (6 N)"
    elif "N" not in c and {"C", "D"} <= c.keys():
        c["N"], derived = c["C"] / (6.0 * c["D"]), "N = C / (6 D)"
    if "U" not in c and "D" in c:
        c["U"] = c["D"]
    if "S1" not in c and {"step", "learning_rate"} <= c.keys():
        c["S1"], c["S2"] = _areas(c["step"], c["learning_rate"], np.array(runs.names))
    keys = ["loss", *(name for name in ("N", "D", "C", "U", "S1", "S2", "step") if name in c)]
    seen: dict[tuple[float, ...], int] = {}
    for i, row in enumerate(zip(*(c[name].tolist() for name in keys), strict=True), 1):
        if row in seen:
            raise ValueError(
                f"{runs.source}: runs {seen[row]} and {i} are the same ("
                + ", ".join(f"{name} {value:g}" for name, value in zip(keys, row, strict=True))
                + "); a run that is there twice counts twice"
            )
        seen[row] = i
    return replace(runs, columns=c, derived=derived)


def _areas(step: Array, learning_rate: Array, names: Array) -> tuple[Array, Array]:
    """S₁ and S₂ of each row; between the rows of a curve its learning rate is interpolated."""
    s1, s2 = np.empty(len(step)), np.empty(len(step))
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        order = rows[np.argsort(step[rows])]
        every = np.arange(1, int(step[order[-1]]) + 1)
        areas = annealing_areas(np.interp(every, step[order], learning_rate[order]))
        at = np.maximum(step[rows].astype(int), 1) - 1
        s1[rows], s2[rows] = areas[0][at], areas[1][at]
    return s1, s2
