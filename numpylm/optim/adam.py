"""Adam, and AdamW with its decoupled weight decay.

    Adam    m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
            m̂ = m / (1 − β₁ᵗ),       v̂ = v / (1 − β₂ᵗ)      θ ← θ − η m̂ / (√v̂ + ε)
    AdamW   the same, and first      θ ← (1 − η λ) θ        on matrices only

Source: Kingma & Ba 2015, arXiv:1412.6980, Alg. 1; decoupled decay: Loshchilov & Hutter 2019,
arXiv:1711.05101, Alg. 2, here times the learning rate as PyTorch and the field write it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numpylm.parameters import Array, leaves


def adam_update(
    theta: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    scale: float = 1.0,
) -> None:
    """One step of Adam with the gradient g = scale · grad, on theta, m and v; shapes (N,).

    ``step`` is t and counts from 1. theta, m and v receive their new values.
    """
    beta1, beta2 = betas
    g = scale * grad
    m[:] = beta1 * m + (1.0 - beta1) * g
    v[:] = beta2 * v + (1.0 - beta2) * g**2
    m_hat = m / (1.0 - beta1**step)
    v_hat = v / (1.0 - beta2**step)
    theta -= lr * m_hat / (np.sqrt(v_hat) + eps)


def decay_weights(theta: Array, decay: float, *, lr: float) -> None:
    """Decoupled weight decay, θ ← (1 − η λ) θ, in place."""
    theta *= 1.0 - lr * decay


def decay_of_matrices(p: Any, weight_decay: float) -> Array:
    """λ for each parameter of the flat vector: ``weight_decay`` for arrays of two or more axes,
    0 for biases and layer norm's γ and β, which set an offset or a scale and do not overfit.
    """
    return np.concatenate(
        [np.full(a.size, weight_decay if a.ndim >= 2 else 0.0, a.dtype) for _, a in leaves(p)]
    )
