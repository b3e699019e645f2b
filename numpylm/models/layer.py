"""One Transformer layer: what encoder and decoder are stacks of.

    1. self-attention               every position looks at every other, or (causal) at those before
    2. encoder-decoder attention    only in an encoder-decoder: at the encoder's output, the memory
    3. feed-forward network         every position on its own

Each is wrapped in a residual connection with layer norm (``layers/residual.py``).
Source: Vaswani et al. 2017, §3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from numpylm.layers.feed_forward import (
    FeedForward,
    feed_forward_backward,
    feed_forward_forward,
    feed_forward_init,
)
from numpylm.layers.layer_norm import LayerNorm, layer_norm_init
from numpylm.layers.multi_head import (
    MultiHeadAttention,
    multi_head_backward,
    multi_head_forward,
    multi_head_init,
)
from numpylm.layers.positional import alibi_bias
from numpylm.layers.residual import residual_backward, residual_forward
from numpylm.models.config import StackConfig
from numpylm.parameters import Array

GPT2_STD = 0.02


@dataclass
class TransformerLayer:
    self_attention: MultiHeadAttention
    self_attention_norm: LayerNorm
    cross_attention: MultiHeadAttention | None
    cross_attention_norm: LayerNorm | None
    feed_forward: FeedForward
    feed_forward_norm: LayerNorm


def transformer_layer_init(
    rng: np.random.Generator, config: StackConfig, *, cross: bool = False
) -> TransformerLayer:
    """Matrices from N(0, 1/d_in), or N(0, 0.02²) if config.init is "gpt2"; float32.

    Those that write to the residual stream start 1/√R times as large, R the number of residual
    connections of the stack, so that the sum of all of them has the scale of one (Radford et al.
    2019, §2.3). At GPT-2's width of 768 the two choices are alike (0.036 and 0.02); a narrow model
    that starts at 0.02 has to grow its matrices before it can learn.
    """
    d_model, bias = config.d_model, config.bias
    std = GPT2_STD if config.init == "gpt2" else None
    scale = 1.0 / math.sqrt((3 if cross else 2) * config.n_layers)
    attention = partial(multi_head_init, rng, d_model, std=std, output_scale=scale, bias=bias)
    norm = partial(layer_norm_init, d_model, bias=bias)
    return TransformerLayer(
        attention(),
        norm(),
        attention() if cross else None,
        norm() if cross else None,
        feed_forward_init(rng, d_model, config.d_ff, std=std, output_scale=scale, bias=bias),
        norm(),
    )


def transformer_layer_forward(
    p: TransformerLayer,
    x: Array,
    memory: Array | None = None,
    *,
    config: StackConfig,
    causal: bool,
    mask: Array | None = None,
    memory_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """x (B, T, D), memory (B, S, D) if there is encoder-decoder attention -> (B, T, D).

    mask (B, T) is False where x is padding, memory_mask (B, S) where the memory is. Raises
    ``ValueError`` if a memory is missing or not wanted.
    """
    if (memory is None) != (p.cross_attention is None):
        wanted = "no" if p.cross_attention is None else "a"
        raise ValueError(f"this layer takes {wanted} memory of an encoder")
    attend = partial(multi_head_forward, n_heads=config.n_heads, dropout=config.dropout, rng=rng)
    residual = partial(residual_forward, norm=config.norm, dropout=config.dropout, rng=rng)
    bias = None
    if config.positions == "alibi":
        length = x.shape[1]
        bias = alibi_bias(
            config.n_heads, length, length, x.dtype,
            scale=config.alibi_scale, both_ways=not causal,
        )  # fmt: skip
    x, c_self = residual(
        p.self_attention_norm,
        x,
        lambda h: attend(p.self_attention, h, causal=causal, mask=mask, bias=bias),
    )
    c_cross = None
    if memory is not None:
        x, c_cross = residual(
            p.cross_attention_norm,
            x,
            lambda h: attend(p.cross_attention, h, memory, mask=memory_mask),
        )
    x, c_feed = residual(
        p.feed_forward_norm,
        x,
        lambda h: feed_forward_forward(p.feed_forward, h, activation=config.activation),
    )
    return x, (c_self, c_cross, c_feed)


def transformer_layer_backward(
    p: TransformerLayer, dp: TransformerLayer, dy: Array, cache: tuple
) -> Any:
    """The forward read upwards; returns dx, or (dx, dmemory) with encoder-decoder attention."""
    c_self, c_cross, c_feed = cache
    d = residual_backward(
        p.feed_forward_norm, dp.feed_forward_norm, dy, c_feed,
        partial(feed_forward_backward, p.feed_forward, dp.feed_forward),
    )  # fmt: skip
    dmemory = None
    if c_cross is not None:

        def cross_backward(df: Array, cache: Any) -> Array:
            nonlocal dmemory
            dh, dmemory = multi_head_backward(p.cross_attention, dp.cross_attention, df, cache)
            return dh

        d = residual_backward(
            p.cross_attention_norm, dp.cross_attention_norm, d, c_cross, cross_backward
        )
    dx = residual_backward(
        p.self_attention_norm, dp.self_attention_norm, d, c_self,
        partial(multi_head_backward, p.self_attention, dp.self_attention),
    )  # fmt: skip
    return dx if dmemory is None else (dx, dmemory)
