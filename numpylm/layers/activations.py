"""The nonlinearities of the feed-forward network, ReLU and GELU.

    ReLU(x) = max(0, x)                                               (Vaswani et al. 2017, §3.3)
    GELU(x) = x Φ(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))       (Hendrycks & Gimpel 2016)

Φ is the normal distribution function. The tanh form is GPT-2's; it differs from x Φ(x) by less
than 5e-4 everywhere.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array

SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
CUBIC = 0.044715


class GELUCache(NamedTuple):
    x: Array
    tanh_u: Array


def relu_forward(x: Array) -> tuple[Array, Array]:
    """y = max(0, x); any shape."""
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Array) -> Array:
    """dx = dy where x > 0, else 0."""
    return dy * (cache > 0)


def gelu_forward(x: Array) -> tuple[Array, GELUCache]:
    """y = ½ x (1 + tanh u), u = √(2/π) (x + 0.044715 x³); any shape."""
    tanh_u = np.tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))  # x**3 would call pow
    return 0.5 * x * (1.0 + tanh_u), GELUCache(x, tanh_u)


def gelu_backward(dy: Array, cache: GELUCache) -> Array:
    """dx = dy (½ (1 + tanh u) + ½ x (1 − tanh² u) u′), u′ = √(2/π) (1 + 3 · 0.044715 x²)."""
    x, tanh_u = cache
    du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x**2)
    return dy * (0.5 * (1.0 + tanh_u) + 0.5 * x * (1.0 - tanh_u**2) * du)


def tanh_forward(x: Array) -> tuple[Array, Array]:
    """y = tanh(x); any shape. BERT's pooler uses it."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Array) -> Array:
    """dx = dy (1 − y²)."""
    return dy * (1.0 - cache * cache)
