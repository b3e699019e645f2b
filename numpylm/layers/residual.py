"""The residual connection with its layer norm and dropout, "Add & Norm".

    pre-norm     y = x + Dropout(F(LayerNorm(x)))        (GPT-2; trains without warm-up)
    post-norm    y = LayerNorm(x + Dropout(F(x)))        (the original Transformer)

F is the sublayer: attention or the feed-forward network. What stands before F is *entering* it,
what stands behind F is *leaving* it:

    h = enter(x)      pre-norm: LayerNorm(x)             post-norm: x
    f = F(h)
    y = leave(x, f)   pre-norm: x + Dropout(f)           post-norm: LayerNorm(x + Dropout(f))

In pre-norm the path from output to input is the identity, so gradients reach the first layer
undamped; in post-norm they pass a layer norm at each step. This is the only place that knows the
difference.

Source: Vaswani et al. 2017, §3.1; Xiong et al. 2020, arXiv:2002.04745, for the comparison.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.layer_norm import LAYER_NORM, LayerNorm, LayerNormCache
from numpylm.parameters import Array


class EnterCache(NamedTuple):
    norm: LayerNormCache | None  # pre-norm
    implementation: str  # which backward belongs to it


class LeaveCache(NamedTuple):
    norm: LayerNormCache | None  # post-norm
    dropout: Array | None
    implementation: str


def enter_forward(
    p: LayerNorm, x: Array, *, norm: str, implementation: str = "plain"
) -> tuple[Array, EnterCache]:
    """What the sublayer reads: LayerNorm(x) in pre-norm, x itself in post-norm; (..., D).

    Raises ``ValueError`` for a norm other than "pre" or "post".
    """
    if norm not in ("pre", "post"):
        raise ValueError(f'norm is {norm!r}; it must be "pre" or "post"')
    if norm == "post":
        return x, EnterCache(None, implementation)
    layer_norm_forward, _ = LAYER_NORM[implementation]
    h, c_norm = layer_norm_forward(p, x)
    return h, EnterCache(c_norm, implementation)


def enter_backward(p: LayerNorm, dp: LayerNorm, dh: Array, cache: EnterCache) -> Array:
    """dx of the path through the sublayer."""
    _, layer_norm_backward = LAYER_NORM[cache.implementation]
    return dh if cache.norm is None else layer_norm_backward(p, dp, dh, cache.norm)


def leave_forward(
    p: LayerNorm,
    x: Array,
    f: Array,
    *,
    norm: str,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    implementation: str = "plain",
) -> tuple[Array, LeaveCache]:
    """x + Dropout(f), and in post-norm its layer norm; x and f (..., D) -> y (..., D)."""
    layer_norm_forward, _ = LAYER_NORM[implementation]
    f, c_dropout = dropout_forward(f, rate=dropout, rng=rng)
    if norm == "pre":
        return x + f, LeaveCache(None, c_dropout, implementation)
    y, c_norm = layer_norm_forward(p, x + f)
    return y, LeaveCache(c_norm, c_dropout, implementation)


def leave_backward(
    p: LayerNorm, dp: LayerNorm, dy: Array, cache: LeaveCache
) -> tuple[Array, Array]:
    """(dx, df): of the path around the sublayer, and of what the sublayer gave."""
    _, layer_norm_backward = LAYER_NORM[cache.implementation]
    dsum = dy if cache.norm is None else layer_norm_backward(p, dp, dy, cache.norm)
    return dsum, dropout_backward(dsum, cache.dropout)
