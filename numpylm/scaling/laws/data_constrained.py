"""The data-constrained law: what tokens that the model has seen before are still worth.

    L = E + A/N'^α + B/D'^β
    D' = U_D + U_D R_D* (1 − exp(−R_D / R_D*)),     R_D = D/U_D − 1 repetitions of U_D unique tokens
    N' = U_N + U_N R_N* (1 − exp(−R_N / R_N*)),     R_N = N/U_N − 1,  U_N = min(N, N_opt(U_D))

The first repetitions count almost in full, and R_D* of them bring 63 % of all that repetition can
bring. N_opt(U_D) is the model for which U_D tokens are compute-optimal: with C ∝ N D the two terms
have the same slope there, α A/N^α = β B/D^β. Source: Muennighoff et al. 2023, arXiv:2305.16264,
§3.1 and App. A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.laws.power_laws import PowerSum, log_of, log_sum_exp


@dataclass(frozen=True)
class DataConstrained:
    """theta = (c_A, α, c_B, β, ln R_D*, ln R_N*, ln E); c_A and c_B as in ``power_laws.py``."""

    form: str = "data-constrained"
    inputs: tuple[str, ...] = ("N", "D", "U")
    coordinates: tuple[str, ...] = ("A", "alpha", "B", "beta", "R_D", "R_N", "E")

    @property
    def profiled(self) -> dict[str, bool]:
        """All but A and B; E, R_D* and R_N* as logarithms."""
        return {"alpha": False, "beta": False, "R_D": True, "R_N": True, "E": True}

    def features(self, x: Array) -> Array:
        """ln N, ln D, ln U; no more than D of the U unique tokens were seen."""
        return np.log(np.stack([x[:, 0], x[:, 1], np.minimum(x[:, 1], x[:, 2])], axis=1))

    def centre(self, z: Array) -> Array:
        """The mean of ln N, and that of ln D for D and for U."""
        n, d, _ = z.mean(axis=0)
        return np.array([n, d, d])

    def log_loss(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """ln L = LSE(c_A − α n', c_B − β d', ln E); derivatives by the chain rule through n'."""
        ca, alpha, cb, beta, log_rd, log_rn, e = theta.T[..., None]
        n, d, u = z.T
        d_eff, _, d_by_r = effective(d - u, np.exp(log_rd))
        d_eff = u + d_eff
        best = (ca - cb + beta * u + np.log(alpha) - np.log(beta)) / alpha  # ln N_opt(U)
        un = np.minimum(n, best)
        growth, n_slope, n_by_r = effective(n - un, np.exp(log_rn))
        n_eff = un + growth
        log_loss, (pa, pb, pe) = log_sum_exp(
            np.stack([ca - alpha * n_eff, cb - beta * d_eff, e + 0.0 * d])
        )
        via = np.where(best < n, -pa * alpha * (1.0 - n_slope), 0.0)  # ∂ ln L / ∂ ln U_N
        derivatives = [
            pa + via / alpha,
            -pa * n_eff + via * (1.0 / alpha - best) / alpha,
            pb - via / alpha,
            -pb * d_eff + via * (u - 1.0 / beta) / alpha,
            -pb * beta * d_by_r,
            -pa * alpha * n_by_r,
            pe,
        ]
        return log_loss, np.stack(derivatives)

    def starts(self, z: Array, loss: Array) -> Array:
        """The best of those of Chinchilla's law, with R* from 1 to 256 for data and parameters."""
        plain = _CHINCHILLA.starts(z[:, :2], loss)
        misses = np.abs(_CHINCHILLA.log_loss(plain, z[:, :2])[0] - np.log(loss)).sum(axis=1)
        plain = plain[np.argsort(misses)[:10]]
        rows = []
        for r in product(np.log([1.0, 4.0, 16.0, 64.0, 256.0]), repeat=2):
            repeated = np.broadcast_to(r, (len(plain), 2))
            rows.append(np.concatenate([plain[:, :4], repeated, plain[:, 4:]], axis=1))
        return np.concatenate(rows)

    def constants(self, theta: Array, centre: Array) -> dict[str, Array]:
        """A, alpha, B, beta, E, R_D, R_N, (R,) each."""
        found = _CHINCHILLA.constants(theta[:, [0, 1, 2, 3, 6]], centre[:2])
        return found | {"R_D": np.exp(theta[:, 4]), "R_N": np.exp(theta[:, 5])}

    def theta(self, constants: dict[str, float], centre: Array) -> Array:
        """The coordinates of constants, (P,); NaN where one is missing."""
        plain = _CHINCHILLA.theta(constants, centre[:2])
        r = [log_of(constants.get(name, math.nan)) for name in ("R_D", "R_N")]
        return np.array([*plain[:4], *r, plain[4]])


_CHINCHILLA = PowerSum("chinchilla", ("N", "D"))


def effective(log_ratio: Array, r: Array) -> tuple[Array, Array, Array]:
    """ln(U'/U) for x = ln(whole / unique), and its derivatives by x and by ln R*.

    With R = eˣ − 1 repetitions, U'/U = 1 + R* (1 − exp(−R/R*)).
    """
    repetitions = np.expm1(log_ratio)
    with np.errstate(over="ignore"):  # R* near 0: repeats are worth nothing, e^(−∞)
        rest = np.exp(-repetitions / r)
        used = -r * np.expm1(-repetitions / r)  # expm1, as R* may be large
    total = 1.0 + used
    return np.log(total), rest * (repetitions + 1.0) / total, (used - repetitions * rest) / total
