"""RMSNorm, y = γ ⊙ x / √(mean(x²) + ε): layer norm without the mean and without β.

What keeps a network trainable is the size of its activations, not their mean; so only the size,
their root mean square, is divided by. LLaMA and its relatives have it.

Source: Zhang & Sennrich 2019, arXiv:1910.07467, Eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array


@dataclass
class RMSNorm:
    gamma: Array  # (D,)


class RMSNormCache(NamedTuple):
    xhat: Array  # (..., D)
    r: Array  # (..., 1), 1 / √(mean(x²) + ε)


def rms_norm_init(d_model: int, *, bias: bool = True) -> RMSNorm:
    """γ = 1; float32. It never has a bias."""
    return RMSNorm(np.ones(d_model, np.float32))


def rms_norm_forward(p: RMSNorm, x: Array, *, eps: float = 1e-5) -> tuple[Array, RMSNormCache]:
    """y = γ ⊙ x̂ with x̂ = x / √(mean(x²) + ε); x (..., D) -> y (..., D).

    Raises ``ValueError`` if the last axis of x is not D.
    """
    if x.shape[-1:] != p.gamma.shape:
        raise ValueError(f"x {x.shape} does not end in the {p.gamma.size} features of gamma")
    r = 1.0 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    xhat = r * x
    return p.gamma * xhat, RMSNormCache(xhat, r)


def rms_norm_backward(p: RMSNorm, dp: RMSNorm, dy: Array, cache: RMSNormCache) -> Array:
    """dγ += Σ dy ⊙ x̂; returns dx = r (dx̂ − x̂ mean(dx̂ ⊙ x̂)), dx̂ = γ ⊙ dy.

    Derivation: x̂ = r x depends on x_j directly (r) and through r, for which
    dr/dx_j = −r³ x_j / D = −r² x̂_j / D; the two terms of dx are these two paths.
    """
    xhat, r = cache
    dp.gamma += (dy * xhat).sum(axis=tuple(range(dy.ndim - 1)))  # all axes but the last
    dxhat = p.gamma * dy
    return r * (dxhat - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))
