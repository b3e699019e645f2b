"""The residual connection with its layer norm and dropout, "Add & Norm".

    pre-norm     y = x + Dropout(F(LayerNorm(x)))        (GPT-2; trains without warm-up)
    post-norm    y = LayerNorm(x + Dropout(F(x)))        (the original Transformer)

F is the sublayer: attention or the feed-forward network. For layer norm there may be another norm
(``NORMS``). What comes before F is *entering* it, what comes behind F is *leaving* it:

    h = enter(x)      pre-norm: LayerNorm(x)             post-norm: x
    f = F(h)
    y = leave(x, f)   pre-norm: x + Dropout(f)           post-norm: LayerNorm(x + Dropout(f))

In pre-norm the path from output to input is the identity, so gradients reach the first layer
undamped; in post-norm they pass a layer norm at each step. This is the only place that knows the
difference.

Source: Vaswani et al. 2017, §3.1; Xiong et al. 2020, arXiv:2002.04745, for the comparison.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.choices import NORMS
from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.parameters import Array


class EnterCache(NamedTuple):
    normalisation: str  # which backward belongs to it
    norm: Any  # pre-norm, else None


class LeaveCache(NamedTuple):
    normalisation: str
    norm: Any  # post-norm, else None
    dropout: Array | None


def enter_forward(
    p: Any, x: Array, *, norm: str, normalisation: str = "layer"
) -> tuple[Array, EnterCache]:
    """What the sublayer reads: LayerNorm(x) in pre-norm, x itself in post-norm; (..., D).

    ``normalisation`` is an entry of ``NORMS``, p its parameters. Raises ``ValueError`` for a norm
    other than "pre" or "post".
    """
    if norm not in ("pre", "post"):
        raise ValueError(f'norm is {norm!r}; it must be "pre" or "post"')
    if norm == "post":
        return x, EnterCache(normalisation, None)
    h, c_norm = NORMS[normalisation].forward(p, x)
    return h, EnterCache(normalisation, c_norm)


def enter_backward(p: Any, dp: Any, dh: Array, cache: EnterCache) -> Array:
    """dx of the path through the sublayer."""
    norm_backward = NORMS[cache.normalisation].backward
    return dh if cache.norm is None else norm_backward(p, dp, dh, cache.norm)


def leave_forward(
    p: Any,
    x: Array,
    f: Array,
    *,
    norm: str,
    normalisation: str = "layer",
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, LeaveCache]:
    """x + Dropout(f), and in post-norm its layer norm; x and f (..., D) -> y (..., D)."""
    f, c_dropout = dropout_forward(f, rate=dropout, rng=rng)
    if norm == "pre":
        return x + f, LeaveCache(normalisation, None, c_dropout)
    y, c_norm = NORMS[normalisation].forward(p, x + f)
    return y, LeaveCache(normalisation, c_norm, c_dropout)


def leave_backward(p: Any, dp: Any, dy: Array, cache: LeaveCache) -> tuple[Array, Array]:
    """(dx, df): of the path around the sublayer, and of what the sublayer gave."""
    norm_backward = NORMS[cache.normalisation].backward
    dsum = dy if cache.norm is None else norm_backward(p, dp, dy, cache.norm)
    return dsum, dropout_backward(dsum, cache.dropout)
