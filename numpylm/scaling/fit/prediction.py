"""§6.5 Predict a run before training it: fit the small runs, hold out the large ones, compare.

R² is no test of a scaling law: any smooth curve with five constants passes through the points that
it was fitted to. The held-out runs, at more compute than any fitted one, are the test, and the form
should be chosen before they are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from numpylm.scaling.fit import remarks
from numpylm.scaling.fit.allocation import exponents
from numpylm.scaling.fit.fitted_law import FittedLaw
from numpylm.scaling.fit.fitting import Fit, NotConverged, fit
from numpylm.scaling.fit.intervals import (
    Bootstrap,
    Profile,
    bootstrap,
    condition,
    percentiles,
    profile,
)
from numpylm.scaling.fit.memory import with_best_memory
from numpylm.scaling.fit.run_table import Runs
from numpylm.scaling.fit.table_file import columns_of, numbers
from numpylm.scaling.laws.forms import FORMS
from numpylm.scaling.laws.power_laws import Law
from numpylm.scaling.laws.tied import Tied

CONVENTIONS = ("N", "N_without_embeddings", "N_total")  # columns of a table that counts all ways


@dataclass(frozen=True)
class Study:
    """A fit, how sure it is, and what it says of runs that it did not see."""

    runs: Runs  # those fitted
    held_out: Runs | None
    above: float | None  # FLOPs, if the hold-out is that of the larger runs
    fit: Fit
    boot: Bootstrap | None
    profiles: list[Profile]
    no_intervals: str = ""  # why there are none, though they were asked for
    memory: float | None = None  # λ, of a law of S1 and S2

    def as_dict(self) -> dict[str, Any]:
        """What ``scaling fit --json`` prints."""
        f = self.fit
        found: dict[str, Any] = {"form": f.law.form, **f.constants}
        found |= {
            "objective": f.objective, "r2": f.r2, "converged": True,
            "intervals": {}, "holdout": None,
            "loss": f.loss, "delta": f.delta if f.loss == "huber" else None, "reduction": "sum",
            "fixed": f.fixed, "runs": len(self.runs), "source": self.runs.source,
            "derived": self.runs.derived, "gradient": f.gradient,
            "certificate": f.certificate and f.certificate._asdict(),
            "starts_agreeing": f.starts_agreeing, "starts_followed": len(f.minima),
            "condition": condition(f), "bootstrap": 0,
            "profile": {p.name: p.interval for p in self.profiles},
            "nats": f.problem.nats, "memory": self.memory,
            "tied": [f.law.first, f.law.second] if isinstance(f.law, Tied) else None,
            "account": self.account(), "remarks": self.remarks(),
        }  # fmt: skip
        if self.boot is not None:
            found["bootstrap"], found["bootstrap_failed"] = len(self.boot.theta), self.boot.failed
            found["intervals"] = self.boot.intervals()
        if {"N", "D"} <= set(f.law.inputs):
            found["allocation"] = self.allocation()
        if self.held_out is not None:
            found["holdout"] = self.holdout()
        return found

    def account(self) -> str:
        """What became of every row that was read."""
        held = len(self.held_out) if self.held_out is not None else 0
        return f"{self.runs.account}, {len(self.runs)} fitted, {held} held out"

    def remarks(self) -> list[str]:
        """What a reader should know before using this fit."""
        inputs = self.fit.law.inputs
        said = remarks.of_quality(self.fit) + remarks.of_runs(self.runs, inputs)
        if self.no_intervals:
            said.append(f"There are no intervals: {self.no_intervals}.")
        if self.boot is not None:
            said += remarks.of_bootstrap(self.boot)
        if self.held_out is not None:
            asked = {name: self.held_out.columns[name] for name in inputs}
            said += remarks.of_distance(asked, self.fitted_range())
        return said + remarks.of_fit(self.fit, self.profiles)

    def fitted_range(self) -> dict[str, tuple[float, float]]:
        """The smallest and the largest of each input that was fitted."""
        columns = {name: self.runs.columns[name] for name in self.fit.law.inputs}
        return {n: (float(column.min()), float(column.max())) for n, column in columns.items()}

    def fitted_law(self) -> FittedLaw:
        """What predicts: the law with its resamples."""
        f, boot = self.fit, self.boot
        draws = np.empty((0, len(f.theta))) if boot is None else boot.theta
        scatter = np.zeros(0) if boot is None else boot.scatter()
        return FittedLaw(f.law, f.centre, f.theta, draws, scatter, self.fitted_range(), self.memory)

    def allocation(self) -> dict[str, Any]:
        """a of N_opt ∝ C^a, and its interval if there is a bootstrap."""
        form, constants = self.fit.law.form, self.fit.constants
        one = {name: np.array([value]) for name, value in constants.items()}
        found: dict[str, Any] = {"exponent": float(exponents(form, one)[0])}
        if self.boot is not None:
            found["interval"] = percentiles(exponents(form, self.boot.constants()))
        return found

    @cached_property
    def counted(self) -> list[Counted]:
        """The allocation exponent for each way to count N: ``exponent_by_counting``."""
        return exponent_by_counting(self)

    def saved(self) -> dict[str, Any]:
        """The same, and the resamples, so that predictions from it have intervals.

        Raises ``ValueError`` for a fit that could not be read back.
        """
        return self.as_dict() | self.fitted_law().saved()

    def holdout(self) -> dict[str, Any]:
        """The held-out runs beside what was predicted for them."""
        runs, law = self.held_out, self.fit.law
        rows = []
        predicted = self.fitted_law().rows(runs.inputs(law))
        for i, (name, row) in enumerate(zip(runs.names, predicted, strict=True)):
            loss = float(runs.loss[i])
            values: dict[str, Any] = {
                c: float(runs.columns[c][i]) for c in ("N", "D", "C") if c in runs.columns
            }
            row = {"run": name, **values, "loss": loss, **row, "error": row["predicted"] / loss - 1}
            if "new_run" in row:
                row["inside"] = row["new_run"][0] <= loss <= row["new_run"][1]
            rows.append(row)
        return {
            "above": self.above,
            "by": self.held_out.held_by,
            "mean_error": float(np.mean([abs(row["error"]) for row in rows])),
            "largest_error": max(abs(row["error"]) for row in rows),
            "inside": sum(row.get("inside", False) for row in rows) if self.boot else None,
            "runs": rows,
        }


def study(
    runs: Runs,
    form: str,
    *,
    above: float | None = None,
    samples: int = 0,
    seed: int = 0,
    loss: str = "huber",
    delta: float | None = None,
    fixed: dict[str, float] | None = None,
    tied: tuple[str, str] | None = None,
    nats: bool = False,
    memory: float | None = None,
    profiled: bool = True,
) -> Study:
    """Fit a form to the runs and predict those held out: with C above ``above``, or as the table
    says (``Runs.held_out``). memory: λ of the annealing law; None: fitted too, if the table has
    steps and learning rates.

    Raises ``ValueError`` for a form that does not exist, a hold-out that leaves nothing to fit or
    nothing to predict, and whatever ``fit`` raises.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} must be one of {', '.join(FORMS)}")
    if samples and samples < 20:
        raise ValueError(f"bootstrap {samples}: at least 20 resamples make an interval")
    law: Law = FORMS[form] if tied is None else Tied(FORMS[form], *tied)
    runs.inputs(law)  # a missing column is the first thing to say
    options: Mapping[str, Any] = {"loss": loss, "delta": delta, "fixed": fixed, "nats": nats}
    if "S1" in law.inputs and "learning_rate" in runs.columns:
        runs, memory = with_best_memory(runs, law, memory, options)
    largest_fitted = runs.holdout_above if above is None else above
    runs, held_out = split(runs, above)
    f = fit(law, runs.inputs(law), runs.loss, **options)
    boot, why = None, ""
    if samples:
        try:
            boot = bootstrap(f, np.array(runs.names), samples, seed)
        except (NotConverged, ValueError) as error:
            why = str(error)
    profiles = [profile(f, name) for name in law.profiled if profiled and name not in f.fixed]
    return Study(runs, held_out, largest_fitted, f, boot, profiles, why, memory)


class Counted(NamedTuple):
    """The allocation exponent, with N counted in one way."""

    column: str
    exponent: float  # a of N_opt ∝ C^a
    interval: tuple[float, float] | None  # 95 %, by the study's number of resamples
    objective: float


def exponent_by_counting(found: Study) -> list[Counted]:
    """The same form fitted to the same runs, once for each column that counts N.

    Empty unless the table has at least two of them and the law has both N and D.
    """
    law, f, runs = found.fit.law, found.fit, found.runs
    if not {"N", "D"} <= set(law.inputs):
        return []
    usual, header = runs.renamed.get("N", "N"), columns_of(runs.rows)
    columns = [c for c in dict.fromkeys((usual, *CONVENTIONS)) if c in header]
    counted = []
    for column in columns if len(columns) > 1 else []:
        other = found
        if column != usual:
            other = study(
                with_size(runs, column), law.form, fixed=f.fixed, loss=f.loss,
                samples=0 if found.boot is None else found.boot.samples,
                tied=(law.first, law.second) if isinstance(law, Tied) else None,
                nats=f.problem.nats, delta=f.delta if f.loss == "huber" else None, profiled=False,
            )  # fmt: skip
        a = other.allocation()
        counted.append(Counted(column, a["exponent"], a.get("interval"), other.fit.objective))
    return counted


def with_size(runs: Runs, column: str) -> Runs:
    """The runs with N from another column, and what follows from it."""
    values, wrong = numbers(runs.rows, column)
    c = runs.columns | {"N": np.array(values)}
    if runs.derived.startswith("D"):
        c["D"] = c["C"] / (6.0 * c["N"])
    elif runs.derived.startswith("C"):
        c["C"] = 6.0 * c["N"] * c["D"]
    return replace(runs, columns=c, wrong=runs.wrong | {"N": wrong},
                   held_out=np.zeros(len(runs), bool), held_by="")  # fmt: skip


def split(runs: Runs, above: float | None) -> tuple[Runs, Runs | None]:
    """The runs to fit and those held out: with C > ``above``, or as the table says; None if there
    are none. Raises ``ValueError`` if either part is empty."""
    if above is None:
        held = runs.held_out
        if not held.any():
            return runs, None
        if held.all():
            raise ValueError(f"{runs.source}: every row is held out, nothing is left to fit")
        return runs.select(~held), runs.select(held)
    if "C" not in runs.columns:
        raise ValueError(f"{runs.source} has no compute: a hold-out needs a column C, or N and D")
    compute = runs.column("C")
    low, high = compute.min(), compute.max()
    kept = compute <= above
    if not kept.any():
        raise ValueError(f"a hold-out above {above:g} FLOPs leaves nothing to fit: the smallest "
                         f"run has {low:g}")  # fmt: skip
    if kept.all():
        raise ValueError(f"a hold-out above {above:g} FLOPs leaves nothing to predict: the largest "
                         f"run has {high:g}")  # fmt: skip
    runs = replace(runs, held_by=f"C > {above:g}")
    return runs.select(kept), runs.select(~kept)
