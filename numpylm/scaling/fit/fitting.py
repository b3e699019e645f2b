"""Fitting a scaling law to runs: one objective, one optimiser, for all forms.

    minimise  Σ_i w_i ρ(r_i),     r_i = ln L̂(x_i; θ) − ln L_i

    ρ(r) = r²/2 where |r| ≤ δ, else δ (|r| − δ/2)         Huber: a few runs that failed count little
    ψ(r) = ρ'(r) = r, but at most δ in size
    ∂/∂θ = Σ_i w_i ψ(r_i) ∂ ln L̂_i / ∂θ

Least squares ("mse") is δ = ∞, least absolute deviation ("lad") the limit δ → 0: from the minimum
at 1e-6 the fit goes on to that of Σ|r| itself, and proves it (``least_absolute.py``). The
objective is the *sum* over the runs: dividing by n divides the gradient too, and an optimiser with
an absolute tolerance then stops early and says nothing. That is how the published fit of
Chinchilla's third approach came to be too precise (Besiroglu et al. 2024, arXiv:2404.10102). The
sum alone is no cure, for its scale is arbitrary too; what counts is step 4.

    1. centre the inputs, so that slope and level of a term are hardly correlated    ``Law.centre``
    2. start from a small grid over the slopes, with the linear part solved          ``law.starts``
    3. BFGS from the best of them, first with a large δ, which forgives bad starts   ``minimise.py``
    4. check that the gradient vanished and that several starts agree: a result that has not
       converged is an error, not a result
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.least_absolute import Certificate, least_absolute
from numpylm.scaling.fit.minimise import Minimum
from numpylm.scaling.fit.objective import Problem
from numpylm.scaling.laws.power_laws import Law

DELTAS = {"huber": 1e-3, "lad": 1e-6, "mse": math.inf}
TOLERANCE = 1e-6  # of |gradient| against Σ w |ψ|, for a fit to count as converged
STARTS, FINALISTS = 8, 4  # tried with a large δ, and followed to the end


class NotConverged(ValueError):
    """No start led to a point where the gradient vanishes; there is no fit to report."""


@dataclass(frozen=True)
class Fit:
    """A converged fit."""

    law: Law
    constants: dict[str, float]
    objective: float  # Σ ρ(r); for "lad" Σ |r|
    r2: float  # of the loss in nats
    gradient: float  # largest |∂/∂θ_j|, as a share of Σ |ψ|
    starts_agreeing: int  # of the len(minima) that were followed to the end
    loss: str
    delta: float
    fixed: dict[str, float]
    centre: Array  # (K,)
    theta: Array  # (P,)
    minima: Array  # (S, P), where the starts ended, the best first: other local minima among them
    residuals: Array  # (n,), ln L̂ − ln L
    problem: Problem = field(repr=False)
    certificate: Certificate | None = None  # of "lad"

    @property
    def misses(self) -> Array:
        """The residuals (n,) as the objective sees them: of ln L, or of L if ``problem.nats``."""
        return self.problem.linear(self.theta)[0]

    @property
    def objective_sum(self) -> float:
        """Σ ρ(r), with Huber's function for "lad" too."""
        psi = np.clip(self.misses, -self.delta, self.delta)
        return float((psi * (self.misses - 0.5 * psi)).sum())

    def predict(self, x: Array) -> Array:
        """The loss in nats, (m,), at inputs x (m, K) in the order of ``law.inputs``."""
        return predict(self.law, self.theta[None], self.centre, x)[0]


def predict(law: Law, theta: Array, centre: Array, x: Array) -> Array:
    """Losses (R, m) of parameter vectors theta (R, P) at inputs x (m, K)."""
    with np.errstate(all="ignore"):
        return np.exp(law.log_loss(theta, law.features(x) - centre)[0])


def fit(
    law: Law,
    x: Array,
    y: Array,
    *,
    loss: str = "huber",
    delta: float | None = None,
    fixed: dict[str, float] | None = None,
    nats: bool = False,
) -> Fit:
    """Fit a law to inputs x (n, K), in the order of ``law.inputs``, and losses y (n,) in nats.

    loss: "huber" with threshold ``delta`` (default 1e-3), "lad" or "mse", all on ln L, or on L
    itself if ``nats``. ``fixed`` holds constants at given values. Raises ``ValueError`` for inputs
    that cannot identify the law, and ``NotConverged`` for a point that is no minimum.
    """
    if loss not in DELTAS:
        raise ValueError(f"loss {loss!r} must be one of {', '.join(DELTAS)}")
    if delta is not None and (loss != "huber" or not 0.0 < delta < math.inf):
        raise ValueError(f"delta {delta} must be positive, and is for the huber loss alone")
    check_inputs(law, x, y, fixed or {})
    delta = DELTAS[loss] if delta is None else delta
    features = law.features(x)
    centre = law.centre(features)
    held = held_coordinates(law, fixed or {}, centre)
    problem = Problem(law, features - centre, np.log(y), delta, np.isnan(held), nats)
    found = search(problem, held)
    certificates = None
    if loss == "lad":
        found, certificates = to_the_end(problem, found)
    best = int(np.argmin(np.where(found.slope <= TOLERANCE, found.value, np.inf)))
    lower = found.value.min() < found.value[best] / (1 + 1e-6)
    if not found.slope[best] <= TOLERANCE or lower:
        slope = found.slope[found.value.argmin() if lower else best]
        raise NotConverged(
            f"the fit of {law.form} has not converged: its gradient is {slope:.1e} of "
            f"its scale, {TOLERANCE:.0e} is wanted; more runs or a simpler form may help"
        )
    agreeing = found.value <= found.value[best] * (1 + 1e-6) + 1e-15 * len(y)
    result = _result(problem, found, best, int(agreeing.sum()), loss, fixed or {}, centre)
    return replace(result, certificate=certificates[best]) if certificates else result


def to_the_end(problem: Problem, found: Minimum) -> tuple[Minimum, list[Certificate]]:
    """Where Σ|r| is least, next to each of the minima of Huber's function with a tiny δ."""
    ends = [least_absolute(problem.linear, theta, problem.free, problem.delta) for theta in found.x]
    x = np.array([theta for theta, _ in ends])
    value = np.abs(problem.residuals(x)[0]).sum(axis=1)
    slope = np.array([c.unbalanced for _, c in ends])
    return found._replace(x=x, value=value, slope=slope), [c for _, c in ends]


def search(problem: Problem, held: Array) -> Minimum:
    """Several starts; a large δ first, then the best of them with smaller and smaller δ."""
    ones = np.ones((1, len(problem.log_loss)))
    starts = problem.law.starts(problem.z, np.exp(problem.log_loss))
    theta = np.unique(np.where(np.isnan(held), starts, held), axis=0)
    first = problem.with_delta(max(problem.delta, 1e-2))
    value = first(theta, ones)[0]
    order = np.argsort(np.where(np.isfinite(value), value, np.inf))
    found = first.minimise(theta[order[:STARTS]], ones, tolerance=1e-3)
    theta = found.x[np.argsort(np.where(np.isfinite(found.value), found.value, np.inf))[:FINALISTS]]
    step = first.delta
    while step > problem.delta:
        step = max(0.1 * step, problem.delta)
        if step > problem.delta:
            theta = problem.with_delta(step).minimise(theta, ones, tolerance=1e-3).x
    return problem.minimise(theta, ones)


def held_coordinates(law: Law, fixed: dict[str, float], centre: Array) -> Array:
    """(P,): the values of coordinates that are held, NaN for those that are free.

    Raises ``ValueError`` for a constant that the law does not have or that cannot be held alone.
    """
    for name, value in fixed.items():
        if name not in law.coordinates:
            known = ", ".join(law.coordinates)
            raise ValueError(f"{law.form} has no constant {name!r}; it has {known}")
        if not (
            math.isfinite(value) and (value > 0.0 or name == "C" or (name, value) == ("E", 0.0))
        ):
            raise ValueError(f"{name} = {value} must be positive and finite")
    if not fixed:
        return np.full(len(law.coordinates), math.nan)
    held = law.theta(fixed, centre)
    for name, value in zip(law.coordinates, held, strict=True):
        if name in fixed and math.isnan(value):
            raise ValueError(f"{name} can be held only with the exponents that belong to it")
    return held


def check_inputs(law: Law, x: Array, y: Array, fixed: dict[str, float]) -> None:
    """Raise ``ValueError`` unless there are enough runs that differ in every input."""
    wanted = len(law.coordinates) - len(fixed)
    for name, column in zip((*law.inputs, "loss"), (*x.T, y), strict=True):
        lowest = 0.0 if name != "S2" else -math.inf
        if not (np.isfinite(column) & (column > lowest)).all():
            bad = column[~(np.isfinite(column) & (column > lowest))][0]
            raise ValueError(f"{name} must be positive and finite in every run; one has {bad:g}")
    if len(y) <= wanted:
        raise ValueError(
            f"{law.form} has {wanted} constants to fit; {len(y)} runs are too few, "
            f"at least {wanted + 1} are needed"
        )
    if not fixed.keys() - {"E"}:
        _check_grid(law, x)


def _check_grid(law: Law, x: Array) -> None:
    """Every input must vary, and not only together with another."""
    for name, column in zip(law.inputs, x.T, strict=True):
        levels, exponents = len(np.unique(column)), 2 + ("E" in law.coordinates)
        if levels == 1 and name != "S2":
            raise ValueError(f"all runs have {name} = {column[0]:g}: the exponent of {name} "
                             f"cannot be found; vary {name} or use a form without it")  # fmt: skip
        if len(law.inputs) == 1 and levels < exponents:
            raise ValueError(f"{law.form} needs at least {exponents} different values of {name}; "
                             f"there are {levels}")  # fmt: skip
    if law.inputs[:2] == ("N", "D"):
        z = np.log(x[:, :2])
        spread = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
        if spread[1] < 1e-4 * spread[0]:
            raise ValueError("N and D rise together in all runs, so their exponents cannot be told "
                             "apart; train some sizes on more or fewer tokens")  # fmt: skip


def _result(
    problem: Problem, found: Minimum, best: int, agreeing: int, loss: str,
    fixed: dict[str, float], centre: Array,
) -> Fit:  # fmt: skip
    theta = found.x[best]
    y = np.exp(problem.log_loss)
    log_fitted = problem.law.log_loss(theta[None], problem.z)[0][0]
    residuals = log_fitted - problem.log_loss
    spread = ((y - y.mean()) ** 2).sum()
    constants = problem.law.constants(theta[None], centre)
    return Fit(
        law=problem.law,
        constants={name: float(value[0]) for name, value in constants.items()},
        objective=float(found.value[best]),
        r2=float(1.0 - ((y - np.exp(log_fitted)) ** 2).sum() / spread) if spread else math.nan,
        gradient=float(found.slope[best]),
        starts_agreeing=agreeing,
        loss=loss, delta=problem.delta, fixed=fixed,
        centre=centre, theta=theta,
        minima=found.x[np.argsort(found.value)], residuals=residuals, problem=problem,
    )  # fmt: skip
