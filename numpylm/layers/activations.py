"""§3.1 step 5: the nonlinearities of the feed-forward network, ReLU and GELU.

    ReLU(x) = max(0, x)                                               (Vaswani et al. 2017, §3.3)
    GELU(x) = x Φ(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))       (Hendrycks & Gimpel 2016)

Φ is the normal distribution function. The tanh form is GPT-2's; it differs from x Φ(x) by less
than 5e-4 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from numpylm.parameters import Array

SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


def relu_forward(x: Array) -> tuple[Array, Array]:
    """y = max(0, x); any shape."""
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Array) -> Array:
    """dx = dy where x > 0, else 0."""
    return dy * (cache > 0)


def gelu_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    """y = ½ x (1 + tanh u), u = √(2/π) (x + 0.044715 x³); any shape."""
    u = x * x
    u *= SQRT_2_OVER_PI * CUBIC
    u += SQRT_2_OVER_PI
    u *= x
    tanh = np.tanh(u, out=u)
    y = tanh + 1.0
    y *= x
    y *= 0.5
    return y, (x, tanh)


def gelu_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    """dx = dy (½ (1 + tanh u) + ½ x (1 − tanh² u) u′), u′ = √(2/π) (1 + 3 · 0.044715 x²)."""
    x, tanh = cache
    slope = x * x
    slope *= 1.5 * SQRT_2_OVER_PI * CUBIC
    slope += 0.5 * SQRT_2_OVER_PI
    slope *= x  # ½ x u′
    slope *= 1.0 - tanh * tanh
    slope += 0.5 * tanh
    slope += 0.5
    slope *= dy
    return slope


def tanh_forward(x: Array) -> tuple[Array, Array]:
    """y = tanh(x); any shape. BERT's pooler uses it."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Array) -> Array:
    """dx = dy (1 − y²)."""
    return dy * (1.0 - cache * cache)


ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "relu": (relu_forward, relu_backward),
    "gelu": (gelu_forward, gelu_backward),
}
