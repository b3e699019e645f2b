"""Attention in tiles of a few queries: less memory, and less time.

Plain attention writes all T · S scores to memory and keeps them for the backward: with 4 heads and
T = S = 8192 each such array takes 1 GiB. Here ``rows`` queries at a time meet the keys that they
may see. Under a causal mask these are the keys up to the last of the queries, so that nearly half
of the work falls away, and a tile's scores are few enough to stay in cache.

The keys come first in a tile, (S, rows): maxima over them then run over whole rows of memory, many
queries at a time, and their sums are a product with a vector of ones.

The weights of all tiles are kept for the backward while there are few (half of what the plain form
keeps); beyond, the backward computes each tile again, and memory grows with T instead of T².

Source: Rabe & Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135 (FlashAttention),
§3.1 and Appendix B.2, which tile the keys as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.attention import (
    ATTENTION,
    AttentionCache,
    attention_backward,
    attention_forward,
    attention_weights,
    causal_mask,
    require_fit,
)
from numpylm.parameters import Array

TILED_FROM = 48  # keys; with fewer, tiles gain next to nothing over the formula


class TiledAttentionCache(NamedTuple):
    """What the backward needs."""

    q: Array  # (..., T, d_k), times 1 / √d_k
    k: Array  # (..., S, d_k)
    v: Array  # (..., S, d_v)
    y: Array  # (..., T, d_v)
    causal: bool
    mask: Array | None
    bias: Array | None
    rows: int
    tiles: list[Array] | None  # Aᵀ of each tile, (..., keys, rows), if they are kept

    @property
    def weights(self) -> Array:
        """A (..., T, S), computed anew: the picture that one draws."""
        q = self.q * math.sqrt(self.q.shape[-1])
        return attention_weights(q, self.k, causal=self.causal, mask=self.mask, bias=self.bias)


def tiled_attention_forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    bias: Array | None = None,
    rows: int = 64,
    keep: int = 1024,
) -> tuple[Array, TiledAttentionCache]:
    """Y = softmax(Q Kᵀ / √d_k + bias) V, as ``attention_forward`` gives it without dropout.

    q (..., T, d_k), k (..., S, d_k), v (..., S, d_v) -> y (..., T, d_v). ``rows`` is the number of
    queries of a tile; up to ``keep`` keys the weights are kept for the backward. Raises
    ``ValueError`` if shapes do not fit or ``rows`` is not positive.
    """
    require_fit(q, k, v, mask)
    if rows < 1:
        raise ValueError(f"a tile has {rows} rows; it needs at least one")
    q = q * (1.0 / math.sqrt(q.shape[-1]))  # d_k numbers a query, where there are S scores
    y = np.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))  # laid out as q
    tiles: list[Array] | None = [] if k.shape[-2] <= keep else None
    cache = TiledAttentionCache(q, k, v, y, causal, mask, bias, rows, tiles)
    for tile, seen in _tiles(cache):
        a = _tile_weights(cache, tile, seen)
        y[..., tile, :] = a.swapaxes(-2, -1) @ v[..., seen, :]
        if tiles is not None:
            tiles.append(a)
    return y, cache


def tiled_attention_backward(dy: Array, cache: TiledAttentionCache) -> tuple[Array, Array, Array]:
    """Returns dq, dk, dv.

    The derivation is that of ``attention_backward``, tile by tile; only the sum over the keys in
    its third line is had without the weights, once for all:

        Σ_j A_ij dA_ij = Σ_j A_ij Σ_d dY_id V_jd = Σ_d dY_id Y_id
    """
    q, k, v, y = cache[:4]
    dq, dk, dv = np.empty_like(q), None, None
    total = np.einsum("...td,...td->...t", dy, y)[..., None, :]
    for i, (tile, seen) in reversed(list(enumerate(_tiles(cache)))):  # the last one sees all keys
        a = _tile_weights(cache, tile, seen) if cache.tiles is None else cache.tiles[i]
        dv = _added(dv, a @ dy[..., tile, :])
        dscores = v[..., seen, :] @ dy[..., tile, :].swapaxes(-2, -1)
        dscores -= total[..., tile]
        dscores *= a
        dq[..., tile, :] = dscores.swapaxes(-2, -1) @ k[..., seen, :]
        dk = _added(dk, dscores @ q[..., tile, :])
    dq *= 1.0 / math.sqrt(q.shape[-1])
    return dq, dk, dv


def _added(whole: Array | None, first: Array) -> Array:
    """whole + first, which has the first rows of whole, or all if there is no whole yet."""
    if whole is None:
        return first
    whole[..., : first.shape[-2], :] += first
    return whole


def _tiles(cache: TiledAttentionCache) -> Iterator[tuple[slice, slice]]:
    """The queries of each tile, and the keys that the last of them may see."""
    n_queries, n_keys = cache.q.shape[-2], cache.k.shape[-2]
    for start in range(0, n_queries, cache.rows):
        stop = min(start + cache.rows, n_queries)
        seen = max(0, n_keys - n_queries + stop) if cache.causal else n_keys
        yield slice(start, stop), slice(0, seen)


def _tile_weights(cache: TiledAttentionCache, tile: slice, seen: slice) -> Array:
    """Aᵀ of a tile, (..., keys, rows): the softmax runs along the keys."""
    q, k, _, _, causal, mask, bias, *_ = cache
    shape = (*q.shape[:-1], k.shape[-2])
    a = k[..., seen, :] @ q[..., tile, :].swapaxes(-2, -1)
    if bias is not None:
        a += np.broadcast_to(bias, shape)[..., tile, seen].swapaxes(-2, -1)
    if causal:
        last = a[..., -a.shape[-1] :, :]  # of the other keys every query of the tile sees each
        last += _hidden(last.shape[-2], a.shape[-1], a.dtype)
    if mask is not None:
        visible = np.broadcast_to(mask, shape)[..., tile, seen].swapaxes(-2, -1)
        np.copyto(a, -np.inf, where=~visible)
    peak = a.max(axis=-2, keepdims=True, initial=-np.inf)
    a -= np.maximum(peak, np.finfo(a.dtype).min)  # −∞ − (−∞) would be NaN
    np.exp(a, out=a)
    total = np.ones(a.shape[-2], a.dtype) @ a
    a *= (1.0 / np.maximum(total, 1.0))[..., None, :]  # exp(0) is in each sum, if anything is seen
    return a


@lru_cache(maxsize=64)
def _hidden(n_keys: int, n_queries: int, dtype: np.dtype) -> Array:
    """What is added to the scores of a tile's last keys, (S, T): −∞ where a query may not look."""
    hidden = np.where(causal_mask(n_queries, n_keys).T, 0.0, -np.inf).astype(dtype)
    hidden.flags.writeable = False
    return hidden


def fast_attention_forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    **settings: Any,
) -> tuple[Array, TiledAttentionCache | AttentionCache]:
    """In tiles if there are many keys and no weight is dropped out; else the formula."""
    if k.shape[-2] < TILED_FROM or (dropout and rng is not None):
        return attention_forward(q, k, v, dropout=dropout, rng=rng, **settings)
    return tiled_attention_forward(q, k, v, **settings)


def fast_attention_backward(
    dy: Array, cache: TiledAttentionCache | AttentionCache
) -> tuple[Array, Array, Array]:
    """The backward of the forward that was taken."""
    plain = isinstance(cache, AttentionCache)
    backward: Any = attention_backward if plain else tiled_attention_backward
    dq, dk, dv = backward(dy, cache)
    return dq, dk, dv


ATTENTION["fast"] = fast_attention_forward, fast_attention_backward
