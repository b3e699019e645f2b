"""§4.2 Multi-head attention: n_heads small attentions side by side instead of one large one.

    Q = X W_Q,  K = M W_K,  V = M W_V         (B, T, D) each; M = X for self-attention
    head_h = Attention(Q_h, K_h, V_h)         on columns h·d_head … (h+1)·d_head, d_head = D / H
    Y = Concat(head_0, …, head_{H−1}) W_O

Cross-attention is the same with keys and values from another sequence M, the encoder's memory.

Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.2–3.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.attention import AttentionCache, attention_backward, attention_forward
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.layers.tiled_attention import (
    TiledAttentionCache,
    tiled_attention_backward,
    tiled_attention_forward,
)
from numpylm.parameters import Array

TILED_FROM = 96  # keys; with fewer, tiles gain next to nothing over the formula as it stands


@dataclass
class MultiHeadAttention:
    query: Linear  # (D, D), W_Q: the H matrices of the heads side by side
    key: Linear  # (D, D), W_K
    value: Linear  # (D, D), W_V
    output: Linear  # (D, D), W_O


class MultiHeadCache(NamedTuple):
    query: Array
    key: Array
    value: Array
    attention: AttentionCache | TiledAttentionCache  # .weights (B, H, T, S)
    output: Array
    cross: bool


def multi_head_init(
    rng: np.random.Generator,
    d_model: int,
    *,
    std: float | None = None,
    output_scale: float = 1.0,
    bias: bool = True,
) -> MultiHeadAttention:
    """Four ``linear_init``; W_O, which writes to the residual stream, times output_scale."""
    matrix = partial(linear_init, rng, d_model, d_model, std=std, bias=bias)
    return MultiHeadAttention(matrix(), matrix(), matrix(), matrix(scale=output_scale))


def multi_head_forward(
    p: MultiHeadAttention,
    x: Array,
    memory: Array | None = None,
    *,
    n_heads: int,
    causal: bool = False,
    mask: Array | None = None,
    bias: Array | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    tiled_from: int = TILED_FROM,
) -> tuple[Array, MultiHeadCache]:
    """Self-attention of x, or cross-attention of x to memory; (B, T, D) -> (B, T, D).

    memory: (B, S, D), or None for self-attention. mask: booleans, True = may attend; two axes
    always mean (B, S) and hide keys (padding), three mean (B, T, S) and hide pairs; it adds to
    ``causal``. bias: (H, T, S), added to the scores. tiled_from: keys from which the attention is
    computed in tiles, unless its weights are dropped out. Raises ``ValueError`` if D is not
    divisible by n_heads or the mask does not fit.
    """
    q, c_query = linear_forward(p.query, x)
    source = x if memory is None else memory
    k, c_key = linear_forward(p.key, source)
    v, c_value = linear_forward(p.value, source)
    attend: Callable[..., Any] = tiled_attention_forward
    if source.shape[1] < tiled_from or (dropout and rng is not None):
        attend = partial(attention_forward, dropout=dropout, rng=rng)
    heads, c_attention = attend(
        split_heads(q, n_heads),
        split_heads(k, n_heads),
        split_heads(v, n_heads),
        causal=causal,
        mask=None if mask is None else _mask_per_head(mask, x, source),
        bias=bias,
    )
    y, c_output = linear_forward(p.output, merge_heads(heads))
    cross = memory is not None
    return y, MultiHeadCache(c_query, c_key, c_value, c_attention, c_output, cross)


def multi_head_backward(
    p: MultiHeadAttention, dp: MultiHeadAttention, dy: Array, cache: MultiHeadCache
) -> Any:
    """The forward read upwards; returns dx, or (dx, dmemory) for cross-attention.

    In self-attention x is used three times, so its gradient is the sum of three.
    """
    n_heads = cache.attention.q.shape[1]
    dheads = split_heads(linear_backward(p.output, dp.output, dy, cache.output), n_heads)
    if isinstance(cache.attention, TiledAttentionCache):
        gradients = tiled_attention_backward(dheads, cache.attention)
    else:
        gradients = attention_backward(dheads, cache.attention)
    dq, dk, dv = map(merge_heads, gradients)
    dmemory = linear_backward(p.key, dp.key, dk, cache.key)
    dmemory += linear_backward(p.value, dp.value, dv, cache.value)
    dx = linear_backward(p.query, dp.query, dq, cache.query)
    if cache.cross:
        return dx, dmemory
    dx += dmemory
    return dx


def split_heads(x: Array, n_heads: int) -> Array:
    """(B, T, D) -> (B, H, T, D / H), a view. Raises ``ValueError`` if H does not divide D."""
    batch, length, d_model = x.shape
    if n_heads < 1 or d_model % n_heads:
        raise ValueError(f"d_model {d_model} is not divisible by n_heads {n_heads}")
    return x.reshape(batch, length, n_heads, d_model // n_heads).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """(B, H, T, d_head) -> (B, T, H · d_head)."""
    batch, n_heads, length, d_head = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, n_heads * d_head)


def _mask_per_head(mask: Array, x: Array, source: Array) -> Array:
    batch, n_queries, n_keys = x.shape[0], x.shape[1], source.shape[1]
    if mask.shape == (batch, n_keys):
        return mask[:, None, None, :]
    if mask.shape == (batch, n_queries, n_keys):
        return mask[:, None]
    raise ValueError(
        f"a mask of shape {mask.shape} is neither (B, S) = {(batch, n_keys)} "
        f"nor (B, T, S) = {(batch, n_queries, n_keys)}"
    )
