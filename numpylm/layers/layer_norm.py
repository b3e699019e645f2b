"""Layer normalisation, y = γ ⊙ x̂ + β with x̂ = (x − μ) / √(σ² + ε).

μ and σ² are the mean and the (biased) variance of one token's D features: no batch, no other
token. σ² is the mean of (x − μ)², never E[x²] − μ², which cancels in float32.

Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, Eq. 3–4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array


@dataclass
class LayerNorm:
    gamma: Array  # (D,)
    beta: Array | None  # (D,), or None for no bias


class LayerNormCache(NamedTuple):
    xhat: Array  # (..., D)
    rstd: Array  # (..., 1), 1 / √(σ² + ε)


def layer_norm_init(d_model: int, *, bias: bool = True) -> LayerNorm:
    """γ = 1, β = 0; float32."""
    return LayerNorm(np.ones(d_model, np.float32), np.zeros(d_model, np.float32) if bias else None)


def layer_norm_forward(
    p: LayerNorm, x: Array, *, eps: float = 1e-5
) -> tuple[Array, LayerNormCache]:
    """y = γ ⊙ (x − μ) / √(σ² + ε) + β; x (..., D) -> y (..., D).

    Raises ``ValueError`` if the last axis of x is not D.
    """
    if x.shape[-1:] != p.gamma.shape:
        raise ValueError(f"x {x.shape} does not end in the {p.gamma.size} features of gamma")
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    rstd = 1.0 / np.sqrt(variance + eps)
    xhat = rstd * centred
    y = p.gamma * xhat
    if p.beta is not None:
        y = y + p.beta
    return y, LayerNormCache(xhat, rstd)


def layer_norm_backward(p: LayerNorm, dp: LayerNorm, dy: Array, cache: LayerNormCache) -> Array:
    """dγ += Σ dy ⊙ x̂, dβ += Σ dy; returns dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ ⊙ x̂)) / √(σ² + ε).

    Derivation, with dx̂ = γ ⊙ dy (γ belongs inside both means) and r = 1 / √(σ² + ε):
    x̂ = r (x − μ) depends on x_j directly (r), through μ (−r / D) and through r (−r x̂ x̂_j / D);
    the three terms of dx are these three paths.
    """
    xhat, rstd = cache
    positions = tuple(range(dy.ndim - 1))  # all axes but the last
    dp.gamma += (dy * xhat).sum(axis=positions)
    if dp.beta is not None:
        dp.beta += dy.sum(axis=positions)
    dxhat = p.gamma * dy
    return rstd * (
        dxhat
        - dxhat.mean(axis=-1, keepdims=True)
        - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)
    )
