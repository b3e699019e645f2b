"""Encoder-only: BERT. Every position sees the whole text, so it is for understanding it.

    x = LayerNorm(E[ids] + P + G[segments])        (B, T, D)
    h = encoder(x)                                 (B, T, D)
    pooled = tanh(h[:, 0] W + b)                   (B, D), the vector of [CLS], the first token

Two heads are trained with it and dropped afterwards (``objectives/``):

    masked tokens    LayerNorm(GELU(h W + b)) Eᵀ + c      scores of the hidden token, (…, V)
    next sentence    pooled W + b                         is B the sentence after A? (B, 2)

Source: Devlin et al. 2019, arXiv:1810.04805, §3; the head's transform is in its published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.activations import (
    GELUCache,
    gelu_backward,
    gelu_forward,
    tanh_backward,
    tanh_forward,
)
from numpylm.layers.embedding import unembedding_backward, unembedding_forward
from numpylm.layers.input_embedding import (
    InputEmbedding,
    InputEmbeddingCache,
    input_embedding_backward,
    input_embedding_forward,
    input_embedding_init,
)
from numpylm.layers.layer_norm import (
    LayerNorm,
    LayerNormCache,
    layer_norm_backward,
    layer_norm_forward,
    layer_norm_init,
)
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.models.config import StackConfig, require_positive
from numpylm.models.encoder import (
    Encoder,
    EncoderCache,
    encoder_backward,
    encoder_forward,
    encoder_init,
)
from numpylm.parameters import Array, pack


@dataclass(frozen=True, kw_only=True)
class BERTConfig(StackConfig):
    """The shape of the model; post-norm and dropout 0.1 as published. Raises ``ValueError``."""

    vocab_size: int
    context: int = 128
    n_segments: int = 2
    norm: str = "post"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_positive(self, "vocab_size", "context", "n_segments")
        super().__post_init__()


@dataclass
class MaskedHead:
    transform: Linear  # (D, D)
    norm: LayerNorm
    bias: Array  # (V,); the matrix is the token embedding's


@dataclass
class BERT:
    embedding: InputEmbedding
    encoder: Encoder
    pooler: Any  # Linear (D, D); None in a classifier of tokens
    masked_head: Any  # MaskedHead; None in any classifier
    next_sentence_head: Any  # Linear (D, 2); None in any classifier


class BERTCache(NamedTuple):
    embedding: InputEmbeddingCache
    encoder: EncoderCache


class PoolerCache(NamedTuple):
    shape: tuple[int, ...]  # of h
    linear: Array
    tanh: Array


class MaskedHeadCache(NamedTuple):
    linear: Array
    gelu: GELUCache
    norm: LayerNormCache
    output: Array


def bert_init(seed: int, config: BERTConfig) -> tuple[Array, BERT]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    rng = np.random.default_rng(seed)
    d_model, vocab_size = config.d_model, config.vocab_size
    embedding = input_embedding_init(
        rng, vocab_size, config.context, d_model,
        positions=config.positions, n_segments=config.n_segments, norm=True,
    )  # fmt: skip
    head = MaskedHead(
        linear_init(rng, d_model, d_model),
        layer_norm_init(d_model),
        np.zeros(vocab_size, np.float32),
    )
    encoder = encoder_init(rng, config)
    pooler, next_sentence = (
        linear_init(rng, d_model, d_model),
        linear_init(rng, d_model, 2, std=0.02),
    )
    return pack(BERT(embedding, encoder, pooler, head, next_sentence))


def bert_forward(
    p: BERT,
    ids: Array,
    segments: Array | None = None,
    *,
    config: BERTConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, BERTCache]:
    """Hidden vectors (B, T, D) of integer ids (B, T); segments (B, T) are 0 where not given.

    mask (B, T) is False where ids are padding. ``rng`` turns dropout on. Raises ``ValueError``
    for ids or segments outside their tables or sequences longer than the context.
    """
    if ids.ndim != 2 or ids.shape[1] > config.context:
        raise ValueError(f"ids {ids.shape} must be (batch, length ≤ context {config.context})")
    x, c_embedding = input_embedding_forward(
        p.embedding, ids, segments, positions=config.positions, dropout=config.dropout, rng=rng
    )
    h, c_encoder = encoder_forward(p.encoder, x, config=config, mask=mask, rng=rng)
    return h, BERTCache(c_embedding, c_encoder)


def bert_backward(p: BERT, dp: BERT, dh: Array, cache: BERTCache) -> None:
    """The forward read upwards."""
    dx = encoder_backward(p.encoder, dp.encoder, dh, cache.encoder)
    input_embedding_backward(p.embedding, dp.embedding, dx, cache.embedding)


def pooler_forward(p: Linear, h: Array) -> tuple[Array, PoolerCache]:
    """pooled = tanh(h[:, 0] W + b); (B, T, D) -> (B, D). Position 0 holds [CLS]."""
    z, c_linear = linear_forward(p, h[:, 0])
    pooled, c_tanh = tanh_forward(z)
    return pooled, PoolerCache(h.shape, c_linear, c_tanh)


def pooler_backward(p: Linear, dp: Linear, dpooled: Array, cache: PoolerCache) -> Array:
    """Only position 0 was read: dh is zero elsewhere."""
    dh = np.zeros(cache.shape, dpooled.dtype)
    dh[:, 0] = linear_backward(p, dp, tanh_backward(dpooled, cache.tanh), cache.linear)
    return dh


def masked_head_forward(p: BERT, h: Array) -> tuple[Array, MaskedHeadCache]:
    """logits = LayerNorm(GELU(h W + b)) Eᵀ + c; h (..., D) -> (..., V)."""
    z, c_linear = linear_forward(p.masked_head.transform, h)
    z, c_gelu = gelu_forward(z)
    z, c_norm = layer_norm_forward(p.masked_head.norm, z)
    logits, c_output = unembedding_forward(p.embedding.tokens, z)
    return logits + p.masked_head.bias, MaskedHeadCache(c_linear, c_gelu, c_norm, c_output)


def masked_head_backward(p: BERT, dp: BERT, dlogits: Array, cache: MaskedHeadCache) -> Array:
    """The forward read upwards; the token table receives the head's share here."""
    dp.masked_head.bias += dlogits.reshape(-1, dlogits.shape[-1]).sum(axis=0)
    dz = unembedding_backward(p.embedding.tokens, dp.embedding.tokens, dlogits, cache.output)
    dz = layer_norm_backward(p.masked_head.norm, dp.masked_head.norm, dz, cache.norm)
    dz = gelu_backward(dz, cache.gelu)
    return linear_backward(p.masked_head.transform, dp.masked_head.transform, dz, cache.linear)
