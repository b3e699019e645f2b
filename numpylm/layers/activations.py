"""The nonlinearities of the feed-forward network, ReLU and GELU.

    ReLU(x) = max(0, x)                                               (Vaswani et al. 2017, §3.3)
    GELU(x) = x Φ(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))       (Hendrycks & Gimpel 2016)

Φ is the normal distribution function. The tanh form is GPT-2's; it differs from x Φ(x) by less
than 5e-4 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from numpylm.parameters import Array

SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715
BLOCK = 1 << 16  # numbers that are worked on at a time


def relu_forward(x: Array) -> tuple[Array, Array]:
    """y = max(0, x); any shape."""
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Array) -> Array:
    """dx = dy where x > 0, else 0."""
    return dy * (cache > 0)


def gelu_forward(x: Array, *, out: Array | None = None) -> tuple[Array, tuple[Array, Array]]:
    """y = ½ x (1 + tanh u) = x σ(2u), u = √(2/π) (x + 0.044715 x³); any shape.

    ½ (1 + tanh u) is the logistic function σ(2u) = 1 / (1 + exp(−2u)), and exp takes less than
    half the time of tanh. ``out`` is where y goes, if not to a new array.
    """
    gate = x * x
    gate *= -2.0 * SQRT_2_OVER_PI * CUBIC
    gate -= 2.0 * SQRT_2_OVER_PI
    gate *= x  # −2u
    with np.errstate(over="ignore"):  # 1 / (1 + ∞) is the right 0
        np.exp(gate, out=gate)
    gate += 1.0
    np.reciprocal(gate, out=gate)
    return np.multiply(x, gate, out=out), (x, gate)


def gelu_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    """dx = dy σ (1 + x (1 − σ) 2u′), 2u′ = 2 √(2/π) (1 + 3 · 0.044715 x²), σ = σ(2u)."""
    x, gate = cache
    slope = x * x
    slope *= 6.0 * SQRT_2_OVER_PI * CUBIC
    slope += 2.0 * SQRT_2_OVER_PI
    slope *= x  # 2 x u′
    slope *= 1.0 - gate
    slope += 1.0
    slope *= gate
    slope *= dy
    return slope


def tanh_forward(x: Array) -> tuple[Array, Array]:
    """y = tanh(x); any shape. BERT's pooler uses it."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Array) -> Array:
    """dx = dy (1 − y²)."""
    return dy * (1.0 - cache * cache)


def blocked_gelu_forward(
    x: Array, block: int = BLOCK, *, overwrite: bool = False
) -> tuple[Array, Array]:
    """``gelu_forward`` for large x: a block at a time, and its slope dy/dx with it.

    The passes over a block find it near the processor; so the slope is made then and there, and
    is all that the backward needs: σ + xσ 2u′ (1 − σ). ``overwrite`` puts it where x was.
    """
    y, slope = np.empty(x.shape, x.dtype), np.ascontiguousarray(x) if overwrite else x.copy()
    y_rows, slope_rows = y.reshape(-1), slope.reshape(-1)
    for start in range(0, x.size, block):
        s = slice(start, start + block)
        y_block, dy = y_rows[s], slope_rows[s]
        _, (_, gate) = gelu_forward(dy, out=y_block)
        dy *= dy
        dy *= 6.0 * SQRT_2_OVER_PI * CUBIC
        dy += 2.0 * SQRT_2_OVER_PI  # 2u′
        dy *= y_block
        dy *= 1.0 - gate
        dy += gate
    return y, slope


def blocked_gelu_backward(dy: Array, cache: Array, *, overwrite: bool = False) -> Array:
    """dx = dy · slope; ``overwrite`` puts it where dy was."""
    return np.multiply(dy, cache, out=dy if overwrite else None)


# of the feed-forward network, which needs neither x nor dy again
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "relu": (relu_forward, relu_backward),
    "gelu": (
        partial(blocked_gelu_forward, overwrite=True),
        partial(blocked_gelu_backward, overwrite=True),
    ),
}
