"""§6.5 Predict a run before training it: fit the small runs, hold out the large ones, compare.

R² is no test of a scaling law: any smooth curve with five constants passes through the points that
it was fitted to. The held-out runs, at more compute than any fitted one, are the test, and the form
should be chosen before they are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.allocation import exponents
from numpylm.scaling.fit.fitting import Fit, fit, predict
from numpylm.scaling.fit.intervals import (
    Bootstrap,
    Profile,
    bootstrap,
    condition,
    percentiles,
    prediction_intervals,
    profile,
    remarks,
)
from numpylm.scaling.fit.run_table import Runs, column_names, read_runs
from numpylm.scaling.laws.forms import FORMS
from numpylm.scaling.laws.power_laws import Law

CONVENTIONS = ("N", "N_without_embeddings", "N_total")  # columns of a table that counts all ways


@dataclass(frozen=True)
class Study:
    """A fit, how sure it is, and what it says of runs that it did not see."""

    runs: Runs  # those fitted
    held_out: Runs | None
    above: float | None
    fit: Fit
    boot: Bootstrap | None
    profiles: list[Profile]

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
            "remarks": remarks(f, self.profiles),
        }  # fmt: skip
        if self.boot is not None:
            found["bootstrap"], found["bootstrap_failed"] = len(self.boot.theta), self.boot.failed
            found["intervals"] = self.boot.intervals()
        if {"N", "D"} <= set(f.law.inputs):
            found["allocation"] = self.allocation()
        if self.held_out is not None:
            found["holdout"] = self.holdout()
        return found

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
        """The same, and the resamples, so that predictions from it have intervals."""
        record = self.as_dict()
        if self.boot is not None:
            draws = {name: values.tolist() for name, values in self.boot.constants().items()}
            record |= {"draws": draws, "scatter": self.boot.scatter().tolist()}
        return record

    def holdout(self) -> dict[str, Any]:
        """The held-out runs beside what was predicted for them."""
        runs, law = self.held_out, self.fit.law
        rows = []
        predicted = FittedLaw.of(self).rows(runs.inputs(law))
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
            "largest_error": max(abs(row["error"]) for row in rows),
            "inside": sum(row.get("inside", False) for row in rows) if self.boot else None,
            "runs": rows,
        }


@dataclass(frozen=True)
class FittedLaw:
    """A fitted law and its resamples, from a ``Study`` or from a file: enough to predict."""

    law: Law
    centre: Array  # (K,)
    theta: Array  # (P,)
    draws: Array  # (samples, P), or (0, P) if there is no bootstrap
    scatter: Array  # (n,), of single runs around the law, in ln L

    @classmethod
    def of(cls, found: Study) -> FittedLaw:
        """From a fit that was just made."""
        f, boot = found.fit, found.boot
        draws = np.empty((0, len(f.theta))) if boot is None else boot.theta
        return cls(f.law, f.centre, f.theta, draws, np.zeros(0) if boot is None else boot.scatter())

    @classmethod
    def loaded(cls, record: dict[str, Any]) -> FittedLaw:
        """From what ``scaling fit`` printed (the law alone) or saved (its resamples too).

        Raises ``ValueError`` if the record does not hold a fit.
        """
        law = FORMS.get(record.get("form", ""))
        centre = np.zeros(len(law.inputs)) if law else np.zeros(0)
        theta = law.theta(record, centre) if law else np.array([np.nan])
        if not np.isfinite(theta).all():
            raise ValueError("it does not hold a fit: a form and all of its constants")
        columns = record.get("draws") or {}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        draws = [law.theta(row, centre) for row in rows if all(row.values())]
        return cls(law, centre, theta, np.array(draws).reshape(-1, len(theta)),
                   np.array(record.get("scatter") or []))  # fmt: skip

    def rows(self, x: Array, seed: int = 0) -> list[dict[str, Any]]:
        """For each input (m, K): the predicted loss, the 95 % interval of the law there, and that
        of a new run, whose own scatter is drawn from the residuals of the fit."""
        point = predict(self.law, self.theta[None], self.centre, x)[0]
        rows: list[dict[str, Any]] = [{"predicted": float(value)} for value in point]
        if len(self.draws):
            losses = predict(self.law, self.draws, self.centre, x)
            for row, found in zip(
                rows, prediction_intervals(losses, self.scatter, seed), strict=True
            ):
                row |= found
        return rows


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
    profiled: bool = True,
) -> Study:
    """Fit a form to the runs with C ≤ ``above`` and predict the others. By default the table of a
    sweep says which runs are held out, and nothing is held out of another.

    Raises ``ValueError`` for a form that does not exist, a hold-out that leaves nothing to fit or
    nothing to predict, and whatever ``fit`` raises.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} must be one of {', '.join(FORMS)}")
    law, held_out = FORMS[form], None
    runs.inputs(law)  # a missing column is the first thing to say
    above = runs.holdout_above if above is None else above
    if above is not None:
        runs, held_out = split(runs, above)
    f = fit(law, runs.inputs(law), runs.loss, loss=loss, delta=delta, fixed=fixed)
    boot = None
    if samples:
        boot = bootstrap(f, np.array(runs.names), samples, seed)
    profiles = [profile(f, name) for name in law.profiled if profiled and name not in f.fixed]
    return Study(runs, held_out, above, f, boot, profiles)


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
    law, f, source = found.fit.law, found.fit, found.runs
    if not {"N", "D"} <= set(law.inputs):
        return []
    header = column_names(Path(source.source))
    usual = source.renamed.get("N", "N")
    columns = [c for c in dict.fromkeys((usual, *CONVENTIONS)) if c in header]
    path, counted = Path(source.source), []
    kept = read_runs(path, source.renamed).compute <= (found.above or np.inf)
    for column in columns if len(columns) > 1 else []:
        other = found
        if column != usual:
            runs = read_runs(path, {**source.renamed, "N": column}).select(kept)
            other = study(
                replace(runs, holdout_above=None), law.form, fixed=f.fixed, loss=f.loss,
                samples=0 if found.boot is None else found.boot.samples,
                delta=f.delta if f.loss == "huber" else None, profiled=False,
            )  # fmt: skip
        a = other.allocation()
        counted.append(Counted(column, a["exponent"], a.get("interval"), other.fit.objective))
    return counted


def split(runs: Runs, above: float) -> tuple[Runs, Runs]:
    """Runs with C ≤ ``above``, and the others. Raises ``ValueError`` if either part is empty."""
    if "C" not in runs.columns:
        raise ValueError(f"{runs.source} has no compute: a hold-out needs a column C, or N and D")
    low, high = runs.compute.min(), runs.compute.max()
    kept = runs.compute <= above
    if not kept.any():
        raise ValueError(f"a hold-out above {above:g} FLOPs leaves nothing to fit: the smallest "
                         f"run has {low:g}")  # fmt: skip
    if kept.all():
        raise ValueError(f"a hold-out above {above:g} FLOPs leaves nothing to predict: the largest "
                         f"run has {high:g}")  # fmt: skip
    return runs.select(kept), runs.select(~kept)
