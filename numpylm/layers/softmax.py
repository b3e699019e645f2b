"""Softmax: scores to probabilities, y_i = exp(x_i) / Σ_j exp(x_j) along the last axis.

Computed as exp(x_i − max x) / Σ_j exp(x_j − max x): the same number, and no overflow. A row that
is −∞ throughout (a query that may attend to nothing) gives zeros, not NaN.
"""

from __future__ import annotations

import numpy as np

from numpylm.parameters import Array


def softmax_forward(x: Array) -> tuple[Array, Array]:
    """y = softmax(x); x (..., S) -> y (..., S), rows that sum to 1 (or 0, if all −∞)."""
    peak = x.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(x - np.maximum(peak, np.finfo(x.dtype).min))  # −∞ − (−∞) would be NaN
    total = e.sum(axis=-1, keepdims=True)
    y = e / np.maximum(total, 1.0)  # exp(0) is in each sum, except in a row of −∞
    return y, y


def softmax_backward(dy: Array, cache: Array) -> Array:
    """dx_i = y_i (dy_i − Σ_j y_j dy_j).

    Derivation: ∂y_j/∂x_i = y_j (δ_ij − y_i), so dx_i = Σ_j dy_j y_j (δ_ij − y_i). The sum runs
    over the row alone: no batch size appears. An upstream of ones gives zero, so never test
    with ones.
    """
    y = cache
    return y * (dy - (y * dy).sum(axis=-1, keepdims=True))
