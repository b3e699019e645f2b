"""Grouped-query attention: several heads of queries share one head of keys and values.

    Q = X W_Q  (H heads),   K = X W_K,  V = X W_V  (H_kv heads),   d_head columns each
    head_h = Attention(Q_h, K_g, V_g)           g = ⌊h / G⌋,  G = H / H_kv queries to a key
    Y = Concat(head_0, …, head_{H−1}) W_O

The keys and values that generation keeps are G times fewer. H_kv = H is multi-head attention,
H_kv = 1 multi-query attention. Queries and keys are turned by their positions (``rotary.py``), and
may be normalised before, each head by itself (Qwen 3). With a ``window`` a query sees the nearest
``window`` tokens only, itself included (Mistral).

Source: Ainslie et al. 2023, arXiv:2305.13245, §2.2; window: Beltagy et al. 2020, arXiv:2004.05150.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.attention import ATTENTION
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.layers.multi_head import KeysValues, merge_heads, split_heads
from numpylm.layers.rms_norm import (
    RMSNormCache,
    rms_norm_backward,
    rms_norm_forward,
    rms_norm_init,
)
from numpylm.layers.rotary import RotaryCache, rotary_backward, rotary_forward
from numpylm.parameters import Array


@dataclass
class GroupedQueryAttention:
    query: Linear  # (D, H · d_head)
    key: Linear  # (D, H_kv · d_head)
    value: Linear  # (D, H_kv · d_head)
    output: Linear  # (H · d_head, D), never a bias
    query_norm: Any  # RMSNorm (d_head,), or None
    key_norm: Any


class GroupedQueryCache(NamedTuple):
    x: Array  # what queries, keys and values were made of
    norms: tuple[RMSNormCache, RMSNormCache] | None  # of queries and of keys
    turn: RotaryCache  # queries and keys stand at the same positions
    attention: Any  # .weights (B, H, T, S)
    output: Array
    seen: KeysValues  # (B, H_kv, S, d_head): the ``past`` of the tokens that follow
    implementation: str  # which backward belongs to it


def grouped_query_init(
    rng: np.random.Generator,
    d_model: int,
    *,
    n_heads: int,
    n_kv_heads: int,
    d_head: int,
    std: float | None = None,
    output_scale: float = 1.0,
    bias: bool = False,
    norm: bool = False,
) -> GroupedQueryAttention:
    """Four ``linear_init``, ``bias`` for queries, keys and values; W_O times output_scale."""

    def matrix(heads: int) -> Linear:
        return linear_init(rng, d_model, heads * d_head, std=std, bias=bias)

    query, key, value = matrix(n_heads), matrix(n_kv_heads), matrix(n_kv_heads)
    output = linear_init(rng, n_heads * d_head, d_model, std=std, scale=output_scale, bias=False)
    norms = [rms_norm_init(d_head) if norm else None for _ in range(2)]
    return GroupedQueryAttention(query, key, value, output, *norms)


def grouped_query_forward(
    p: GroupedQueryAttention,
    x: Array,
    *,
    n_heads: int,
    n_kv_heads: int,
    mask: Array | None = None,
    window: int | None = None,
    past: KeysValues | None = None,
    eps: float = 1e-5,
    rotary: Mapping[str, Any] | None = None,
    implementation: str = "plain",
) -> tuple[Array, GroupedQueryCache]:
    """Causal self-attention of x (B, T, D) -> (B, T, D).

    mask (B, S) is False at padding. past: keys and values (B, H_kv, ·, d_head) in front of those of
    x, turned already; S counts both. eps is that of the norms of queries and keys, rotary holds
    settings of ``rotary_forward``. Raises ``ValueError`` if H_kv does not divide H.
    """
    if n_heads % n_kv_heads:
        raise ValueError(f"{n_heads} heads of queries cannot share {n_kv_heads} of keys equally")
    group, first = n_heads // n_kv_heads, 0 if past is None else past.keys.shape[2]
    q, c_x = linear_forward(p.query, x)
    k, _ = linear_forward(p.key, x)
    v, _ = linear_forward(p.value, x)
    q, k, v = split_heads(q, n_heads), split_heads(k, n_kv_heads), split_heads(v, n_kv_heads)
    c_norms = None
    if p.query_norm is not None:
        q, c_query_norm = rms_norm_forward(p.query_norm, q, eps=eps)
        k, c_key_norm = rms_norm_forward(p.key_norm, k, eps=eps)
        c_norms = c_query_norm, c_key_norm
    q, c_turn = rotary_forward(q, first=first, **(rotary or {}))
    k, _ = rotary_forward(k, first=first, **(rotary or {}))
    if past is not None:
        k = np.concatenate([past.keys, k], axis=2)
        v = np.concatenate([past.values, v], axis=2)
    seen = KeysValues(k, v)
    attention_forward, _ = ATTENTION[implementation]
    heads, c_attention = attention_forward(
        q, k.repeat(group, axis=1), v.repeat(group, axis=1),
        causal=True, mask=_visible(mask, window, q.shape[2], k.shape[2]),
    )  # fmt: skip
    y, c_output = linear_forward(p.output, merge_heads(heads))
    return y, GroupedQueryCache(c_x, c_norms, c_turn, c_attention, c_output, seen, implementation)


def grouped_query_backward(
    p: GroupedQueryAttention, dp: GroupedQueryAttention, dy: Array, cache: GroupedQueryCache
) -> Array:
    """The forward read upwards; returns dx.

    A head of keys was used by the G queries of its group, so its gradient is the sum of theirs.
    """
    _, attention_backward = ATTENTION[cache.implementation]
    n_heads, n_kv_heads = cache.attention.q.shape[1], cache.seen.keys.shape[1]
    dheads = split_heads(linear_backward(p.output, dp.output, dy, cache.output), n_heads)
    dq, dk, dv = attention_backward(dheads, cache.attention)
    dk, dv = sum_of_groups(dk, n_kv_heads), sum_of_groups(dv, n_kv_heads)
    dq, dk = rotary_backward(dq, cache.turn), rotary_backward(dk, cache.turn)
    if cache.norms is not None:
        c_query_norm, c_key_norm = cache.norms
        dq = rms_norm_backward(p.query_norm, dp.query_norm, dq, c_query_norm)
        dk = rms_norm_backward(p.key_norm, dp.key_norm, dk, c_key_norm)
    dx = linear_backward(p.value, dp.value, merge_heads(dv), cache.x)
    dx = dx + linear_backward(p.key, dp.key, merge_heads(dk), cache.x)
    return dx + linear_backward(p.query, dp.query, merge_heads(dq), cache.x)


def sum_of_groups(d: Array, n_kv_heads: int) -> Array:
    """(B, H, S, d_head) -> (B, H_kv, S, d_head): the backward of ``repeat``."""
    batch, n_heads, length, d_head = d.shape
    return d.reshape(batch, n_kv_heads, n_heads // n_kv_heads, length, d_head).sum(axis=2)


def _visible(mask: Array | None, window: int | None, n_queries: int, n_keys: int) -> Array | None:
    """Padding and window in one mask that broadcasts to (B, H, T, S); None if there is neither."""
    near = None
    if window is not None and window < n_keys:
        distance = np.arange(n_keys - n_queries, n_keys)[:, None] - np.arange(n_keys)
        near = distance < window
    if mask is None:
        return near
    return mask[:, None, None, :] if near is None else mask[:, None, None, :] & near
