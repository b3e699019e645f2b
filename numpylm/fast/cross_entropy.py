"""Cross-entropy for a large vocabulary: a few rows at a time, in the logits' memory.

With 33,278 words the logits of 350 tokens take 47 MB, more than any cache holds,
and ``cross_entropy_forward`` and its backward go through three such arrays several times. But the
gradient is softmax − target distribution, and the loss computes that softmax. So here the forward
writes the gradient over the logits on the way, in blocks that stay in the cache from the first
operation to the last, and the backward has only dloss left to multiply by.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from numpylm.layers.cross_entropy import (
    CROSS_ENTROPY,
    IGNORE,
    CrossEntropyCache,
    counted_targets,
    cross_entropy_backward,
    cross_entropy_forward,
)
from numpylm.parameters import Array

BLOCKED_FROM = 1 << 18  # logits; fewer stay in cache as they are
BLOCK = 1 << 17  # logits that are worked on at a time, 512 KiB in float32


def blocked_cross_entropy_forward(
    logits: Array,
    targets: Array,
    *,
    ignore_index: int = IGNORE,
    normalizer: float | None = None,
    overwrite: bool = False,
) -> tuple[Array, Array]:
    """Mean −log probability of the targets; logits (..., V), integer targets (...) -> scalar.

    ``overwrite`` uses up the logits, for a caller that made them and needs them no more; else a
    copy of them is. The rest is as in ``cross_entropy_forward``, also what is raised.
    """
    n, wanted = counted_targets(logits, targets, ignore_index, normalizer), targets.ravel()
    rows = (logits if overwrite else logits.copy()).reshape(-1, logits.shape[-1])
    log_likelihood = np.zeros(len(rows), rows.dtype)
    scale = rows.dtype.type(1.0 / n)
    height = max(1, BLOCK // rows.shape[-1])
    for start in range(0, len(rows), height):
        block, target = rows[start : start + height], wanted[start : start + height]
        predicted = np.flatnonzero(target != ignore_index)
        place = predicted, target[predicted]
        block -= block.max(axis=-1, keepdims=True)
        shifted = block[place]
        np.exp(block, out=block)
        total = block.sum(axis=-1, keepdims=True)
        log_likelihood[start + predicted] = shifted - np.log(total[predicted, 0])
        block *= scale / total  # softmax / n
        block[place] -= scale
        block[target == ignore_index] = 0.0
    loss = np.asarray(-log_likelihood.sum() / rows.dtype.type(n))
    return loss, rows.reshape(logits.shape)


def blocked_cross_entropy_backward(dloss: Array, cache: Array) -> Array:
    """dlogits = dloss · (softmax(logits) − target distribution) / n.

    If dloss is 1, as in training, this is the array that the forward made, and not a copy.
    """
    dlogits = cache
    return dlogits if dloss == 1.0 else dlogits * dlogits.dtype.type(dloss)


def fast_cross_entropy_forward(
    logits: Array,
    targets: Array,
    *,
    label_smoothing: float = 0.0,
    overwrite: bool = False,
    blocked_from: int = BLOCKED_FROM,
    **settings: Any,
) -> tuple[Array, Array | CrossEntropyCache]:
    """In blocks from ``blocked_from`` logits on; else, and if smoothed, the formula."""
    if label_smoothing or logits.size < blocked_from:
        settings["label_smoothing"] = label_smoothing
        return cross_entropy_forward(logits, targets, **settings)
    return blocked_cross_entropy_forward(logits, targets, overwrite=overwrite, **settings)


def fast_cross_entropy_backward(dloss: Array, cache: Array | CrossEntropyCache) -> Array:
    """The backward of the forward that was taken: only blocks leave an array."""
    if isinstance(cache, CrossEntropyCache):
        return cross_entropy_backward(dloss, cache)
    return blocked_cross_entropy_backward(dloss, cache)


# A model makes its logits for the loss alone.
CROSS_ENTROPY["fast"] = (
    partial(fast_cross_entropy_forward, overwrite=True),
    fast_cross_entropy_backward,
)
