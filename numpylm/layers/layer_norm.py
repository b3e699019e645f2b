"""Layer normalisation, y = γ ⊙ x̂ + β with x̂ = (x − μ) / √(σ² + ε).

μ and σ² are the mean and the (biased) variance of one token's D features: no batch, no other
token. σ² is the mean of (x − μ)², never E[x²] − μ², which cancels in float32.

Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, Eq. 3–4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array


@dataclass
class LayerNorm:
    gamma: Array  # (D,)
    beta: Array | None  # (D,), or None for no bias


def layer_norm_init(d_model: int, *, bias: bool = True) -> LayerNorm:
    """γ = 1, β = 0; float32."""
    return LayerNorm(np.ones(d_model, np.float32), np.zeros(d_model, np.float32) if bias else None)


def layer_norm_forward(
    p: LayerNorm, x: Array, *, eps: float = 1e-5
) -> tuple[Array, tuple[Array, Array]]:
    """y = γ ⊙ (x − μ) / √(σ² + ε) + β; x (..., D) -> y (..., D).

    Raises ``ValueError`` if the last axis of x is not D.
    """
    if x.shape[-1:] != p.gamma.shape:
        raise ValueError(f"x {x.shape} does not end in the {p.gamma.size} features of gamma")
    xhat = x - _row_mean(x)
    variance = _row_dot(xhat, xhat) / x.shape[-1]
    rstd = 1.0 / np.sqrt(variance + eps)
    xhat *= rstd
    y = p.gamma * xhat
    if p.beta is not None:
        y += p.beta
    return y, (xhat, rstd)


def layer_norm_backward(
    p: LayerNorm, dp: LayerNorm, dy: Array, cache: tuple[Array, Array]
) -> Array:
    """dγ += Σ dy ⊙ x̂, dβ += Σ dy; returns dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ ⊙ x̂)) / √(σ² + ε).

    Derivation, with dx̂ = γ ⊙ dy (γ belongs inside both means) and r = 1 / √(σ² + ε):
    x̂ = r (x − μ) depends on x_j directly (r), through μ (−r / D) and through r (−r x̂ x̂_j / D);
    the three terms of dx are these three paths.
    """
    xhat, rstd = cache
    d_model = dy.shape[-1]
    rows_dy = dy.reshape(-1, d_model)
    dp.gamma += np.einsum("nd,nd->d", rows_dy, xhat.reshape(-1, d_model))
    if dp.beta is not None:
        dp.beta += rows_dy.sum(axis=0)
    dx = p.gamma * dy  # dx̂; every later line works in place on this new array
    mean_dot = _row_dot(dx, xhat) / d_model
    dx -= _row_mean(dx)
    dx -= xhat * mean_dot
    dx *= rstd
    return dx


def _row_dot(a: Array, b: Array) -> Array:
    """Σ_d a[..., d] b[..., d], keeping the axis."""
    return np.vecdot(a, b)[..., None]


def _row_mean(a: Array) -> Array:
    """1/D Σ_d a[..., d], keeping the axis: a third of the time of ``mean`` for short rows."""
    d = a.shape[-1]
    return np.vecdot(a, np.full(d, 1.0 / d, a.dtype))[..., None]
