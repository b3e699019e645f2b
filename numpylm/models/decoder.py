"""§3.2 The Transformer decoder: a stack of layers, each of up to three sublayers.

    1. masked self-attention        each position looks at itself and what came before
    2. encoder-decoder attention    each position looks at the encoder's output (memory)
    3. feed-forward network         each position on its own

Each is wrapped in a residual connection with layer norm (``layers/residual.py``). Without step 2
this is the trunk of a decoder-only language model; step 4, the output distribution, belongs to
the model (``gpt.py``). Source: Vaswani et al. 2017, §3.1; Radford et al. 2019 (decoder-only).
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
from numpylm.layers.layer_norm import (
    LayerNorm,
    layer_norm_backward,
    layer_norm_forward,
    layer_norm_init,
)
from numpylm.layers.multi_head import (
    MultiHeadAttention,
    MultiHeadCache,
    multi_head_backward,
    multi_head_forward,
    multi_head_init,
)
from numpylm.layers.residual import residual_backward, residual_forward
from numpylm.models.config import StackConfig
from numpylm.parameters import Array


@dataclass
class DecoderLayer:
    self_attention: MultiHeadAttention
    self_attention_norm: LayerNorm
    feed_forward: FeedForward
    feed_forward_norm: LayerNorm


@dataclass
class Decoder:
    layers: list[DecoderLayer]
    norm: LayerNorm | None  # pre-norm ends with one more layer norm; post-norm has had it


def decoder_init(rng: np.random.Generator, config: StackConfig) -> Decoder:
    """Matrices from N(0, 0.02²), float32; those that write to the residual stream from
    N(0, 0.02² / 2n_layers), so that the sum of all of them has the scale of one
    (Radford et al. 2019, §2.3).
    """
    std = 0.02 / math.sqrt(2 * config.n_layers)
    layers = [
        DecoderLayer(
            multi_head_init(rng, config.d_model, std_output=std, bias=config.bias),
            layer_norm_init(config.d_model, bias=config.bias),
            feed_forward_init(rng, config.d_model, config.d_ff, std_output=std, bias=config.bias),
            layer_norm_init(config.d_model, bias=config.bias),
        )
        for _ in range(config.n_layers)
    ]
    final = layer_norm_init(config.d_model, bias=config.bias) if config.norm == "pre" else None
    return Decoder(layers, final)


def decoder_layer_forward(
    p: DecoderLayer,
    x: Array,
    *,
    config: StackConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """One layer; x (B, T, D) -> (B, T, D). mask (B, T) is False where x is padding."""

    def attend(h: Array) -> tuple[Array, MultiHeadCache]:
        return multi_head_forward(
            p.self_attention,
            h,
            n_heads=config.n_heads,
            causal=True,
            mask=mask,
            dropout=config.dropout,
            rng=rng,
        )

    def feed(h: Array) -> tuple[Array, tuple]:
        return feed_forward_forward(p.feed_forward, h, activation=config.activation)

    residual = partial(residual_forward, norm=config.norm, dropout=config.dropout, rng=rng)
    x, c_attention = residual(p.self_attention_norm, x, attend)
    x, c_feed = residual(p.feed_forward_norm, x, feed)
    return x, (c_attention, c_feed)


def decoder_layer_backward(p: DecoderLayer, dp: DecoderLayer, dy: Array, cache: tuple) -> Array:
    """The forward read upwards; returns dx."""

    def attend_backward(d: Array, cache: MultiHeadCache) -> Any:
        return multi_head_backward(p.self_attention, dp.self_attention, d, cache)

    def feed_backward(d: Array, cache: tuple) -> Array:
        return feed_forward_backward(p.feed_forward, dp.feed_forward, d, cache)

    c_attention, c_feed = cache
    d = residual_backward(p.feed_forward_norm, dp.feed_forward_norm, dy, c_feed, feed_backward)
    return residual_backward(
        p.self_attention_norm, dp.self_attention_norm, d, c_attention, attend_backward
    )


def decoder_forward(
    p: Decoder,
    x: Array,
    *,
    config: StackConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """The stack of layers, then the last layer norm if there is one; (B, T, D) -> (B, T, D)."""
    caches = []
    for layer in p.layers:
        x, cache = decoder_layer_forward(layer, x, config=config, mask=mask, rng=rng)
        caches.append(cache)
    if p.norm is None:
        return x, (caches, None)
    x, c_norm = layer_norm_forward(p.norm, x)
    return x, (caches, c_norm)


def decoder_backward(p: Decoder, dp: Decoder, dy: Array, cache: tuple) -> Array:
    """The forward read upwards; returns dx."""
    caches, c_norm = cache
    d = dy
    if p.norm is not None:
        d = layer_norm_backward(p.norm, dp.norm, d, c_norm)
    for i in reversed(range(len(p.layers))):
        d = decoder_layer_backward(p.layers[i], dp.layers[i], d, caches[i])
    return d
