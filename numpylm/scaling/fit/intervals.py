"""How sure is a fit: bootstrap, profile, conditioning, and what they mean in words.

    bootstrap    draw the runs anew with replacement, fit again, a thousand times; the middle 95 %
                 of a constant, or of a prediction, is its interval
    profile      hold one constant at a value, fit the others: how much worse does it get? The
                 values where the objective rises by less than ½ χ²₁(95 %) τ are its interval
    condition    of the centred, scaled Jacobian: 1 if every constant can be told from the others

Runs are drawn, not rows: the points of one training curve share their noise. They are drawn from
all runs. Drawing within each compute budget looks safer, as no resample then lacks the largest
runs, but m runs drawn among themselves have a variance that is too small by (m − 1)/m, and a budget
of one run is never drawn anew: such intervals held the truth 82 to 92 times in 100, not 95. How
often those of this module hold it is measured, not assumed: ``python -m tests.benchmarks.coverage``
(Efron & Tibshirani 1993, ch. 6 and 8). The profile is a diagnosis, of constants that the runs leave
open; as an interval it is somewhat too narrow, for the residuals that are zero only because the fit
passes through them are not counted.

The profile's threshold holds for any ρ: τ = E ψ² / E ψ' turns a rise of the objective into a
likelihood ratio (Ronchetti's test; Heritier & Ronchetti 1994, JASA 89:897); for squares it is σ².
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import TOLERANCE, Fit, NotConverged, predict

CHI2_95 = 3.841458820694124  # the 95 % point of χ² with one degree of freedom
CHUNK = 100  # resamples that are fitted side by side: their arrays fit in the cache


@dataclass(frozen=True)
class Bootstrap:
    """The fits of the resamples."""

    fit: Fit
    theta: Array  # (samples that converged, P)
    failed: int  # that did not
    groups: int  # runs that were drawn from

    @property
    def samples(self) -> int:
        """How many were drawn."""
        return len(self.theta) + self.failed

    def constants(self) -> dict[str, Array]:
        """Each constant, (samples,)."""
        return self.fit.law.constants(self.theta, self.fit.centre)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each constant that was not held."""
        return {
            name: percentiles(values)
            for name, values in self.constants().items()
            if name not in self.fit.fixed
        }

    def at(self, x: Array, seed: int = 0) -> list[dict[str, tuple[float, float]]]:
        """The 95 % intervals of the law and of a new run, at each of the inputs x (m, K)."""
        return prediction_intervals(
            predict(self.fit.law, self.theta, self.fit.centre, x), self.scatter(), seed
        )

    def scatter(self) -> Array:
        """How far ln L of single runs lies from the law, (n,): the residuals, with their middle at
        0 and widened for the constants that were fitted."""
        n, p = len(self.fit.residuals), int(self.fit.problem.free.sum())
        middle = np.median(self.fit.residuals)
        return math.sqrt(n / max(n - p, 1)) * (middle - self.fit.residuals)


def prediction_intervals(
    law: Array, scatter: Array, seed: int = 0
) -> list[dict[str, tuple[float, float]]]:
    """Of losses law (samples, m) of the resamples: for each of the m inputs their own 95 %
    interval, and that of a new run, whose ln L has a ``scatter`` (n,) of its own besides."""
    new = law * np.exp(np.random.default_rng(seed).choice(scatter, law.shape))
    return [{"interval": percentiles(a), "new_run": percentiles(b)}
            for a, b in zip(law.T, new.T, strict=True)]  # fmt: skip


def percentiles(values: Array, level: float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of values (samples,)."""
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def resampled(groups: Array, samples: int, rng: np.random.Generator) -> Array:
    """Weights (samples, n): how often each row's run was drawn, of as many draws as there are runs.

    Raises ``ValueError`` for fewer than two runs: there is nothing to draw.
    """
    names, group = np.unique(groups, return_inverse=True)
    m = len(names)
    if m < 2:
        raise ValueError(f"all {len(group)} rows are one run, {names[0]}: a bootstrap draws runs, "
                         "and there is one (without intervals: --bootstrap 0)")  # fmt: skip
    return rng.multinomial(m, np.full(m, 1.0 / m), samples).astype(float)[:, group]


def bootstrap(fit: Fit, groups: Array, samples: int, seed: int = 0) -> Bootstrap:
    """Fit ``samples`` resamples, from every local minimum that the fit knows.

    groups (n,): the run of each row. Raises ``ValueError`` if there are fewer than two runs, and
    ``NotConverged`` if more than a tenth of the resamples do not converge.
    """
    if samples < 20:
        raise ValueError(f"bootstrap {samples}: at least 20 resamples make an interval")
    weights = resampled(groups, samples, np.random.default_rng(seed))
    starts = distinct(_revived(fit))
    found = []
    for rows in np.array_split(weights, math.ceil(samples / CHUNK)):
        ends = [fit.problem.minimise(np.tile(s, (len(rows), 1)), rows, 1e-8) for s in starts]
        values = np.stack([np.where(e.slope <= TOLERANCE, e.value, np.inf) for e in ends])
        best = values.argmin(axis=0)
        x = np.stack([e.x for e in ends])[best, np.arange(len(rows))]
        found.append(x[np.isfinite(values.min(axis=0))])
    theta = np.concatenate(found)
    failed = samples - len(theta)
    if failed > 0.1 * samples:
        raise NotConverged(f"{failed} of {samples} bootstrap fits of {fit.law.form} have not "
                           "converged: the runs do not determine it")  # fmt: skip
    return Bootstrap(fit, theta, failed, len(np.unique(groups)))


def _revived(fit: Fit) -> Array:
    """The fit's minima (S, P), an E that has vanished at 0.1 % of the lowest loss: from below no
    resample would find one again, and all would agree that there is none."""
    theta = fit.minima.copy()
    if "E" in fit.law.coordinates and "E" not in fit.fixed:
        j = fit.law.coordinates.index("E")
        theta[:, j] = np.maximum(theta[:, j], fit.problem.log_loss.min() + math.log(1e-3))
    return theta


def distinct(theta: Array, tolerance: float = 1e-3) -> Array:
    """The rows of theta (S, P) that differ from those before them."""
    kept: list[Array] = []
    for row in theta:
        if all(
            np.abs(np.nan_to_num(row) - np.nan_to_num(other)).max() > tolerance for other in kept
        ):
            kept.append(row)
    return np.array(kept)


@dataclass(frozen=True)
class Profile:
    """The objective along one constant."""

    name: str
    values: Array  # of the constant, increasing
    rise: Array  # of the objective above its minimum, as a share of the threshold: inside where < 1
    interval: tuple[float | None, float | None]  # None: open on that side


def profile(fit: Fit, name: str) -> Profile:
    """The profile of a constant: hold it, fit the rest, from half to fifty standard errors away.

    Each point starts where the quadratic approximation expects it, and once more from its
    neighbours' solutions.
    """
    law, problem, n_rows = fit.law, fit.problem, len(fit.residuals)
    j, logarithm = law.coordinates.index(name), law.profiled[name]
    ones = np.ones((1, n_rows))
    covariance = problem.inverse_curvature(fit.theta[None], ones)[0]
    threshold = 0.5 * CHI2_95 * dispersion(fit)
    step = math.sqrt(max(dispersion(fit) * effective_curvature(fit) * covariance[j, j], 1e-16))
    step = min(step, 1.5 if logarithm else 0.5 * abs(fit.theta[j]) + 1e-3)
    shifts = step * np.array([0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 9, 14, 22, 35, 50])
    shifts = shifts[shifts <= (9.0 if logarithm else np.inf)]
    shifts = np.concatenate([-shifts[::-1], [0.0], shifts])
    held = replace(problem, free=problem.free & (np.arange(len(fit.theta)) != j))
    straight = np.tile(fit.theta, (len(shifts), 1))
    straight[:, j] += shifts
    bent = fit.theta + shifts[:, None] * covariance[j] / covariance[j, j]
    x, value = straight, np.full(len(shifts), np.inf)
    for start in (straight, bent, "left", "right"):
        if isinstance(start, str):
            start = np.roll(x, 1 if start == "left" else -1, axis=0)
            start[:, j] = straight[:, j]
        end = held.minimise(start, ones, 1e-4, max_steps=60)
        better = np.where(np.isfinite(end.value), end.value, np.inf) < value
        x, value = np.where(better[:, None], end.x, x), np.where(better, end.value, value)
    return _interval(fit, name, x, (value - min(value.min(), fit.objective_sum)) / threshold)


def _interval(fit: Fit, name: str, x: Array, rise: Array) -> Profile:
    """Where the rise crosses 1 on either side, by interpolation."""
    values = fit.law.constants(x, fit.centre)[name]
    middle = len(rise) // 2
    ends: list[float | None] = []
    for side in (np.arange(middle, -1, -1), np.arange(middle, len(rise))):
        beyond = np.flatnonzero(rise[side] > 1.0)
        if not beyond.size or beyond[0] == 0:
            ends.append(None)
            continue
        i, k = side[beyond[0] - 1], side[beyond[0]]
        share = (1.0 - rise[i]) / (rise[k] - rise[i]) if np.isfinite(rise[k]) else 0.5
        ends.append(float(values[i] + share * (values[k] - values[i])))
    return Profile(name, values, rise, (ends[0], ends[1]))


def effective_curvature(fit: Fit) -> float:
    """(mean of ψ/r) / (mean of ψ'): Huber's weights bend more than the objective does."""
    r = np.abs(fit.misses)
    weights = np.minimum(1.0, fit.delta / np.maximum(r, 1e-300))
    return float(weights.mean() / _mean_bend(fit))


def dispersion(fit: Fit) -> float:
    """τ = E ψ² / E ψ', with n − P in place of n: σ² for squares."""
    psi = np.clip(fit.misses, -fit.delta, fit.delta)
    n, p = len(psi), int(fit.problem.free.sum())
    return float((psi**2).sum() / max(n - p, 1) / _mean_bend(fit)) + 1e-300


def _mean_bend(fit: Fit) -> float:
    """E ψ', the share of residuals within δ; for a small δ, from the density at the median."""
    r = np.abs(fit.misses)
    h = max(fit.delta, float(np.median(r)))
    return float((r <= h).mean()) * (fit.delta / h if math.isfinite(h) else 1.0)


def condition(fit: Fit) -> float:
    """Condition number of the Jacobian with columns of length 1: how alike the constants act."""
    _, derivatives = fit.law.log_loss(fit.theta[None], fit.problem.z)
    j = derivatives[fit.problem.free, 0].T
    length = np.sqrt((j**2).sum(axis=0))
    if not (length > 1e-12).all():
        return math.inf
    return float(np.linalg.cond(j / length))
