"""Llama: the decoder-only model of today.

    x = E[ids]                                    (B, T, D), no positions added
    x = x + attention(RMSNorm(x))                 n_layers times: grouped queries, turned
    x = x + SwiGLU(RMSNorm(x))                    by their positions; no biases
    logits = RMSNorm(x) Eᵀ  or  RMSNorm(x) W      (B, T, V)

The choices of ``LlamaConfig`` are those in which its relatives differ: Mistral sees a window,
Qwen 2 has biases in queries, keys and values, Qwen 3 norms there instead.

Source: Touvron et al. 2023, arXiv:2302.13971, §2.2; Grattafiori et al. 2024, arXiv:2407.21783,
§3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.embedding import (
    Embedding,
    embedding_backward,
    embedding_forward,
    embedding_init,
    unembedding_backward,
    unembedding_forward,
)
from numpylm.layers.gated_feed_forward import (
    GatedFeedForward,
    GatedFeedForwardCache,
    gated_feed_forward_backward,
    gated_feed_forward_forward,
    gated_feed_forward_init,
)
from numpylm.layers.grouped_query import (
    GroupedQueryAttention,
    GroupedQueryCache,
    grouped_query_backward,
    grouped_query_forward,
    grouped_query_init,
)
from numpylm.layers.linear import linear_backward, linear_forward, linear_init
from numpylm.layers.multi_head import KeysValues
from numpylm.layers.rms_norm import (
    RMSNorm,
    RMSNormCache,
    rms_norm_backward,
    rms_norm_forward,
    rms_norm_init,
)
from numpylm.layers.rotary import BASE, Llama3Scaling
from numpylm.models.config import require_positive
from numpylm.parameters import Array, pack


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Sizes, and the choices in which relatives differ. Raises ``ValueError`` for what cannot
    work."""

    vocab_size: int
    context: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_ff: int
    tied: bool = True  # the output layer is the token embedding
    eps: float = 1e-5  # of RMSNorm
    base: float = BASE  # of the rotary angles
    pairing: str = "halves"
    scaling: Llama3Scaling | None = None
    bias: bool = False  # of queries, keys and values
    qk_norm: bool = False
    window: int | None = None
    implementation: str = "plain"

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context", "n_layers", "n_heads", "n_kv_heads", "d_model", "d_head")
        require_positive(self, *sizes, "d_ff", *(("window",) if self.window is not None else ()))
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads {self.n_heads} is no multiple of n_kv_heads {self.n_kv_heads}"
            )

    @property
    def attention_settings(self) -> dict[str, Any]:
        """Of ``grouped_query_forward``."""
        rotary = {"base": self.base, "pairing": self.pairing, "scaling": self.scaling}
        return {
            "n_heads": self.n_heads, "n_kv_heads": self.n_kv_heads, "window": self.window,
            "eps": self.eps, "rotary": rotary, "implementation": self.implementation,
        }  # fmt: skip


@dataclass
class LlamaLayer:
    attention_norm: RMSNorm
    attention: GroupedQueryAttention
    feed_forward_norm: RMSNorm
    feed_forward: GatedFeedForward


@dataclass
class Llama:
    tokens: Embedding  # (V, D)
    layers: list[LlamaLayer]
    norm: RMSNorm
    output: Any  # Linear (D, V), or None if tied: it is then the token embedding


class LlamaLayerCache(NamedTuple):
    attention_norm: RMSNormCache
    attention: GroupedQueryCache
    feed_forward_norm: RMSNormCache
    feed_forward: GatedFeedForwardCache


class LlamaCache(NamedTuple):
    """What the backward needs, and what the layers have seen."""

    tokens: Array
    layers: list[LlamaLayerCache]
    norm: RMSNormCache
    output: Array

    @property
    def seen(self) -> list[KeysValues]:
        """What each layer has seen: the ``past`` of the tokens that follow."""
        return [layer.attention.seen for layer in self.layers]

    @property
    def attention_weights(self) -> list[Array]:
        """Where each layer looked, (B, H, T, S)."""
        return [layer.attention.attention.weights for layer in self.layers]


def llama_init(seed: int, config: LlamaConfig) -> tuple[Array, Llama]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    rng, d_model = np.random.default_rng(seed), config.d_model
    scale = 1.0 / math.sqrt(2 * config.n_layers)  # of what writes to the residual stream
    layers = [
        LlamaLayer(
            rms_norm_init(d_model),
            grouped_query_init(
                rng, d_model, n_heads=config.n_heads, n_kv_heads=config.n_kv_heads,
                d_head=config.d_head, output_scale=scale, bias=config.bias, norm=config.qk_norm,
            ),
            rms_norm_init(d_model),
            gated_feed_forward_init(rng, d_model, config.d_ff, output_scale=scale),
        )
        for _ in range(config.n_layers)
    ]  # fmt: skip
    tokens = embedding_init(rng, config.vocab_size, d_model)
    output = None
    if not config.tied:
        output = linear_init(rng, d_model, config.vocab_size, std=0.02, bias=False)
    return pack(Llama(tokens, layers, rms_norm_init(d_model), output))


def llama_layer_forward(
    p: LlamaLayer,
    x: Array,
    *,
    config: LlamaConfig,
    mask: Array | None = None,
    past: KeysValues | None = None,
) -> tuple[Array, LlamaLayerCache]:
    """x (B, T, D) -> (B, T, D)."""
    h, c_attention_norm = rms_norm_forward(p.attention_norm, x, eps=config.eps)
    f, c_attention = grouped_query_forward(
        p.attention, h, mask=mask, past=past, **config.attention_settings
    )
    x = x + f

    h, c_feed_forward_norm = rms_norm_forward(p.feed_forward_norm, x, eps=config.eps)
    f, c_feed_forward = gated_feed_forward_forward(p.feed_forward, h)
    x = x + f
    return x, LlamaLayerCache(c_attention_norm, c_attention, c_feed_forward_norm, c_feed_forward)


def llama_layer_backward(p: LlamaLayer, dp: LlamaLayer, dy: Array, cache: LlamaLayerCache) -> Array:
    """The forward read upwards; returns dx. Where a path went around a sublayer, two add up."""
    dh = gated_feed_forward_backward(p.feed_forward, dp.feed_forward, dy, cache.feed_forward)
    norm, dnorm = p.feed_forward_norm, dp.feed_forward_norm
    dx = dy + rms_norm_backward(norm, dnorm, dh, cache.feed_forward_norm)

    dh = grouped_query_backward(p.attention, dp.attention, dx, cache.attention)
    norm, dnorm = p.attention_norm, dp.attention_norm
    return dx + rms_norm_backward(norm, dnorm, dh, cache.attention_norm)


def llama_forward(
    p: Llama,
    ids: Array,
    *,
    config: LlamaConfig,
    mask: Array | None = None,
    past: list[KeysValues] | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, LlamaCache]:
    """Logits of the next token at each position; integer ids (B, T) -> (B, T, V).

    mask (B, T) is False where ids are padding, at the end. past: what the layers have seen of the
    text that ids continue. There is no dropout, so ``rng`` changes nothing. Raises ``ValueError``
    for ids outside the vocabulary or sequences longer than the context.
    """
    first = past[0].keys.shape[2] if past else 0
    if ids.ndim != 2 or first + ids.shape[1] > config.context:
        shape = (*ids.shape[:-1], first + ids.shape[-1])
        raise ValueError(f"ids {shape} must be (batch, length ≤ context {config.context})")
    x, c_tokens = embedding_forward(p.tokens, ids)
    caches = []
    pasts: list[Any] = past or [None] * len(p.layers)
    for layer, seen in zip(p.layers, pasts, strict=True):
        x, cache = llama_layer_forward(layer, x, config=config, mask=mask, past=seen)
        caches.append(cache)
    h, c_norm = rms_norm_forward(p.norm, x, eps=config.eps)
    if p.output is None:
        logits, c_output = unembedding_forward(p.tokens, h)
    else:
        logits, c_output = linear_forward(p.output, h)
    return logits, LlamaCache(c_tokens, caches, c_norm, c_output)


def llama_backward(p: Llama, dp: Llama, dlogits: Array, cache: LlamaCache) -> None:
    """The forward read upwards. With tied weights the token table receives two contributions."""
    if p.output is None:
        dh = unembedding_backward(p.tokens, dp.tokens, dlogits, cache.output)
    else:
        dh = linear_backward(p.output, dp.output, dlogits, cache.output)
    dx = rms_norm_backward(p.norm, dp.norm, dh, cache.norm)
    for i in reversed(range(len(p.layers))):
        dx = llama_layer_backward(p.layers[i], dp.layers[i], dx, cache.layers[i])
    embedding_backward(p.tokens, dp.tokens, dx, cache.tokens)
