"""The gated feed-forward network, SwiGLU: y = (SiLU(x W_gate) ⊙ x W_up) W_down.

SiLU(z) = z σ(z), σ the logistic function. One product proposes, the other says how much of it
passes: a gate with a gradient on both sides. LLaMA and its relatives have it, without biases, and
with d_ff about 8/3 D, so that three matrices hold what two of 4 D did.

Source: Shazeer 2020, arXiv:2002.05202, Eq. 6; SiLU: Hendrycks & Gimpel 2016, arXiv:1606.08415.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.parameters import Array


@dataclass
class GatedFeedForward:
    gate: Linear  # (D, d_ff)
    up: Linear  # (D, d_ff)
    down: Linear  # (d_ff, D)


class SiLUCache(NamedTuple):
    z: Array
    sigma: Array


class GatedFeedForwardCache(NamedTuple):
    gate: Array
    up: Array
    silu: SiLUCache
    active: Array  # SiLU(x W_gate)
    proposed: Array  # x W_up
    down: Array


def silu_forward(z: Array) -> tuple[Array, SiLUCache]:
    """y = z σ(z); any shape."""
    sigma = 0.5 * (1.0 + np.tanh(0.5 * z))  # 1 / (1 + exp(−z)), which would overflow
    return z * sigma, SiLUCache(z, sigma)


def silu_backward(dy: Array, cache: SiLUCache) -> Array:
    """dz = dy (σ + z σ (1 − σ)), as dσ/dz = σ (1 − σ)."""
    z, sigma = cache
    return dy * (sigma + z * sigma * (1.0 - sigma))


def gated_feed_forward_init(
    rng: np.random.Generator,
    d_model: int,
    d_ff: int,
    *,
    std: float | None = None,
    output_scale: float = 1.0,
) -> GatedFeedForward:
    """Three ``linear_init`` without bias; W_down, which writes to the residual stream, times
    output_scale."""
    return GatedFeedForward(
        linear_init(rng, d_model, d_ff, std=std, bias=False),
        linear_init(rng, d_model, d_ff, std=std, bias=False),
        linear_init(rng, d_ff, d_model, std=std, scale=output_scale, bias=False),
    )


def gated_feed_forward_forward(
    p: GatedFeedForward, x: Array
) -> tuple[Array, GatedFeedForwardCache]:
    """y = (SiLU(x W_gate) ⊙ x W_up) W_down; x (..., D) -> y (..., D)."""
    z, c_gate = linear_forward(p.gate, x)
    proposed, c_up = linear_forward(p.up, x)
    active, c_silu = silu_forward(z)
    y, c_down = linear_forward(p.down, active * proposed)
    return y, GatedFeedForwardCache(c_gate, c_up, c_silu, active, proposed, c_down)


def gated_feed_forward_backward(
    p: GatedFeedForward, dp: GatedFeedForward, dy: Array, cache: GatedFeedForwardCache
) -> Array:
    """The forward read upwards; of a product each factor gets dy times the other. Returns dx."""
    dh = linear_backward(p.down, dp.down, dy, cache.down)
    dz = silu_backward(dh * cache.proposed, cache.silu)
    dproposed = dh * cache.active
    dx = linear_backward(p.up, dp.up, dproposed, cache.up)
    return dx + linear_backward(p.gate, dp.gate, dz, cache.gate)
