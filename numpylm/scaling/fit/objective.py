"""What a fit makes small: Huber's function of the residuals, for many parameter vectors at once.

    F(θ) = Σ_i w_i ρ(r_i),     r_i = ln L̂(x_i; θ) − ln L_i,  or L̂ − L_i in nats
    ∂F/∂θ = Σ_i w_i ψ(r_i) ∂r_i/∂θ
    ∂²F/∂θ² ≈ Σ_i w_i (ψ_i/r_i) J_i J_iᵀ                     Gauss–Newton, J_i = ∂r_i/∂θ

Source: Huber 1964, Ann. Math. Statist. 35:73; Hoffmann et al. 2022, arXiv:2203.15556, §3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.minimise import Minimum, minimise
from numpylm.scaling.laws.power_laws import Law


@dataclass(frozen=True)
class Problem:
    """A law, centred features z (n, K), ln L (n,), Huber's δ, and which coordinates may move."""

    law: Law
    z: Array
    log_loss: Array
    delta: float
    free: Array  # (P,) booleans
    nats: bool = False  # residuals of L in place of ln L

    def residuals(self, theta: Array) -> tuple[Array, Array]:
        """r (R, n) and its derivatives (P, R, n): of ln L, or of L if ``nats``."""
        with np.errstate(all="ignore"):  # a trial step may leave the domain: NaN, and refused
            predicted, derivatives = self.law.log_loss(theta, self.z)
            if not self.nats:
                return predicted - self.log_loss, derivatives
            predicted = np.exp(predicted)
            return predicted - np.exp(self.log_loss), derivatives * predicted

    def linear(self, theta: Array) -> tuple[Array, Array]:
        """The residuals (n,) of one theta (P,), and their derivatives (n, P)."""
        r, derivatives = self.residuals(theta[None])
        return r[0], derivatives[:, 0].T

    def __call__(self, theta: Array, weights: Array) -> tuple[Array, Array, Array]:
        """Values (R,), gradients (R, P), and Σ w |ψ|, the gradient's scale, (R,)."""
        with np.errstate(all="ignore"):
            r, derivatives = self.residuals(theta)
            psi = np.clip(r, -self.delta, self.delta)
            pull = weights * psi
            value = (pull * (r - 0.5 * psi)).sum(axis=1)
            gradient = np.einsum("rn,prn->rp", pull, derivatives) * self.free
            # rounding alone leaves 1e-15 in r: where the fit is exact that is all there is
            scale = np.abs(pull).sum(axis=1) + 1e-6 * weights.sum(axis=1)
        return value, gradient, scale

    def inverse_curvature(self, theta: Array, weights: Array) -> Array:
        """(Σ_i w_i ψ_i/r_i J_i J_iᵀ)⁻¹, (R, P, P): Gauss–Newton, with Huber's weights ψ/r."""
        with np.errstate(all="ignore"):
            r, derivatives = self.residuals(theta)
            w = weights * np.minimum(1.0, self.delta / np.maximum(np.abs(r), 1e-300))
        j = np.nan_to_num(derivatives.swapaxes(0, 1)) * self.free[:, None]
        matrix = (j * np.nan_to_num(w)[:, None]) @ j.swapaxes(1, 2)
        size = np.sqrt(np.einsum("rpp->rp", matrix))
        # a constant that changes nothing has a huge inverse: no line search would find a step
        size = np.maximum(size, 1e-3 * size.max(axis=1, keepdims=True))
        size = np.where(size > 0.0, size, 1.0)
        matrix /= size[:, :, None] * size[:, None]
        inverse = np.linalg.inv(matrix + 1e-9 * np.eye(len(self.free)))
        return inverse / (size[:, :, None] * size[:, None]) * np.outer(self.free, self.free)

    def minimise(
        self, theta: Array, weights: Array, tolerance: float = 1e-9, max_steps: int = 1000
    ) -> Minimum:
        """From theta (R, P), with weights (R, n) of the runs."""
        weights = np.broadcast_to(weights, (len(theta), len(self.log_loss)))
        with np.errstate(over="ignore", invalid="ignore"):  # a step far outside, and refused
            return minimise(
                lambda t, rows: self(t, weights[rows]),
                theta, self.inverse_curvature(theta, weights), tolerance=tolerance,
                max_steps=max_steps,
            )  # fmt: skip

    def with_delta(self, delta: float) -> Problem:
        """The same with another threshold."""
        return replace(self, delta=delta)
