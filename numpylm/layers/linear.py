"""Linear map: y = x W + b, the one place where most of the arithmetic happens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array


@dataclass
class Linear:
    weight: Array  # (D_in, D_out)
    bias: Array | None  # (D_out,), or None for no bias


def linear_init(
    rng: np.random.Generator,
    d_in: int,
    d_out: int,
    *,
    std: float | None = None,
    scale: float = 1.0,
    bias: bool = True,
) -> Linear:
    """Weights from N(0, (scale · std)²), biases 0; float32.

    std defaults to 1/√d_in: then y has the variance of x, however wide the layer (LeCun et al.
    1998, "Efficient BackProp", §4.6).
    """
    std = scale * (1.0 / math.sqrt(d_in) if std is None else std)
    weight = (std * rng.standard_normal((d_in, d_out))).astype(np.float32)
    return Linear(weight, np.zeros(d_out, np.float32) if bias else None)


def linear_forward(p: Linear, x: Array) -> tuple[Array, Array]:
    """y = x W + b; x (..., D_in) -> y (..., D_out).

    Raises ``ValueError`` if the last axis of x is not D_in.
    """
    d_in, d_out = p.weight.shape
    if x.shape[-1] != d_in:
        raise ValueError(f"x has {x.shape[-1]} features, the weight {p.weight.shape} takes {d_in}")
    y = x.reshape(-1, d_in) @ p.weight  # one matrix product for all leading axes
    if p.bias is not None:
        y = y + p.bias
    return y.reshape(*x.shape[:-1], d_out), x


def linear_backward(p: Linear, dp: Linear, dy: Array, cache: Array) -> Array:
    """dW += xᵀ dy, db += Σ dy over all positions; returns dx = dy Wᵀ.

    Derivation: y_j = Σ_i x_i W_ij + b_j, so ∂L/∂W_ij = x_i dy_j and ∂L/∂x_i = Σ_j dy_j W_ij.
    """
    x = cache
    rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dp.weight += rows_x.T @ rows_dy
    if dp.bias is not None:
        dp.bias += rows_dy.sum(axis=0)
    return (rows_dy @ p.weight.T).reshape(x.shape)
