"""§3.2 The Transformer decoder: each position looks at itself and what came before it.

    1. masked self-attention        causal: no position sees a later one
    2. encoder-decoder attention    each position looks at the encoder's output, the memory
    3. feed-forward network         on each position
    4. output distribution          softmax(h Eᵀ); in the models, which may tie it to the embedding

Without step 2 this is the trunk of a decoder-only language model. In generation ``past`` holds what
each layer has seen: the same forward then reads the new tokens alone. Source: Vaswani et al. 2017,
§3.1; Radford et al. 2018 (decoder-only); Shazeer 2019, arXiv:1911.02150, §2.4.1 (incremental).
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
    KeysValues,
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
class DecoderLayer:
    self_attention: MultiHeadAttention
    self_attention_norm: Any  # of an entry of NORMS
    cross_attention: Any  # MultiHeadAttention, or None without an encoder
    cross_attention_norm: Any
    feed_forward: FeedForward
    feed_forward_norm: Any


@dataclass
class Decoder:
    layers: list[DecoderLayer]
    norm: Any  # pre-norm only, else None


class CrossCache(NamedTuple):
    enter: EnterCache
    attention: MultiHeadCache
    leave: LeaveCache


class DecoderLayerCache(NamedTuple):
    enter_attention: EnterCache
    attention: MultiHeadCache
    leave_attention: LeaveCache
    cross: CrossCache | None  # None without a memory
    enter_feed_forward: EnterCache
    feed_forward: FeedForwardCache
    leave_feed_forward: LeaveCache


class DecoderCache(NamedTuple):
    layers: list[DecoderLayerCache]
    norm: EnterCache | None  # of what reads the residual stream at the end, in pre-norm


class LayerPast(NamedTuple):
    """What a layer has seen: keys and values of the tokens so far, and of the memory."""

    attention: KeysValues | None = None
    cross: KeysValues | None = None

    @property
    def length(self) -> int:
        """Tokens so far."""
        return 0 if self.attention is None else self.attention.keys.shape[2]


NOTHING_SEEN = LayerPast()


def decoder_init(rng: np.random.Generator, config: StackConfig, *, cross: bool = False) -> Decoder:
    """n_layers layers, with encoder-decoder attention if ``cross``; float32."""
    d_model, bias, scale = config.d_model, config.bias, config.output_scale(2 + cross)
    spread: dict[str, Any] = {"std": config.std, "output_scale": scale, "bias": bias}
    layers = [
        DecoderLayer(
            multi_head_init(rng, d_model, **spread),
            config.norm_init(),
            multi_head_init(rng, d_model, **spread) if cross else None,
            config.norm_init() if cross else None,
            feed_forward_init(rng, d_model, config.d_ff, **spread),
            config.norm_init(),
        )
        for _ in range(config.n_layers)
    ]
    return Decoder(layers, config.norm_init() if config.norm == "pre" else None)


def decoder_layer_forward(
    p: DecoderLayer,
    x: Array,
    memory: Array | None = None,
    *,
    config: StackConfig,
    mask: Array | None = None,
    memory_mask: Array | None = None,
    past: LayerPast = NOTHING_SEEN,
    rng: np.random.Generator | None = None,
) -> tuple[Array, DecoderLayerCache]:
    """x (B, T, D), memory (B, S, D) if there is encoder-decoder attention -> (B, T, D).

    mask (B, T) is False where x is padding, memory_mask (B, S) where the memory is. Raises
    ``ValueError`` if a memory is missing or not wanted.
    """
    if (memory is None) != (p.cross_attention is None):
        wanted = "no" if p.cross_attention is None else "a"
        raise ValueError(f"this layer takes {wanted} memory of an encoder")
    norm = config.norm_settings
    dropped: dict[str, Any] = {"dropout": config.dropout, "rng": rng}

    h, c_enter = enter_forward(p.self_attention_norm, x, **norm)
    f, c_attention = multi_head_forward(
        p.self_attention, h, causal=True, mask=mask, past=past.attention,
        **config.attention_settings, **dropped,
    )  # fmt: skip
    x, c_leave = leave_forward(p.self_attention_norm, x, f, **norm, **dropped)

    c_cross = None
    if memory is not None:
        h, c_enter_cross = enter_forward(p.cross_attention_norm, x, **norm)
        f, c_cross_attention = multi_head_forward(
            p.cross_attention, h, memory, mask=memory_mask, past=past.cross,
            **config.cross_attention_settings, **dropped,
        )  # fmt: skip
        x, c_leave_cross = leave_forward(p.cross_attention_norm, x, f, **norm, **dropped)
        c_cross = CrossCache(c_enter_cross, c_cross_attention, c_leave_cross)

    h, c_enter_ff = enter_forward(p.feed_forward_norm, x, **norm)
    f, c_ff = feed_forward_forward(p.feed_forward, h, activation=config.activation_entry)
    x, c_leave_ff = leave_forward(p.feed_forward_norm, x, f, **norm, **dropped)
    return x, DecoderLayerCache(
        c_enter, c_attention, c_leave, c_cross, c_enter_ff, c_ff, c_leave_ff
    )


def decoder_layer_backward(
    p: DecoderLayer, dp: DecoderLayer, dy: Array, cache: DecoderLayerCache
) -> tuple[Array, Any]:
    """The forward read upwards; returns (dx, dmemory), dmemory None without a memory."""
    norm, dnorm = p.feed_forward_norm, dp.feed_forward_norm
    dx, df = leave_backward(norm, dnorm, dy, cache.leave_feed_forward)
    dh = feed_forward_backward(p.feed_forward, dp.feed_forward, df, cache.feed_forward)
    dx = dx + enter_backward(norm, dnorm, dh, cache.enter_feed_forward)

    dmemory = None
    if cache.cross is not None:
        norm, dnorm = p.cross_attention_norm, dp.cross_attention_norm
        dx, df = leave_backward(norm, dnorm, dx, cache.cross.leave)
        cross, dcross = p.cross_attention, dp.cross_attention
        dh, dmemory = multi_head_backward(cross, dcross, df, cache.cross.attention)
        dx = dx + enter_backward(norm, dnorm, dh, cache.cross.enter)

    norm, dnorm = p.self_attention_norm, dp.self_attention_norm
    dx, df = leave_backward(norm, dnorm, dx, cache.leave_attention)
    dh = multi_head_backward(p.self_attention, dp.self_attention, df, cache.attention)
    dx = dx + enter_backward(norm, dnorm, dh, cache.enter_attention)
    return dx, dmemory


def decoder_forward(
    p: Decoder,
    x: Array,
    memory: Array | None = None,
    *,
    config: StackConfig,
    mask: Array | None = None,
    memory_mask: Array | None = None,
    past: list[LayerPast] | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, DecoderCache]:
    """x (B, T, D), memory (B, S, D) of an encoder or None -> (B, T, D).

    mask (B, T) is False where x is padding, memory_mask (B, S) where the memory is. past: what
    each layer has seen (``seen_by``), if x continues a text; a mask then counts those tokens too.
    """
    caches, c_norm = [], None
    masks = {"mask": mask, "memory_mask": memory_mask}
    for layer, seen in zip(p.layers, past or [NOTHING_SEEN] * len(p.layers), strict=True):
        x, cache = decoder_layer_forward(
            layer, x, memory, config=config, past=seen, rng=rng, **masks
        )
        caches.append(cache)
    if p.norm is not None:
        x, c_norm = enter_forward(p.norm, x, **config.norm_settings)
    return x, DecoderCache(caches, c_norm)


def decoder_backward(p: Decoder, dp: Decoder, dy: Array, cache: DecoderCache) -> tuple[Array, Any]:
    """The forward read upwards; returns (dx, dmemory), dmemory None without a memory.

    Every layer looks at the same memory, so its gradient is the sum over the layers.
    """
    dx, dmemory = dy, None
    if cache.norm is not None:
        dx = enter_backward(p.norm, dp.norm, dx, cache.norm)
    for i in reversed(range(len(p.layers))):
        dx, dm = decoder_layer_backward(p.layers[i], dp.layers[i], dx, cache.layers[i])
        dmemory = dm if dmemory is None else dmemory + dm
    return dx, dmemory


def seen_by(cache: DecoderCache) -> list[LayerPast]:
    """What each layer has seen after a forward: the ``past`` of the next tokens."""
    return [
        LayerPast(c.attention.seen, c.cross.attention.seen if c.cross else None)
        for c in cache.layers
    ]
