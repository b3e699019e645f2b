"""A fitted law and its resamples, from a study or from a file: enough to predict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import predict
from numpylm.scaling.fit.intervals import prediction_intervals
from numpylm.scaling.laws.forms import FORMS
from numpylm.scaling.laws.power_laws import Law
from numpylm.scaling.laws.tied import Tied

NO_FIT = "it does not hold a fit: a form and all of its constants"


@dataclass(frozen=True)
class FittedLaw:
    """What predicts."""

    law: Law
    centre: Array  # (K,)
    theta: Array  # (P,)
    draws: Array  # (samples, P), or (0, P) if there is no bootstrap
    scatter: Array  # (n,), of single runs around the law, in ln L
    fitted: dict[str, tuple[float, float]] = field(default_factory=dict)  # range of each input
    memory: float | None = None  # λ of a law of learning rates

    @classmethod
    def loaded(cls, record: dict[str, Any]) -> FittedLaw:
        """From what ``scaling fit`` printed (the law alone) or saved (its resamples too).

        Raises ``ValueError`` if the record does not hold a fit.
        """
        try:
            return cls._loaded(record)
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"{NO_FIT} ({error})") from None

    @classmethod
    def _loaded(cls, record: dict[str, Any]) -> FittedLaw:
        form = record.get("form", "")
        law = FORMS.get(form) if isinstance(form, str) else None
        if law is None:
            raise ValueError(NO_FIT)
        if record.get("tied"):
            law = Tied(law, *record["tied"])
        if "theta" in record:
            centre, theta = _numbers(record["centre"]), _numbers(record["theta"])
            draws = _numbers(record["draws"]).reshape(-1, len(theta))
        else:  # of a version that saved the constants
            centre = np.zeros(len(law.inputs))
            theta = law.theta(record, centre)
            columns = record.get("draws") or {}
            rows = zip(*columns.values(), strict=True)
            each = [law.theta(dict(zip(columns, row, strict=True)), centre) for row in rows
                    if all(row)]  # fmt: skip
            draws = np.array(each).reshape(-1, len(theta))
        if theta.shape != (len(law.coordinates),) or centre.shape != (len(law.inputs),):
            raise ValueError(NO_FIT)
        if not _finite(law, theta[None]) or not _finite(law, draws):
            raise ValueError(NO_FIT)
        scatter = _numbers(record.get("scatter") or [])
        if len(draws) and not (scatter.size and np.isfinite(scatter).all()):
            raise ValueError("it holds resamples, but no scatter of the runs")
        fitted = {str(name): (float(low), float(high))
                  for name, (low, high) in (record.get("fitted") or {}).items()}  # fmt: skip
        memory = record.get("memory")
        return cls(law, centre, theta, draws, scatter, fitted,
                   None if memory is None else float(memory))  # fmt: skip

    def saved(self) -> dict[str, Any]:
        """What ``loaded`` reads: as the fit moved the constants, which may be out of range."""
        record = {
            "centre": self.centre.tolist(), "theta": _listed(self.theta),
            "draws": [_listed(row) for row in self.draws], "scatter": self.scatter.tolist(),
            "fitted": self.fitted, "memory": self.memory, "form": self.law.form,
            "tied": [self.law.first, self.law.second] if isinstance(self.law, Tied) else None,
        }  # fmt: skip
        try:
            FittedLaw.loaded(json.loads(json.dumps(record, allow_nan=False)))
        except ValueError as error:
            raise ValueError(f"this fit cannot be saved, for it could not be read: {error}"
                             ) from None  # fmt: skip
        return record

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


def _listed(theta: Array) -> list[float | None]:
    """ln E = −∞, of an E that is held at 0, as None: JSON has no infinity."""
    return [None if value == -math.inf else float(value) for value in theta]


def _numbers(values: Any) -> Array:
    array = np.array(values, dtype=object)
    array[np.equal(array, None)] = -math.inf
    return array.astype(float)


def _finite(law: Law, theta: Array) -> bool:
    """Are all coordinates finite, but for ln E = −∞?"""
    last = "E" in law.coordinates
    e = law.coordinates.index("E") if last else None
    inner = theta if e is None else np.delete(theta, e, axis=1)
    floor = np.zeros(1) if e is None else theta[:, e]
    return bool(np.isfinite(inner).all() and (floor < math.inf).all())
