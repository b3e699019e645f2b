"""§4.1 Scaled dot-product self-attention.

    S = Q Kᵀ / √d_k          score of each query i against each key j          (..., T, S)
    A = softmax(S)           row i: how much position i attends to each j      (..., T, S)
    Y = A V                  row i: the mean of the values, weighted by A_i    (..., T, d_v)

The scale keeps the variance of a score at 1 for unit-variance q and k; without it softmax
saturates and its gradient vanishes. A mask says which keys a query may see: hidden scores become
−∞ before the softmax, so that their weight and their gradient are exactly 0.

Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.1, Eq. 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.softmax import softmax_backward, softmax_forward
from numpylm.parameters import Array


class AttentionCache(NamedTuple):
    q: Array  # (..., T, d_k)
    k: Array  # (..., S, d_k)
    v: Array  # (..., S, d_v)
    weights: Array  # (..., T, S), A: the picture that one draws
    dropped: Array  # (..., T, S), A after dropout: what multiplied V
    keep: Array | None  # the dropout mask


@lru_cache(maxsize=64)
def causal_mask(n_queries: int, n_keys: int) -> Array:
    """(T, S) booleans, True where a query may look: at its own position and before.

    With more keys than queries the queries are the last T positions: j ≤ i + (S − T).
    """
    mask = np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool)
    mask.flags.writeable = False
    return mask


def attention_weights(
    q: Array,
    k: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    bias: Array | None = None,
) -> Array:
    """A = softmax(Q Kᵀ / √d_k + bias); q (..., T, d_k), k (..., S, d_k) -> (..., T, S).

    mask: booleans, True = may attend, that broadcast to (..., T, S) without widening it; it adds
    to ``causal``. Its last two axes are always (T, S): padding (B, S) must come as (B, 1, S). A
    query that may attend to nothing gets a row of zeros. bias: constants that broadcast to
    (..., T, S), such as ``alibi_bias``. Raises ``ValueError`` if widths differ or the mask does
    not fit.
    """
    require_fit(q, k, None, mask)
    scores = q @ k.swapaxes(-2, -1) / math.sqrt(q.shape[-1])  # np.sqrt(int) would promote float32
    if bias is not None:
        scores += bias
    if causal:
        scores = np.where(causal_mask(*scores.shape[-2:]), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights, _ = softmax_forward(scores)
    return weights


def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    bias: Array | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, AttentionCache]:
    """Y = Dropout(softmax(Q Kᵀ / √d_k + bias)) V.

    q (..., T, d_k), k (..., S, d_k), v (..., S, d_v) -> y (..., T, d_v). ``causal``, ``mask`` and
    ``bias`` as in ``attention_weights``; ``dropout`` acts on the weights, if there is an ``rng``.
    Raises ``ValueError`` if shapes do not fit.
    """
    require_fit(q, k, v, mask)
    weights = attention_weights(q, k, causal=causal, mask=mask, bias=bias)
    dropped, keep = dropout_forward(weights, rate=dropout, rng=rng)
    return dropped @ v, AttentionCache(q, k, v, weights, dropped, keep)


def attention_backward(dy: Array, cache: AttentionCache) -> tuple[Array, Array, Array]:
    """Returns dq, dk, dv.

    Derivation, from the last line of the forward to the first:

        Y = A V              dV = Aᵀ dY   (A after dropout)       dA = dY Vᵀ   (then dropout)
        A = softmax(S)       dS = A ⊙ (dA − Σ_j dA ⊙ A)           row by row
        S = Q Kᵀ / √d_k      dQ = dS K / √d_k                     dK = dSᵀ Q / √d_k

    Hidden positions have A = 0, hence dS = 0: the backward needs no mask.
    """
    q, k, v, weights, dropped, keep = cache
    dv = dropped.swapaxes(-2, -1) @ dy
    dweights = dropout_backward(dy @ v.swapaxes(-2, -1), keep)
    dscores = softmax_backward(dweights, weights) / math.sqrt(q.shape[-1])
    dq = dscores @ k
    dk = dscores.swapaxes(-2, -1) @ q
    return dq, dk, dv


def require_fit(q: Array, k: Array, v: Array | None, mask: Array | None) -> None:
    """Raises ``ValueError`` unless widths, numbers of keys and the mask's shape agree."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"queries have {q.shape[-1]} features, keys {k.shape[-1]}")
    if v is not None and k.shape[-2] != v.shape[-2]:
        raise ValueError(f"there are {k.shape[-2]} keys but {v.shape[-2]} values")
    if mask is None:
        return
    if mask.dtype != bool:
        raise ValueError(f"the mask holds {mask.dtype}; it must be boolean, True = may attend")
    shape = (*q.shape[:-1], k.shape[-2])
    sizes = zip(mask.shape[::-1], shape[::-1], strict=False)
    if mask.ndim > len(shape) or any(m not in (1, s) for m, s in sizes):
        raise ValueError(f"a mask of shape {mask.shape} does not fit scores {shape}")


# Beside the formula stands its quicker twin, if ``numpylm.fast`` is imported.
ATTENTION: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "plain": (attention_forward, attention_backward),
}
