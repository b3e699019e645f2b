"""GELU with a cheaper function, a block at a time: the twin of ``layers/activations.py``.

½ (1 + tanh u) is the logistic function σ(2u) = 1 / (1 + exp(−2u)), and exp takes less than half the
time of tanh. A block of x stays in cache from the first pass to the last; so the slope dy/dx is
made then and there, and is all that the backward needs:

    y = x σ,    dy/dx = σ + x σ (1 − σ) 2u′,    σ = σ(2u),  2u′ = 2 √(2/π) (1 + 3 · 0.044715 x²)

The feed-forward network needs neither x nor dy again, so the slope takes the place of x, and dx
that of dy.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from numpylm.layers.activations import CUBIC, SQRT_2_OVER_PI
from numpylm.layers.choices import ACTIVATIONS, Activation
from numpylm.parameters import Array

BLOCK = 1 << 16  # numbers that are worked on at a time


def fast_gelu_forward(
    x: Array, *, block: int = BLOCK, overwrite: bool = False
) -> tuple[Array, Array]:
    """y = GELU(x) and its slope, (...) each; ``overwrite`` puts the slope where x was."""
    y, slope = np.empty(x.shape, x.dtype), np.ascontiguousarray(x) if overwrite else x.copy()
    y_rows, slope_rows = y.reshape(-1), slope.reshape(-1)
    for start in range(0, x.size, block):
        s = slice(start, start + block)
        y_block, x_block = y_rows[s], slope_rows[s]
        gate = _gate(x_block)
        np.multiply(x_block, gate, out=y_block)
        x_block *= x_block
        x_block *= 6.0 * SQRT_2_OVER_PI * CUBIC
        x_block += 2.0 * SQRT_2_OVER_PI  # 2u′
        x_block *= y_block
        x_block *= 1.0 - gate
        x_block += gate
    return y, slope


def fast_gelu_backward(dy: Array, cache: Array, *, overwrite: bool = False) -> Array:
    """dx = dy · slope; ``overwrite`` puts it where dy was."""
    return np.multiply(dy, cache, out=dy if overwrite else None)


def _gate(x: Array) -> Array:
    """σ(2u)."""
    gate = x * x
    gate *= -2.0 * SQRT_2_OVER_PI * CUBIC
    gate -= 2.0 * SQRT_2_OVER_PI
    gate *= x  # −2u
    with np.errstate(over="ignore"):  # 1 / (1 + ∞) is the right 0
        np.exp(gate, out=gate)
    gate += 1.0
    return np.reciprocal(gate, out=gate)


ACTIVATIONS["gelu (fast)"] = Activation(
    partial(fast_gelu_forward, overwrite=True),
    partial(fast_gelu_backward, overwrite=True),
    kept=1,
    working=4,
)
