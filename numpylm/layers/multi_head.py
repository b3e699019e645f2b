"""§4.2 Multi-head attention: n_heads small attentions side by side instead of one large one.

    Q = X W_Q,  K = M W_K,  V = M W_V         (B, T, D) each; M = X for self-attention
    head_h = Attention(Q_h, K_h, V_h)         on columns h·d_head … (h+1)·d_head, d_head = D / H
    Y = Concat(head_0, …, head_{H−1}) W_O

Cross-attention is the same with keys and values from another sequence M, the encoder's memory.

With ``past``, keys and values of tokens that were read before stand in front of the new ones: then
the new tokens alone are queries, and each is read once.

Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.2–3.2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.attention import ATTENTION
from numpylm.layers.choices import POSITIONS
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.parameters import Array


@dataclass
class MultiHeadAttention:
    query: Linear  # (D, D), W_Q: the H matrices of the heads side by side
    key: Linear  # (D, D), W_K
    value: Linear  # (D, D), W_V
    output: Linear  # (D, D), W_O


class KeysValues(NamedTuple):
    keys: Array  # (B, H, S, d_head)
    values: Array  # (B, H, S, d_head)


class MultiHeadCache(NamedTuple):
    """What the backward needs, and ``seen`` for the tokens that follow."""

    query: Array
    key: Array
    value: Array
    encoding: object  # what the position encoding keeps
    attention: Any  # .weights (B, H, T, S), .k and .v (B, H, S, d_head)
    output: Array
    cross: bool
    positions: str  # which backwards belong to it
    implementation: str

    @property
    def seen(self) -> KeysValues:
        """Keys and values of all tokens so far: the ``past`` of the next."""
        return KeysValues(self.attention.k, self.attention.v)


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
    positions: str = "none",
    past: KeysValues | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    implementation: str = "plain",
    **settings: Any,
) -> tuple[Array, MultiHeadCache]:
    """Self-attention of x, or cross-attention of x to memory; (B, T, D) -> (B, T, D).

    memory: (B, S, D), or None for self-attention. mask: booleans, True = may attend; two axes
    always mean (B, S) and hide keys (padding), three mean (B, T, S) and hide pairs; it adds to
    ``causal``. positions: an entry of ``POSITIONS``, whose own ``settings`` follow. past: keys and
    values in front of those of x (or memory), S counts both; generation has it, no backward
    follows. implementation: "plain", or "fast" with ``numpylm.fast``. Raises ``ValueError`` if D is
    not divisible by n_heads or the mask does not fit.
    """
    source = x if memory is None else memory
    q, c_query = linear_forward(p.query, x)
    k, c_key = linear_forward(p.key, source)
    v, c_value = linear_forward(p.value, source)
    q, k, v = split_heads(q, n_heads), split_heads(k, n_heads), split_heads(v, n_heads)
    first = 0 if past is None else past.keys.shape[2]
    attend = POSITIONS[positions].attend
    q, k, bias, c_encoding = attend(q, k, first=first, causal=causal, **settings)
    if past is not None:
        k = np.concatenate([past.keys, k], axis=2)
        v = np.concatenate([past.values, v], axis=2)
    if mask is not None:
        mask = _mask_per_head(mask, x.shape[0], x.shape[1], k.shape[2])
    attention_forward, _ = ATTENTION[implementation]
    heads, c_attention = attention_forward(
        q, k, v, causal=causal, mask=mask, bias=bias, dropout=dropout, rng=rng
    )
    y, c_output = linear_forward(p.output, merge_heads(heads))
    cross = memory is not None
    cache = MultiHeadCache(
        c_query, c_key, c_value, c_encoding, c_attention, c_output, cross, positions, implementation
    )
    return y, cache


def multi_head_backward(
    p: MultiHeadAttention, dp: MultiHeadAttention, dy: Array, cache: MultiHeadCache
) -> Any:
    """The forward read upwards; returns dx, or (dx, dmemory) for cross-attention.

    In self-attention x is used three times, so its gradient is the sum of three.
    """
    _, attention_backward = ATTENTION[cache.implementation]
    n_heads = cache.attention.q.shape[1]
    dheads = split_heads(linear_backward(p.output, dp.output, dy, cache.output), n_heads)
    dq, dk, dv = attention_backward(dheads, cache.attention)
    dq, dk = POSITIONS[cache.positions].attend_backward(dq, dk, cache.encoding)
    dq, dk, dv = merge_heads(dq), merge_heads(dk), merge_heads(dv)
    dmemory = linear_backward(p.value, dp.value, dv, cache.value)
    dmemory = dmemory + linear_backward(p.key, dp.key, dk, cache.key)
    dx = linear_backward(p.query, dp.query, dq, cache.query)
    return (dx, dmemory) if cache.cross else dx + dmemory


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


def _mask_per_head(mask: Array, batch: int, n_queries: int, n_keys: int) -> Array:
    if mask.shape == (batch, n_keys):
        return mask[:, None, None, :]
    if mask.shape == (batch, n_queries, n_keys):
        return mask[:, None]
    raise ValueError(
        f"a mask of shape {mask.shape} is neither (B, S) = {(batch, n_keys)} "
        f"nor (B, T, S) = {(batch, n_queries, n_keys)}"
    )
