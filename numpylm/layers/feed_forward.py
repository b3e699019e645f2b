"""The position-wise feed-forward network, FFN(x) = act(x W₁ + b₁) W₂ + b₂.

The same two matrices at each position; d_ff is usually 4 · d_model. Two thirds of a block's
weights are here. Source: Vaswani et al. 2017, §3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.choices import ACTIVATIONS
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.parameters import Array


@dataclass
class FeedForward:
    hidden: Linear  # (D, d_ff)
    output: Linear  # (d_ff, D)


class FeedForwardCache(NamedTuple):
    activation: str  # which backward belongs to it
    hidden: Array
    active: Any
    output: Array


def feed_forward_init(
    rng: np.random.Generator,
    d_model: int,
    d_ff: int,
    *,
    std: float | None = None,
    output_scale: float = 1.0,
    bias: bool = True,
) -> FeedForward:
    """Two ``linear_init``; W₂, which writes to the residual stream, times output_scale."""
    return FeedForward(
        linear_init(rng, d_model, d_ff, std=std, bias=bias),
        linear_init(rng, d_ff, d_model, std=std, scale=output_scale, bias=bias),
    )


def feed_forward_forward(
    p: FeedForward, x: Array, *, activation: str
) -> tuple[Array, FeedForwardCache]:
    """y = act(x W₁ + b₁) W₂ + b₂; x (..., D) -> y (..., D).

    Raises ``ValueError`` for an activation that is not in ``ACTIVATIONS``.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is none of {sorted(ACTIVATIONS)}")
    hidden, c_hidden = linear_forward(p.hidden, x)
    active, c_active = ACTIVATIONS[activation].forward(hidden)
    y, c_output = linear_forward(p.output, active)
    return y, FeedForwardCache(activation, c_hidden, c_active, c_output)


def feed_forward_backward(
    p: FeedForward, dp: FeedForward, dy: Array, cache: FeedForwardCache
) -> Array:
    """The forward read upwards; returns dx."""
    activate_backward = ACTIVATIONS[cache.activation].backward
    dactive = linear_backward(p.output, dp.output, dy, cache.output)
    dhidden = activate_backward(dactive, cache.active)
    return linear_backward(p.hidden, dp.hidden, dhidden, cache.hidden)
