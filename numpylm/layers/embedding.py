"""Token embeddings, and the same table read backwards as the output layer.

    embedding     x_t = E[id_t]            (a row of the table for each token id)
    unembedding   logits = h Eᵀ            (the score of each row against the hidden vector)

Tied weights (Press & Wolf 2017, arXiv:1608.05859) use one table for both. Both backwards add
into the same ``dp.weight``, so tying needs no code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array


@dataclass
class Embedding:
    weight: Array  # (V, D)


def embedding_init(
    rng: np.random.Generator, vocab_size: int, d_model: int, *, std: float = 0.02
) -> Embedding:
    """Rows from N(0, std²); float32."""
    return Embedding((std * rng.standard_normal((vocab_size, d_model))).astype(np.float32))


def embedding_forward(p: Embedding, ids: Array) -> tuple[Array, Array]:
    """x[..., :] = E[ids]; integer ids (...) -> x (..., D).

    Raises ``ValueError`` for an id that is no integer or outside 0 … V − 1 (NumPy would wrap a
    negative one silently, and take booleans for a mask).
    """
    vocab_size = p.weight.shape[0]
    if ids.dtype.kind not in "iu":
        raise ValueError(f"token ids must be integers, not {ids.dtype}")
    unsigned = ids.view(f"{ids.dtype.byteorder}u{ids.itemsize}")  # in it a negative one is huge
    if ids.size and unsigned.max() >= vocab_size:
        raise ValueError(
            f"token ids span {ids.min()} to {ids.max()}, the vocabulary has {vocab_size} entries"
        )
    return p.weight.take(ids, axis=0), ids


def embedding_backward(p: Embedding, dp: Embedding, dy: Array, cache: Array) -> None:
    """dE[id] += Σ dy over all positions that hold this id. Ids have no gradient: returns None.

    A token that occurs twice receives both contributions: ``dE[ids] += dy`` would keep one of
    them. Sorting brings equal ids together, ``reduceat`` sums each run.
    """
    ids = cache.ravel()
    if ids.size == 0:
        return
    order = np.argsort(ids, kind="stable")
    present, starts = np.unique(ids[order], return_index=True)
    dp.weight[present] += np.add.reduceat(dy.reshape(ids.size, -1)[order], starts, axis=0)


def unembedding_forward(p: Embedding, h: Array) -> tuple[Array, Array]:
    """logits = h Eᵀ; h (..., D) -> logits (..., V)."""
    vocab_size, d_model = p.weight.shape
    logits = h.reshape(-1, d_model) @ p.weight.T
    return logits.reshape(*h.shape[:-1], vocab_size), h


def unembedding_backward(p: Embedding, dp: Embedding, dlogits: Array, cache: Array) -> Array:
    """dE += dlogitsᵀ h; returns dh = dlogits E."""
    h = cache
    rows_h, rows_dlogits = h.reshape(-1, h.shape[-1]), dlogits.reshape(-1, dlogits.shape[-1])
    dp.weight += rows_dlogits.T @ rows_h
    return (rows_dlogits @ p.weight).reshape(h.shape)
