"""λ of the annealing law, fitted with the rest: how long a fall of the learning rate is remembered.

For each λ the other constants are a fit; λ is where its objective is lowest. 1 − λ is looked for
over five decades, on a grid first and then by golden sections around its best point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from numpylm.scaling.fit.derived_columns import with_areas
from numpylm.scaling.fit.fitting import NotConverged, fit
from numpylm.scaling.fit.runs import Runs
from numpylm.scaling.laws.annealing import MEMORY
from numpylm.scaling.laws.power_laws import Law

GRID = np.geomspace(1e-5, 0.5, 15)  # of 1 − λ
GOLDEN = 0.6180339887498949


def with_best_memory(
    runs: Runs, law: Law, memory: float | None, options: Mapping[str, Any]
) -> tuple[Runs, float]:
    """The runs with S2 by λ, and λ: ``memory``, or the best one; 0.999 if S2 is zero throughout.

    Raises ``NotConverged`` if no λ leads to a fit.
    """
    if memory is not None:
        return with_areas(runs, memory), memory
    fitted = runs.select(~runs.held_out) if runs.held_out.any() else runs
    if not fitted.columns["S2"].any():
        return with_areas(runs, MEMORY), MEMORY

    def objective(log_forgetting: float) -> float:
        table = with_areas(fitted, float(-np.expm1(log_forgetting)))
        try:
            return fit(law, table.inputs(law), table.loss, **options).objective
        except NotConverged:
            return np.inf

    log = np.log(GRID)
    values = [objective(at) for at in log]
    best = int(np.argmin(values))
    if not np.isfinite(values[best]):
        raise NotConverged("the fit of annealing has converged for no λ; more runs may help")
    low, high = log[max(best - 1, 0)], log[min(best + 1, len(log) - 1)]
    at, value = log[best], values[best]
    for _ in range(14):
        points = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        first, second = (objective(point) for point in points)
        if min(first, second) < value:
            at, value = (points[0], first) if first < second else (points[1], second)
        low, high = (low, points[1]) if first < second else (points[0], high)
    memory = float(-np.expm1(at))
    return with_areas(runs, memory), memory
