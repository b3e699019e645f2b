"""What ``numpylm scaling predict`` is asked: sizes, tokens, budgets, or a schedule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.allocation import optimum
from numpylm.scaling.fit.derived_columns import with_areas
from numpylm.scaling.fit.runs import Runs
from numpylm.scaling.fit.table_file import columns_of, numbers, read_rows_of
from numpylm.scaling.laws.annealing import MEMORY
from numpylm.scaling.laws.power_laws import Law

OPTIONS = {"N": "--params", "D": "--tokens", "U": "--unique", "C": "--compute"}


def asked(arguments: argparse.Namespace, law: Law, constants: dict[str, float]) -> dict[str, Array]:
    """The inputs (m,) at which a prediction is wanted, by column.

    Raises ``ValueError`` for options that are missing, contradict each other or mean nothing here.
    """
    inputs = law.inputs
    if "S1" in inputs:
        raise ValueError(f"a prediction of {law.form} needs --schedule FILE")
    values = (arguments.params, arguments.tokens, arguments.unique, arguments.compute)
    given = {name: np.array(value, dtype=float)
             for name, value in zip("NDUC", values, strict=True) if value}  # fmt: skip
    for name, value in given.items():
        if not (np.isfinite(value) & (value > 0)).all():
            raise ValueError(f"{OPTIONS[name]} {value.min():g} must be positive")
    if "C" in given and {"N", "D"} <= set(inputs):
        c = given.pop("C")
        if {"N", "D"} <= given.keys():
            raise ValueError("--params, --tokens and --compute: two of them say the third")
        for name, other in (("N", "D"), ("D", "N")):
            if name in given:
                _same_length({OPTIONS[name]: given[name], "--compute": c})
                given[other] = c / (6.0 * given[name])
                break
        else:
            best = optimum(law.form, constants, c)
            given |= {"N": best.parameters, "D": best.tokens}
    if "U" in inputs and "D" in given:
        given.setdefault("U", given["D"])
    missing = [OPTIONS.get(name, name) for name in inputs if name not in given]
    if missing:
        raise ValueError(f"a prediction of {law.form} needs {' and '.join(missing)}")
    if unread := [OPTIONS[name] for name in given if name not in inputs]:
        raise ValueError(f"{law.form} does not read {' and '.join(unread)}")
    _same_length({OPTIONS[name]: given[name] for name in inputs})
    return given


def _same_length(values: dict[str, Array]) -> None:
    if len({len(value) for value in values.values()}) > 1:
        raise ValueError(f"give as many values for each of {', '.join(values)}, not "
                         f"{', '.join(str(len(value)) for value in values.values())}")  # fmt: skip


def scheduled(path: Path, law: Law, memory: float | None) -> tuple[Array, list[dict[str, Any]]]:
    """S₁ and S₂ (m, 2) at the rows of a schedule, and what each row is: its run and step.

    Raises ``ValueError`` unless the law is that of schedules and the file has one.
    """
    if "S1" not in law.inputs:
        raise ValueError(f"--schedule is for the annealing law; {law.form} does not read one")
    rows = read_rows_of(path)
    header = columns_of(rows)
    rate = "learning_rate" if "learning_rate" in header else "lr"
    if "step" not in header or rate not in header:
        raise ValueError(f"{path} has no columns step and learning_rate; it has "
                         f"{', '.join(header) or 'no rows'}")  # fmt: skip
    columns, wrong = {}, {}
    for name, there in (("step", "step"), ("learning_rate", rate)):
        values, what = numbers(rows, there)
        what = [text or (f"{row.place}: {there} is {value:g}; it must not be negative"
                         if not 0 <= value < float("inf") else "")
                for row, value, text in zip(rows, values, what, strict=True)]  # fmt: skip
        columns[name], wrong[name] = np.array(values), what
    names = [str(row.cells.get("run", path.stem)) for row in rows]
    places = [row.place for row in rows]
    runs = with_areas(Runs(columns, names, str(path), places=places, wrong=wrong), memory or MEMORY)
    at = [{"run": name, "step": float(step)}
          for name, step in zip(names, columns["step"], strict=True)]  # fmt: skip
    return runs.inputs(law), at
