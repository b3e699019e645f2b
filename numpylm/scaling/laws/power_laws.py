"""§6.2 Scaling laws: how the loss falls with parameters N, training tokens D and compute C.

    power law          L = A/N^α,            with a floor  L = A/N^α + E     (or of D, or of C)
    Kaplan 2020        L = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D
    Chinchilla 2022    L = E + A/N^α + B/D^β
    generalised        L = E + (A/N^α + B/D^β)^γ
    data-constrained   Chinchilla in N' and D' where repeats count less      ``data_constrained.py``
    annealing          L = L_0 + A/S₁^α − C S₂, of the learning rates         ``annealing.py``

All but the last two are one formula, E + (Σ_k A_k / x_k^α_k)^γ, with some parts left out:
Chinchilla has γ = 1; Kaplan has no E, γ = α_D, and an inner exponent of 1 for D. E is the loss
that no model of the family can get below, however large it is and however much it reads.

A fit does not move A and α themselves. With z_k = ln x_k − mean it writes each term as

    A_k / x_k^α_k = exp((c_k − ε_k z_k) / γ),      ε_k = γ α_k,      c_k = γ ln A_k − ε_k mean_k

c_k is γ ln of the term at the centre of the data, −ε_k its slope there. A and α are almost
perfectly correlated, as the intercept far outside the data follows the slope; c and ε are not.

Source: Kaplan et al. 2020, arXiv:2001.08361, Eq. 1.5; Hoffmann et al. 2022, arXiv:2203.15556, §3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np

from numpylm.parameters import Array


class Law(Protocol):
    """A form of the loss. R parameter vectors (P,) are worked on side by side, as rows of theta."""

    @property
    def form(self) -> str:
        """Its name."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it reads: of N, D, C, U, S1, S2."""

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The constant that each of the P coordinates of theta goes with."""

    @property
    def profiled(self) -> dict[str, bool]:
        """The constants that are a coordinate by themselves; True where it is their logarithm."""

    def features(self, x: Array) -> Array:
        """Positive inputs (n, K) -> what the fit centres, mostly their logarithms, (n, K)."""

    def centre(self, z: Array) -> Array:
        """What is subtracted from the features, (K,)."""

    def log_loss(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """ln L (R, n) and its derivatives (P, R, n), for theta (R, P) and centred features."""

    def starts(self, z: Array, loss: Array) -> Array:
        """Candidates (R, P) to start a fit from."""

    def constants(self, theta: Array, centre: Array) -> dict[str, Array]:
        """The constants as the papers print them, (R,) each, of theta (R, P)."""

    def theta(self, constants: dict[str, float], centre: Array) -> Array:
        """The inverse, (P,); NaN where a constant is missing."""


def log_sum_exp(terms: Array) -> tuple[Array, Array]:
    """ln Σ exp over the first axis, and each term's share of the sum: (K, …) -> (…), (K, …)."""
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    shares /= total
    return top + np.log(total), shares


@dataclass(frozen=True)
class PowerSum:
    """E + (Σ_k A_k / x_k^α_k)^γ.  gamma: "one", "free", or "last", which ties ε_K to γ (Kaplan)."""

    form: str
    inputs: tuple[str, ...]
    offset: bool = True
    gamma: str = "one"

    @property
    def coordinates(self) -> tuple[str, ...]:
        """(c_k, ε_k) for each input, but ε_K for Kaplan; then ln γ; then ln E."""
        names = [name for k in range(len(self.inputs)) for name in self._names(k)]
        if self.gamma == "last":
            names.pop()  # ε_K is γ itself
        last = {"one": [], "free": ["gamma"], "last": [self._names(len(self.inputs) - 1)[1]]}
        return (*names, *last[self.gamma], *(["E"] if self.offset else []))

    @property
    def profiled(self) -> dict[str, bool]:
        """The exponents, unless a free γ multiplies them; γ and E."""
        exponents = [self._names(k)[1] for k in range(len(self.inputs))]
        if self.gamma == "free":
            exponents = ["gamma"]
        tied = (
            {"gamma"} if self.gamma == "free" else {exponents[-1]} if self.gamma == "last" else {}
        )
        found = {name: name in tied for name in exponents}
        return found | ({"E": True} if self.offset else {})

    def _names(self, k: int) -> tuple[str, str]:
        """How the papers call coefficient and exponent of an input."""
        if self.gamma == "last":
            return f"{self.inputs[k]}_c", f"alpha_{self.inputs[k]}"
        return (("A", "alpha"), ("B", "beta"))[k]

    def features(self, x: Array) -> Array:
        """ln x."""
        return np.log(x)

    def centre(self, z: Array) -> Array:
        """The mean of each feature."""
        return z.mean(axis=0)

    def _split(self, theta: Array) -> tuple[Array, Array, Array]:
        """theta (R, P) -> c (K, R, 1), ε (K, R, 1), γ (R,)."""
        k = len(self.inputs)
        gamma = np.ones(len(theta))
        if self.gamma != "one":
            gamma = np.exp(theta[:, 2 * k - (self.gamma == "last")])
        c, slopes = theta.T[0 : 2 * k : 2], theta.T[1 : 2 * k : 2]
        if self.gamma == "last":
            slopes = np.stack([*theta.T[1 : 2 * k - 1 : 2], gamma])
        return c[..., None], slopes[..., None], gamma

    def log_loss(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """ln L = LSE(γ LSE_k t_k, ln E) with t_k = (c_k − ε_k z_k) / γ.

        With p_k the share of term k in the inner sum and q the share of all terms in L:
        ∂/∂c_k = q p_k,  ∂/∂ε_k = −q p_k z_k,  ∂/∂ln γ = q γ (LSE t − Σ p_k t_k),  ∂/∂ln E = 1 − q.
        """
        c, slopes, gamma = self._split(theta)
        g = gamma[:, None]
        t = np.stack([(ck - ek * zk) / g for ck, ek, zk in zip(c, slopes, z.T, strict=True)])
        inner, p = log_sum_exp(t)
        log_loss, q = g * inner, 1.0
        if self.offset:
            e = np.broadcast_to(theta[:, -1:], inner.shape)
            log_loss, (q, floor) = log_sum_exp(np.stack([log_loss, e]))
        derivatives = []
        for pk, zk in zip(p, z.T, strict=True):
            qp = q * pk
            derivatives += [qp, -qp * zk]
        if self.gamma != "one":
            by_gamma = q * g * (inner - (p * t).sum(axis=0))
            if self.gamma == "last":  # ε_K is γ: both derivatives, the one to ε_K in ln γ
                by_gamma += g * derivatives.pop()
            derivatives.append(by_gamma)
        if self.offset:
            derivatives.append(floor)
        return log_loss, np.stack(derivatives)

    def starts(self, z: Array, loss: Array) -> Array:
        """Variable projection: for fixed slopes, γ and E the coefficients are a linear fit.

        So a small grid over the slopes, each with a least-squares solution, replaces a large grid
        over everything. For γ = 1 the linear fit finds E too.
        """
        n_inputs = len(self.inputs)
        slopes = np.array(list(product(np.geomspace(0.03, 1.5, 9), repeat=n_inputs)))
        rows = []
        for gamma, share in product(*self._shapes()):
            shape = slopes[:, -1] if self.gamma == "last" else np.full(len(slopes), gamma)
            rows.append(self._projected(z, loss, slopes, shape, share))
        return np.concatenate(rows)

    def _shapes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The γ, and the E as shares of the smallest loss, of the grid of starts."""
        free = self.gamma == "free"
        return (0.1, 0.3, 1.0) if free else (1.0,), (0.05, 0.4, 0.8) if free and self.offset else (
            0.0,
        )

    def _projected(self, z: Array, loss: Array, slopes: Array, gamma: Array, share: float) -> Array:
        """theta (R, P) of slopes (R, K) and γ (R,), with the best coefficients for each."""
        linear_offset = self.offset and self.gamma == "one"
        y = loss - share * loss.min()
        scale = math.exp(np.log(y).mean())
        # relative errors count, so every row of the linear system is divided by its target y^(1/γ)
        log_target = np.log(y / scale) / gamma[:, None]
        columns = [np.exp(-(ek / gamma)[:, None] * zk - log_target)
                   for ek, zk in zip(slopes.T, z.T, strict=True)]  # fmt: skip
        if linear_offset:
            columns.append(np.exp(-log_target))
        coefficients = positive_least_squares(np.stack(columns, axis=1))
        c = gamma[:, None] * np.log(coefficients[:, : slopes.shape[1]]) + math.log(scale)
        theta = np.stack([c, slopes], axis=-1).reshape(len(slopes), -1)
        parts = [theta[:, :-1] if self.gamma == "last" else theta]
        if self.gamma != "one":
            parts.append(np.log(gamma)[:, None])
        if linear_offset:
            parts.append(np.log(coefficients[:, -1:] * scale))
        elif self.offset:
            parts.append(np.full((len(slopes), 1), math.log(share * loss.min())))
        return np.concatenate(parts, axis=1)

    def constants(self, theta: Array, centre: Array) -> dict[str, Array]:
        """E, A, alpha, … (R,) each; Kaplan: N_c, alpha_N, D_c, alpha_D."""
        c, slopes, gamma = self._split(theta)
        found: dict[str, Array] = {}
        for k, m in enumerate(centre):
            coefficient, exponent = self._names(k)
            raw, slope = (c[k] + slopes[k] * m)[:, 0], slopes[k, :, 0]  # γ ln A_k, γ α_k
            power = slope if self.gamma == "last" else gamma  # (x_c / x)^α: ln x_c = raw / α
            with np.errstate(over="ignore"):  # far outside the data a resample may say infinity
                found[coefficient] = np.exp(raw / power)
            found[exponent] = slope if self.gamma == "last" else slope / gamma
        if self.gamma == "free":
            found["gamma"] = gamma
        return found | ({"E": np.exp(theta[:, -1])} if self.offset else {})

    def theta(self, constants: dict[str, float], centre: Array) -> Array:
        """The coordinates of constants, (P,); NaN where a constant that is needed is missing."""
        get = {name: math.nan for name in self.coordinates} | constants
        gamma = get["gamma"] if self.gamma == "free" else 1.0
        theta = []
        for k, m in enumerate(centre):
            coefficient, exponent = (get[name] for name in self._names(k))
            slope = gamma * exponent
            power = slope if self.gamma == "last" else gamma
            theta += [power * log_of(coefficient) - slope * m, slope]
        if self.gamma == "last":
            theta[-1] = log_of(theta[-1])
        if self.gamma == "free":
            theta.append(log_of(gamma))
        return np.array([*theta, *([log_of(get["E"])] if self.offset else [])])


def log_of(value: float) -> float:
    """ln value; −∞ of 0, as for an E that is held at 0, and NaN of what has no logarithm."""
    return math.log(value) if value > 0.0 else -math.inf if value == 0.0 else math.nan


def positive_least_squares(columns: Array, floor: float = 1e-4) -> Array:
    """The least-squares solution of Σ_k x_k column_k = 1, (R, K, n) -> (R, K), at least ``floor``.

    A negative coefficient has no logarithm; a start need not be exact.
    """
    norm = np.sqrt((columns**2).sum(axis=2))
    normal = columns @ columns.swapaxes(1, 2) / (norm[:, :, None] * norm[:, None])
    normal += 1e-9 * np.eye(columns.shape[1])
    right = columns.sum(axis=2) / norm
    solution = np.linalg.solve(normal, right[..., None])[..., 0] / norm
    return np.maximum(solution, floor / columns.max(axis=2))
