"""§3.1 The Transformer encoder: every position looks at the whole text, before and after it.

    1. token embedding              ids to vectors          ``layers/input_embedding.py``
    2. positional encoding          where each stands       ``layers/positional.py``
    3. multi-head self-attention    collect from all        ``layers/multi_head.py``
    4. residual and layer norm      keep and rescale        ``layers/residual.py``
    5. feed-forward network         work on it              ``layers/feed_forward.py``
    6. output                       (B, T, D), after n_layers times steps 3 to 5

Steps 1 and 2 belong to the models, because encoder and decoder may share a vocabulary; here are
steps 3 to 6. In pre-norm the residual stream leaves the last layer unscaled, so one more layer norm
follows. Source: Vaswani et al. 2017, §3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.feed_forward import (
    FeedForward,
    FeedForwardCache,
    feed_forward_backward,
    feed_forward_forward,
    feed_forward_init,
)
from numpylm.layers.multi_head import (
    MultiHeadAttention,
    MultiHeadCache,
    multi_head_backward,
    multi_head_forward,
    multi_head_init,
)
from numpylm.layers.residual import (
    EnterCache,
    LeaveCache,
    enter_backward,
    enter_forward,
    leave_backward,
    leave_forward,
)
from numpylm.models.config import StackConfig
from numpylm.parameters import Array


@dataclass
class EncoderLayer:
    self_attention: MultiHeadAttention
    self_attention_norm: Any  # of an entry of NORMS
    feed_forward: FeedForward
    feed_forward_norm: Any


@dataclass
class Encoder:
    layers: list[EncoderLayer]
    norm: Any  # pre-norm only, else None


class EncoderLayerCache(NamedTuple):
    enter_attention: EnterCache
    attention: MultiHeadCache
    leave_attention: LeaveCache
    enter_feed_forward: EnterCache
    feed_forward: FeedForwardCache
    leave_feed_forward: LeaveCache


class EncoderCache(NamedTuple):
    layers: list[EncoderLayerCache]
    norm: EnterCache | None  # of what reads the residual stream at the end, in pre-norm


def encoder_init(rng: np.random.Generator, config: StackConfig) -> Encoder:
    """n_layers layers; float32. Those matrices that write to the residual stream start smaller
    (``StackConfig.output_scale``)."""
    d_model, bias = config.d_model, config.bias
    spread: dict[str, Any] = {
        "std": config.std,
        "output_scale": config.output_scale(sublayers=2),
        "bias": bias,
    }
    layers = [
        EncoderLayer(
            multi_head_init(rng, d_model, **spread),
            config.norm_init(),
            feed_forward_init(rng, d_model, config.d_ff, **spread),
            config.norm_init(),
        )
        for _ in range(config.n_layers)
    ]
    return Encoder(layers, config.norm_init() if config.norm == "pre" else None)


def encoder_layer_forward(
    p: EncoderLayer,
    x: Array,
    *,
    config: StackConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, EncoderLayerCache]:
    """x (B, T, D) -> (B, T, D). mask (B, T) is False at padding."""
    norm = config.norm_settings
    dropped: dict[str, Any] = {"dropout": config.dropout, "rng": rng}

    h, c_enter = enter_forward(p.self_attention_norm, x, **norm)
    f, c_attention = multi_head_forward(
        p.self_attention, h, mask=mask, **config.attention_settings, **dropped
    )
    x, c_leave = leave_forward(p.self_attention_norm, x, f, **norm, **dropped)

    h, c_enter_ff = enter_forward(p.feed_forward_norm, x, **norm)
    f, c_ff = feed_forward_forward(p.feed_forward, h, activation=config.activation_entry)
    x, c_leave_ff = leave_forward(p.feed_forward_norm, x, f, **norm, **dropped)
    return x, EncoderLayerCache(c_enter, c_attention, c_leave, c_enter_ff, c_ff, c_leave_ff)


def encoder_layer_backward(
    p: EncoderLayer, dp: EncoderLayer, dy: Array, cache: EncoderLayerCache
) -> Array:
    """The forward read upwards; returns dx. Where a path went around a sublayer, two add up."""
    norm, dnorm = p.feed_forward_norm, dp.feed_forward_norm
    dx, df = leave_backward(norm, dnorm, dy, cache.leave_feed_forward)
    dh = feed_forward_backward(p.feed_forward, dp.feed_forward, df, cache.feed_forward)
    dx = dx + enter_backward(norm, dnorm, dh, cache.enter_feed_forward)

    norm, dnorm = p.self_attention_norm, dp.self_attention_norm
    dx, df = leave_backward(norm, dnorm, dx, cache.leave_attention)
    dh = multi_head_backward(p.self_attention, dp.self_attention, df, cache.attention)
    return dx + enter_backward(norm, dnorm, dh, cache.enter_attention)


def encoder_forward(
    p: Encoder,
    x: Array,
    *,
    config: StackConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, EncoderCache]:
    """x (B, S, D) -> (B, S, D), the memory of a decoder. mask (B, S) is False at padding."""
    caches, c_norm = [], None
    for layer in p.layers:
        x, cache = encoder_layer_forward(layer, x, config=config, mask=mask, rng=rng)
        caches.append(cache)
    if p.norm is not None:
        x, c_norm = enter_forward(p.norm, x, **config.norm_settings)
    return x, EncoderCache(caches, c_norm)


def encoder_backward(p: Encoder, dp: Encoder, dy: Array, cache: EncoderCache) -> Array:
    """The forward read upwards; returns dx."""
    dx = dy
    if cache.norm is not None:
        dx = enter_backward(p.norm, dp.norm, dx, cache.norm)
    for i in reversed(range(len(p.layers))):
        dx = encoder_layer_backward(p.layers[i], dp.layers[i], dx, cache.layers[i])
    return dx
