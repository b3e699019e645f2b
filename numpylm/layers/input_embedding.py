"""From ids to vectors: token embedding, position, segment, then dropout.

    x_t = E[id_t] + P[t]                              GPT, encoder-decoder
    x_t = LayerNorm(E[id_t] + P[t] + G[segment_t])    BERT: segment 0 or 1, and a layer norm

ALiBi acts in the attention, so here it adds nothing. Sinusoidal positions are of size 1, so the
embeddings are scaled by √D to match (Vaswani et al. 2017, §3.4).
Source for segments: Devlin et al. 2019, arXiv:1810.04805, §3 and Figure 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.choices import POSITIONS
from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.embedding import (
    Embedding,
    embedding_backward,
    embedding_forward,
    embedding_init,
)
from numpylm.layers.layer_norm import (
    LayerNormCache,
    layer_norm_backward,
    layer_norm_forward,
    layer_norm_init,
)
from numpylm.parameters import Array


@dataclass
class InputEmbedding:
    tokens: Embedding  # (V, D)
    positions: Any  # of the encoding: (context, D) if learned, None if it has no parameters
    segments: Any  # Embedding (n_segments, D) of BERT, else None
    norm: Any  # LayerNorm of BERT, else None


class InputEmbeddingCache(NamedTuple):
    kind: str  # of the positions
    tokens: Array
    positions: Any
    segments: Array | None
    norm: LayerNormCache | None
    dropout: Array | None


def input_embedding_init(
    rng: np.random.Generator,
    vocab_size: int,
    context: int,
    d_model: int,
    *,
    positions: str,
    n_segments: int = 0,
    norm: bool = False,
) -> InputEmbedding:
    """Tables from N(0, 0.02²), float32."""
    init = POSITIONS[positions].init
    return InputEmbedding(
        embedding_init(rng, vocab_size, d_model),
        init(rng, context, d_model) if init else None,
        embedding_init(rng, n_segments, d_model) if n_segments else None,
        layer_norm_init(d_model) if norm else None,
    )


def input_embedding_forward(
    p: InputEmbedding,
    ids: Array,
    segments: Array | None = None,
    *,
    positions: str,
    first: int = 0,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, InputEmbeddingCache]:
    """Integer ids (B, T), and segments (B, T) or None for 0 throughout -> x (B, T, D).

    The ids stand at positions first, first + 1, …. Raises ``ValueError`` for ids or segments
    outside their tables, or a sequence longer than the learned positions.
    """
    x, c_tokens = embedding_forward(p.tokens, ids)
    c_segments = c_norm = None
    encoding = POSITIONS[positions]
    if encoding.scaled:
        x = x * math.sqrt(x.shape[-1])
    x, c_positions = encoding.add(p.positions, x, first=first)
    if p.segments is not None:
        which = np.zeros_like(ids) if segments is None else segments
        s, c_segments = embedding_forward(p.segments, which)
        x = x + s
    if p.norm is not None:
        x, c_norm = layer_norm_forward(p.norm, x)
    x, c_dropout = dropout_forward(x, rate=dropout, rng=rng)
    return x, InputEmbeddingCache(positions, c_tokens, c_positions, c_segments, c_norm, c_dropout)


def input_embedding_backward(
    p: InputEmbedding, dp: InputEmbedding, dy: Array, cache: InputEmbeddingCache
) -> None:
    """The forward read upwards. The sum hands the same gradient to each of its tables."""
    dx = dropout_backward(dy, cache.dropout)
    if cache.norm is not None:
        dx = layer_norm_backward(p.norm, dp.norm, dx, cache.norm)
    if cache.segments is not None:
        embedding_backward(p.segments, dp.segments, dx, cache.segments)
    encoding = POSITIONS[cache.kind]
    dx = encoding.add_backward(p.positions, dp.positions, dx, cache.positions)
    if encoding.scaled:
        dx = dx * math.sqrt(dx.shape[-1])
    embedding_backward(p.tokens, dp.tokens, dx, cache.tokens)
