"""The annealing law: the whole loss curve of a run from its learning rates.

    L(s) = L_0 + A / S₁^α − C S₂
    S₁ = Σ_{i ≤ s} η_i                                       how far the parameters have travelled
    S₂ = Σ_{i ≤ s} Σ_{k ≤ i} (η_{k−1} − η_k) λ^(i−k)         how much, and how long ago, it cooled

A constant learning rate has S₂ = 0 and the loss is a power law of the distance; lowering η takes
the loss down at once, and more in the steps after. λ, about 0.999, says how long a cooling is
remembered. Source: Tissue, Wang & Wang 2024, arXiv:2408.11029, Eq. 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.laws.power_laws import log_of

MEMORY = 0.999  # λ


def annealing_areas(learning_rates: Array, memory: float = MEMORY) -> tuple[Array, Array]:
    """S₁ and S₂ after each of the steps, (n,) each, of η_1 … η_n. Leave warm-up out.

    The inner sum m_i = λ m_{i−1} + η_{i−1} − η_i is a running mean; η_0 = η_1. Raises
    ``ValueError`` for a negative learning rate or a memory outside [0, 1).
    """
    eta = np.asarray(learning_rates, dtype=float)
    if not eta.size or not (eta >= 0).all():
        raise ValueError("learning rates must be there for every step, and not negative")
    if not 0.0 <= memory < 1.0:
        raise ValueError(f"memory {memory} is not in [0, 1)")
    momentum, m = np.zeros(len(eta)), 0.0
    for i, drop in enumerate(-np.diff(eta), 1):
        momentum[i] = m = memory * m + drop
    return np.cumsum(eta), np.cumsum(momentum)


@dataclass(frozen=True)
class Annealing:
    """theta = (ln of A's term at the centre, α, C, ln L_0); C may have either sign."""

    form: str = "annealing"
    inputs: tuple[str, ...] = ("S1", "S2")
    coordinates: tuple[str, ...] = ("A", "alpha", "C", "E")

    @property
    def profiled(self) -> dict[str, bool]:
        """All but A; E as its logarithm."""
        return {"alpha": False, "C": False, "E": True}

    def features(self, x: Array) -> Array:
        """ln S₁, and S₂, which is 0 while the learning rate is constant."""
        return np.stack([np.log(x[:, 0]), x[:, 1]], axis=1)

    def centre(self, z: Array) -> Array:
        """The mean of ln S₁; S₂ keeps its zero."""
        return np.array([z[:, 0].mean(), 0.0])

    def log_loss(self, theta: Array, z: Array) -> tuple[Array, Array]:
        """ln(E + exp(c − α ln S₁) − C S₂): NaN where the loss would be negative."""
        c, alpha, drop, e = theta.T[..., None]
        power, floor = np.exp(c - alpha * z[:, 0]), np.exp(e)
        loss = floor + power - drop * z[:, 1]
        derivatives = [power, -power * z[:, 0], np.broadcast_to(-z[:, 1], loss.shape),
                       np.broadcast_to(floor, loss.shape)]  # fmt: skip
        return np.log(loss), np.stack(derivatives) / loss

    def starts(self, z: Array, loss: Array) -> Array:
        """For each α the other three are a linear fit to the relative errors."""
        rows = []
        for alpha in np.geomspace(0.05, 2.0, 12):
            columns = np.stack([np.exp(-alpha * z[:, 0]), -z[:, 1], np.ones(len(z))], axis=1)
            size = np.sqrt((columns**2).mean(axis=0)) + 1e-300
            scaled = columns / size / loss[:, None]
            a, drop, e = np.linalg.lstsq(scaled, np.ones(len(z)), rcond=1e-10)[0] / size
            least = 1e-3 * loss.min()
            rows.append([math.log(max(a, least)), alpha, drop, math.log(max(e, least))])
        return np.array(rows)

    def constants(self, theta: Array, centre: Array) -> dict[str, Array]:
        """A, alpha, C, E (the L_0 of the paper), (R,) each."""
        c, alpha, drop, e = theta.T
        return {"A": np.exp(c + alpha * centre[0]), "alpha": alpha, "C": drop, "E": np.exp(e)}

    def theta(self, constants: dict[str, float], centre: Array) -> Array:
        """The coordinates of constants, (P,); NaN where one is missing."""
        a, alpha, drop, e = (constants.get(name, math.nan) for name in self.coordinates)
        return np.array([log_of(a) - alpha * centre[0], alpha, drop, log_of(e)])
