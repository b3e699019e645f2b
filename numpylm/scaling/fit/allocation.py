"""§6.3 Compute-optimal training: how large a model, and for how long, for a budget of C FLOPs?

With C = 6 N D, minimise L(N, D) at fixed C. Chinchilla's three approaches:

    1. envelope      the training curves of all sizes over C; which size is lowest at each C?
    2. IsoFLOP       at each budget several sizes: a valley in ln N; its lowest point is N_opt(C)
    3. parametric    from a fitted law, where both terms have the same slope, α A/N^α = β B/D^β:
                     N_opt = G (C/6)^a,   D_opt = (C/6)^b / G,   G = (α A / β B)^(1/(α+β)),
                     a = β/(α+β),  b = α/(α+β)

The third is the same for every form that depends on A/N^α + B/D^β alone, also inside a power γ; for
Kaplan's, α = α_N/α_D and β = 1, so a = α_D/(α_N+α_D). Source: Hoffmann et al. 2022,
arXiv:2203.15556, §3; Kaplan et al. 2020, arXiv:2001.08361, App. B; Akima 1970, J. ACM 17:589.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import Fit

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0


@dataclass(frozen=True)
class Optimum:
    """The best model for a budget, by a fitted law."""

    compute: Array  # (m,) FLOPs
    parameters: Array  # (m,) N_opt
    tokens: Array  # (m,) D_opt
    exponent: float  # a in N_opt ∝ C^a

    @property
    def tokens_per_parameter(self) -> Array:
        """D_opt / N_opt, (m,): 20 was Chinchilla's rule."""
        return self.tokens / self.parameters


def two_terms(form: str, constants: dict[str, float]) -> tuple[float, float, float, float]:
    """(ln A, α, ln B, β) of the two terms that a law of N and D weighs against each other.

    Raises ``ValueError`` for a form without both.
    """
    if form == "kaplan":
        ratio = constants["alpha_N"] / constants["alpha_D"]
        return ratio * math.log(constants["N_c"]), ratio, math.log(constants["D_c"]), 1.0
    if not {"A", "alpha", "B", "beta"} <= constants.keys():
        raise ValueError(f"the form {form} does not say how N and D are weighed")
    return (math.log(constants["A"]), constants["alpha"],
            math.log(constants["B"]), constants["beta"])  # fmt: skip


def optimum(form: str, constants: dict[str, float], compute: Array) -> Optimum:
    """Approach 3: N_opt and D_opt for each budget. For a data-constrained law, with fresh data.

    Raises ``ValueError`` if an exponent is not positive: more would then not be better.
    """
    log_a, alpha, log_b, beta = two_terms(form, constants)
    if not (alpha > 0.0 and beta > 0.0):
        raise ValueError(f"exponents {alpha:g} and {beta:g} must be positive for an optimum")
    compute = np.asarray(compute, dtype=float)
    log_g = (math.log(alpha / beta) + log_a - log_b) / (alpha + beta)
    a = beta / (alpha + beta)
    log_nd = np.log(compute / FLOPS_PER_PARAMETER_AND_TOKEN)
    log_n = log_g + a * log_nd
    return Optimum(compute, np.exp(log_n), np.exp(log_nd - log_n), a)


def optimal_loss(fit: Fit, compute: Array) -> Array:
    """The loss in nats at the optimum of each budget."""
    best = optimum(fit.law.form, fit.constants, compute)
    columns = {"N": best.parameters, "D": best.tokens, "U": best.tokens}
    return fit.predict(np.stack([columns[name] for name in fit.law.inputs], axis=1))


def exponents(form: str, constants: dict[str, Array]) -> Array:
    """a of N_opt ∝ C^a for many fits at once: constants (samples,) -> (samples,)."""
    if form == "kaplan":
        return constants["alpha_D"] / (constants["alpha_N"] + constants["alpha_D"])
    return constants["beta"] / (constants["alpha"] + constants["beta"])


@dataclass(frozen=True)
class Valley:
    """The runs of one budget, and where the loss is lowest."""

    compute: float
    sizes: Array  # (n,) N, increasing
    losses: Array  # (n,) nats
    best_size: float  # N_opt, by interpolation
    best_loss: float
    interior: bool  # False: the smallest or the largest size is the best, so the valley is not seen


def valleys(sizes: Array, compute: Array, losses: Array, *, method: str = "parabola") -> list:
    """Approach 2: a ``Valley`` for each budget with at least three sizes; all arguments (n,).

    Budgets that differ by less than 5 % are one; of several runs of a size the best counts.
    method: "parabola" in ln N through the points within a factor 6 of the best (Hoffmann's,
    which is biased where the sizes do not lie around the minimum), or "akima", a smooth curve
    through all points in ln N and ln L (Porian's).
    """
    if method not in ("parabola", "akima"):
        raise ValueError(f"method {method!r} must be parabola or akima")
    order = np.argsort(compute)
    budget = np.cumsum(np.diff(np.log(compute[order]), prepend=-np.inf) > math.log(1.05))
    found = []
    for b in np.unique(budget):
        rows = order[budget == b]
        n, inverse = np.unique(sizes[rows], return_inverse=True)
        loss = np.full(len(n), np.inf)
        np.minimum.at(loss, inverse, losses[rows])
        if len(n) >= 3:
            best = _lowest(np.log(n), np.log(loss), method)
            c = float(np.exp(np.log(compute[rows]).mean()))
            found.append(Valley(c, n, loss, *best))
    return found


def _lowest(x: Array, y: Array, method: str) -> tuple[float, float, bool]:
    """exp of the lowest point of y(x), and whether it lies inside."""
    i = int(y.argmin())
    if method == "akima":
        fine = np.linspace(x[0], x[-1], 25 * (len(x) - 1))
        curve = akima(x, y, fine)
        i = int(curve.argmin())
        inside = 0 < i < len(fine) - 1
        return math.exp(fine[i]), math.exp(curve[i]), inside
    if 0 < i < len(x) - 1:
        near = around_lowest(x, y)
        centre = x[i]
        c2, c1, c0 = np.polyfit(x[near] - centre, y[near], 2)
        if c2 > 0.0:
            at = -c1 / (2.0 * c2)
            if x[0] < centre + at < x[-1]:
                return math.exp(centre + at), math.exp(c0 + c1 * at + c2 * at * at), True
    return math.exp(x[i]), math.exp(y[i]), False


def around_lowest(x: Array, y: Array) -> Array:
    """The points (n,) of a valley that its parabola goes through: within a factor 6 of the lowest
    in exp(x), and its neighbours in any case."""
    i = int(y.argmin())
    return (np.abs(x - x[i]) <= math.log(6.0)) | (np.abs(np.arange(len(x)) - i) <= 1)


def akima(x: Array, y: Array, at: Array) -> Array:
    """Akima's interpolation: cubic pieces with slopes that one odd point cannot swing.

    x (n,) increasing, y (n,); the slope at a point is the mean of the slopes on either side, each
    weighted by how much the slope changes beyond the *other* side.
    """
    m = np.diff(y) / np.diff(x)
    if len(m) == 1:
        return y[0] + m[0] * (at - x[0])
    m = np.concatenate([[3 * m[0] - 2 * m[1], 2 * m[0] - m[1]], m,
                        [2 * m[-1] - m[-2], 3 * m[-1] - 2 * m[-2]]])  # fmt: skip
    before, after = np.abs(m[3:] - m[2:-1]), np.abs(m[1:-2] - m[:-3])
    total = before + after
    even = total < 1e-12
    weight = np.where(even, 0.5, before / np.where(even, 1.0, total))
    slope = weight * m[1:-2] + (1.0 - weight) * m[2:-1]
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    h = x[i + 1] - x[i]
    u = (at - x[i]) / h
    v = 1.0 - u
    ends = (1 + 2 * u) * v * v * y[i] + u * u * (3 - 2 * u) * y[i + 1]
    return ends + u * v * h * (v * slope[i] - u * slope[i + 1])


def envelope(curves: list[tuple[float, Array, Array]], points: int = 200) -> tuple[Array, Array]:
    """Approach 1: (C, the size that is lowest there), (m,) each, of curves (N, compute, loss).

    Losses are interpolated in ln C. Only budgets are kept that at least two sizes have reached,
    where neither the smallest nor the largest of them is the best: there the family ends, not the
    optimum. With a decaying learning rate only the end of a curve counts.
    """
    low, high = min(c[0] for _, c, _ in curves), max(c[-1] for _, c, _ in curves)
    grid = np.linspace(math.log(low), math.log(high), points)
    table = np.array([np.interp(grid, np.log(c), loss, left=np.inf, right=np.inf)
                      for _, c, loss in curves])  # fmt: skip
    sizes = np.array([n for n, _, _ in curves])
    best = sizes[table.argmin(axis=0)]
    there = np.isfinite(table)
    smallest = np.where(there, sizes[:, None], np.inf).min(axis=0)
    largest = np.where(there, sizes[:, None], -np.inf).max(axis=0)
    kept = (best > smallest) & (best < largest)
    return np.exp(grid[kept]), best[kept]


def power_fit(x: Array, y: Array) -> tuple[float, float]:
    """(exponent, coefficient) of y = coefficient · x^exponent, a line in ln x and ln y.

    Raises ``ValueError`` for fewer than two different x.
    """
    if len(np.unique(x)) < 2:
        raise ValueError(f"a power law through {len(x)} points needs two different budgets")
    slope, level = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(np.exp(level))
