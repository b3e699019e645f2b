"""§4.3 Positional encoding: attention sees a set; a position is added to each embedding.

Sinusoidal (Vaswani et al. 2017, §3.5), for position t and the pair of columns 2i, 2i + 1:

    PE[t, 2i]     = sin(t / 10000^(2i / D))
    PE[t, 2i + 1] = cos(t / 10000^(2i / D))

Both columns of a pair share one frequency: the exponent counts pairs (2i), not columns. An odd D
ends with a sine that has no cosine.

Learned (Gehring et al. 2017; GPT, BERT): a table of free parameters, a row for each position.

ALiBi (Press, Smith & Lewis 2022, arXiv:2108.12409, §3): nothing is added to the embedding. Head h
adds −m_h |i − j| to the score of query i and key j, m_h = 2^(−8h / H), h = 1 … H: the farther, the
less, some heads more and some less steeply. Small models on little text learn faster with it. The
slopes are made for pieces of words; ``scale`` times them is the same in another unit of distance,
as for characters, of which the near ones tell most.
A model that reads both ways could not tell left from right by |i − j|. There the heads come in
pairs of one slope, m_k = 2^(−8k / ⌈H/2⌉): one looks back (j ≤ i), the other ahead (j ≥ i).
Position 0, where [CLS] stands for the whole text, is at distance 0 of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike

from numpylm.parameters import Array


@dataclass
class LearnedPositions:
    weight: Array  # (context, D)


def sinusoidal_encoding(length: int, d_model: int, dtype: DTypeLike = np.float64) -> Array:
    """The table PE (length, d_model) of sines and cosines. Read-only: calls share it.

    Raises ``ValueError`` for sizes below 1.
    """
    if length < 1 or d_model < 1:
        raise ValueError(f"length {length} and d_model {d_model} must be at least 1")
    return _sinusoidal_table(length, d_model, np.dtype(dtype).str)


@lru_cache(maxsize=16)
def _sinusoidal_table(length: int, d_model: int, dtype: str) -> Array:
    t = np.arange(length, dtype=np.float64)[:, None]
    pair = np.arange(0, d_model, 2) / d_model  # 2i / D
    angle = t / 10000.0**pair  # (length, ⌈D / 2⌉)
    table = np.empty((length, d_model))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : d_model // 2])
    table = table.astype(dtype)
    table.flags.writeable = False
    return table


def sinusoidal_positions_forward(x: Array, *, first: int = 0) -> tuple[Array, None]:
    """y[..., t, :] = x[..., t, :] + PE[first + t]; x (..., T, D), of which ``first`` tokens came
    before."""
    length, d_model = x.shape[-2:]
    return x + sinusoidal_encoding(first + length, d_model, x.dtype)[first:], None


def sinusoidal_positions_backward(dy: Array, cache: int | None) -> Array:
    """A constant was added: dx = dy."""
    return dy


def learned_positions_init(
    rng: np.random.Generator, context: int, d_model: int, *, std: float = 0.02
) -> LearnedPositions:
    """Rows from N(0, std²); float32."""
    return LearnedPositions((std * rng.standard_normal((context, d_model))).astype(np.float32))


def learned_positions_forward(
    p: LearnedPositions, x: Array, *, first: int = 0
) -> tuple[Array, int]:
    """y[..., t, :] = x[..., t, :] + W[first + t]; x (..., T, D), of which ``first`` tokens came
    before; first + T ≤ context.

    Raises ``ValueError`` for a sequence longer than the table.
    """
    context, length = p.weight.shape[0], first + x.shape[-2]
    if length > context:
        raise ValueError(f"a sequence of {length} tokens exceeds the {context} learned positions")
    return x + p.weight[first:length], first


def learned_positions_backward(
    p: LearnedPositions, dp: LearnedPositions, dy: Array, cache: int
) -> Array:
    """dW[first + t] += Σ dy[..., t, :] over the batch; returns dx = dy."""
    first, (length, d_model) = cache, dy.shape[-2:]
    dp.weight[first : first + length] += dy.reshape(-1, length, d_model).sum(axis=0)
    return dy


def alibi_bias(
    n_heads: int,
    n_queries: int,
    n_keys: int,
    dtype: DTypeLike = np.float64,
    *,
    scale: float = 1.0,
    both_ways: bool = False,
) -> Array:
    """−scale · m_h |i − j|, (H, T, S), to be added to the scores. Read-only: calls share it.

    With more keys than queries the queries are the last T positions, as in ``causal_mask``.
    ``both_ways``, for a model without a causal mask: even heads look back and odd ones ahead, −∞
    elsewhere; the last of an odd number of heads looks to both sides. Position 0 sees all and is
    seen by all, with a bias of 0.
    """
    return _alibi_table(n_heads, n_queries, n_keys, np.dtype(dtype).str, scale, both_ways)


@lru_cache(maxsize=64)
def _alibi_table(
    n_heads: int, n_queries: int, n_keys: int, dtype: str, scale: float, both_ways: bool
) -> Array:
    query, key = np.arange(n_keys - n_queries, n_keys), np.arange(n_keys)
    ahead = key - query[:, None]  # (T, S)
    n_slopes = (n_heads + 1) // 2 if both_ways else n_heads
    slopes = scale * 2.0 ** (-8.0 * np.arange(1, n_slopes + 1) / n_slopes)
    if both_ways:
        slopes = slopes.repeat(2)[:n_heads]
    table = (-slopes[:, None, None] * np.abs(ahead)).astype(dtype)
    if both_ways:
        paired = n_heads // 2 * 2
        table[0:paired:2, ahead > 0] = -np.inf
        table[1:paired:2, ahead < 0] = -np.inf
        table[:, query == 0] = table[:, :, 0] = 0.0
    table.flags.writeable = False
    return table
