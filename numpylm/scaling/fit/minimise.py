"""Minimising many small smooth functions at once: BFGS with a weak-Wolfe line search.

A scaling-law fit has two to seven unknowns, but it is repeated: from several starts, for a thousand
resamplings, along a profile. All of them are rows of one array here and take their steps side by
side, each with its own matrix H ≈ inverse Hessian:

    p = −H g,   x ← x + t p      with  f(x + t p) ≤ f + 1e-4 t gᵀp   and   g(x + t p)ᵀp ≥ 0.9 gᵀp
    H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ,     s = Δx, y = Δg, ρ = 1 / yᵀs

The step t is found by doubling and halving. It asks nothing of f but one-sided slopes, so that the
method also works for sums of absolute values (almost). Sources: Nocedal & Wright 2006, §6.1;
Lewis & Overton 2013, Math. Program. 141:135, §2 (the line search, and BFGS on non-smooth f).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array

Objective = Callable[[Array, Array], tuple[Array, Array, Array]]
SUFFICIENT, CURVATURE = 1e-4, 0.9  # the constants of the two Wolfe conditions


class Minimum(NamedTuple):
    x: Array  # (R, P)
    value: Array  # (R,)
    slope: Array  # (R,), how far from flat: the largest |g_j| on the objective's own scale
    steps: Array  # (R,)


def minimise(
    objective: Objective, x: Array, curvature: Array, *, tolerance: float, max_steps: int
) -> Minimum:
    """Minimise R functions from x (R, P), with H = ``curvature`` (R, P, P) to begin with.

    ``objective(x, rows)`` gives for the functions with numbers ``rows`` the values (r,), the
    gradients (r, P) and a scale (r,): a row is finished when all |g_j| ≤ tolerance · scale, or
    when no step of any length makes it smaller. The caller looks at ``slope`` to tell which.
    """
    x, h = x.copy(), curvature.copy()
    live = np.arange(len(x))
    value, gradient, scale = objective(x, live)
    steps = np.zeros(len(x), int)
    fresh = np.ones(len(x), bool)  # H is still the first one
    for _ in range(max_steps):
        flat = np.abs(gradient[live]).max(axis=1) <= tolerance * scale[live]
        live = live[~flat & np.isfinite(value[live])]
        if not live.size:
            break
        direction = -np.einsum("rij,rj->ri", h[live], gradient[live])
        t, new, moved = wolfe_step(objective, x, value, gradient, direction, live)
        s = t[:, None] * direction
        y = new[1] - gradient[live]
        stuck = live[~moved]
        h[stuck], given_up = curvature[stuck], stuck[fresh[stuck]]  # once more, from the first H
        fresh[stuck] = True
        rows, s, y = live[moved], s[moved], y[moved]
        x[rows] += s
        value[rows], gradient[rows], scale[rows] = (part[moved] for part in new)
        steps[rows] += 1
        fresh[rows] = False
        h[rows] = bfgs_update(h[rows], s, y)
        live = np.setdiff1d(live, given_up)
    with np.errstate(invalid="ignore"):
        slope = np.abs(gradient).max(axis=1) / scale
    return Minimum(x, value, slope, steps)


def wolfe_step(
    objective: Objective, x: Array, value: Array, gradient: Array, direction: Array, live: Array
) -> tuple[Array, tuple[Array, Array, Array], Array]:
    """Step lengths (r,), what the objective is there, and whether it is smaller, (r,) each."""
    descent = (gradient[live] * direction).sum(axis=1)
    t, low, high = np.ones(len(live)), np.zeros(len(live)), np.full(len(live), np.inf)
    new = (value[live].copy(), gradient[live].copy(), np.ones(len(live)))
    best = np.zeros(len(live))  # the longest step that was low enough
    open_ = np.arange(len(live))
    for _ in range(40):
        trial = x[live[open_]] + t[open_, None] * direction[open_]
        found = objective(trial, live[open_])
        bound = value[live[open_]] + SUFFICIENT * t[open_] * descent[open_]
        smaller = found[0] <= bound  # False for NaN: the step has left the domain
        smaller &= found[0] < value[live[open_]]
        for part, values in zip(new, found, strict=True):
            part[open_[smaller]] = values[smaller]
        best[open_[smaller]] = t[open_[smaller]]
        slope = (found[1] * direction[open_]).sum(axis=1)
        short = smaller & (slope < CURVATURE * descent[open_])
        low[open_[short]] = t[open_[short]]
        high[open_[~smaller]] = t[open_[~smaller]]
        open_ = open_[short | ~smaller]
        if not open_.size:
            break
        closed = np.isfinite(high[open_])
        t[open_] = np.where(closed, 0.5 * (low[open_] + high[open_]), 2.0 * t[open_])
    return best, new, best > 0


def bfgs_update(h: Array, s: Array, y: Array) -> Array:
    """H (r, P, P) after steps s and changes of the gradient y, (r, P) each; kept where yᵀs ≤ 0."""
    ys = (y * s).sum(axis=1)
    good = ys > 0
    rho = np.divide(1.0, ys, out=np.zeros_like(ys), where=good)
    left = np.eye(s.shape[1]) - rho[:, None, None] * s[:, :, None] * y[:, None]
    return left @ h @ left.swapaxes(1, 2) + rho[:, None, None] * s[:, :, None] * s[:, None]
