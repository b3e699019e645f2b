"""Softmax: scores to probabilities, y_i = exp(x_i) / Σ_j exp(x_j) along the last axis.

Computed as exp(x_i − max x) / Σ_j exp(x_j − max x): the same number, and no overflow. A row that
is −∞ throughout (a query that may attend to nothing) gives zeros, not NaN.
"""

from __future__ import annotations

import numpy as np

from numpylm.parameters import Array


def softmax_forward(x: Array) -> tuple[Array, Array]:
    """y = softmax(x); x (..., S) -> y (..., S), rows that sum to 1 (or 0, if all −∞)."""
    y = softmax_inplace(x.copy())
    return y, y


def softmax_inplace(x: Array, axis: int = -1) -> Array:
    """The same along any axis, overwriting x: for a caller that made x and needs it no more."""
    x -= finite_peak(x, axis)
    np.exp(x, out=x)
    total = x.sum(axis=axis, keepdims=True)
    x /= np.maximum(total, 1.0)  # exp(0) is in each sum, except in a row of −∞
    return x


def finite_peak(x: Array, axis: int) -> Array:
    """max x, keeping the axis; of a row of −∞ the least number: −∞ − (−∞) would be NaN."""
    return np.maximum(x.max(axis=axis, keepdims=True, initial=-np.inf), np.finfo(x.dtype).min)


def softmax_backward(dy: Array, cache: Array) -> Array:
    """dx_i = y_i (dy_i − Σ_j y_j dy_j).

    Derivation: ∂y_j/∂x_i = y_j (δ_ij − y_i), so dx_i = Σ_j dy_j y_j (δ_ij − y_i). The sum runs
    over the row alone: no batch size appears. An upstream of ones gives zero, so never test
    with ones.
    """
    y = cache
    dx = dy - np.einsum("...s,...s->...", dy, y)[..., None]
    dx *= y
    return dx
