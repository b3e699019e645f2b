"""The residual connection with its layer norm and dropout, "Add & Norm".

    pre-norm     y = x + Dropout(F(LayerNorm(x)))        (GPT-2; trains without warm-up)
    post-norm    y = LayerNorm(x + Dropout(F(x)))        (the original Transformer)

F is the sublayer: attention or the feed-forward network. In pre-norm the path from output to
input is the identity, so gradients reach the first layer undamped; in post-norm they pass a
layer norm at each step. This is the only place that knows the difference.

Source: Vaswani et al. 2017, §3.1; Xiong et al. 2020, arXiv:2002.04745, for the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.layer_norm import LayerNorm, layer_norm_backward, layer_norm_forward
from numpylm.parameters import Array


def residual_forward(
    p: LayerNorm,
    x: Array,
    sublayer: Callable[[Array], tuple[Array, Any]],
    *,
    norm: str,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """y as above; x (..., D) -> y (..., D). ``sublayer(x) -> (F(x), cache)``.

    Raises ``ValueError`` for a norm other than "pre" or "post".
    """
    if norm == "pre":
        h, c_norm = layer_norm_forward(p, x)
        f, c_sublayer = sublayer(h)
        f, c_dropout = dropout_forward(f, rate=dropout, rng=rng)
        return x + f, (norm, c_norm, c_sublayer, c_dropout)
    if norm == "post":
        f, c_sublayer = sublayer(x)
        f, c_dropout = dropout_forward(f, rate=dropout, rng=rng)
        y, c_norm = layer_norm_forward(p, x + f)
        return y, (norm, c_norm, c_sublayer, c_dropout)
    raise ValueError(f'norm is {norm!r}; it must be "pre" or "post"')


def residual_backward(
    p: LayerNorm,
    dp: LayerNorm,
    dy: Array,
    cache: tuple,
    sublayer_backward: Callable[[Array, Any], Array],
) -> Array:
    """The two paths of x, one through F and one around it, add up; returns dx.

    ``sublayer_backward(df, cache) -> dx`` is the backward of F.
    """
    norm, c_norm, c_sublayer, c_dropout = cache
    if norm == "pre":
        dh = sublayer_backward(dropout_backward(dy, c_dropout), c_sublayer)
        dx = layer_norm_backward(p, dp, dh, c_norm)
        dx += dy
        return dx
    dsum = layer_norm_backward(p, dp, dy, c_norm)
    return dsum + sublayer_backward(dropout_backward(dsum, c_dropout), c_sublayer)
