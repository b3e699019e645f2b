"""Dropout: each number is zeroed with probability ``rate``, the others grow by 1 / (1 − rate).

The scaling keeps the expected value, so that nothing changes when dropout is off. Randomness is
an argument: without ``rng`` there is no dropout, and so there is no train/eval flag.

Source: Srivastava et al. 2014; in this "inverted" form, as everybody computes it today.
"""

from __future__ import annotations

import numpy as np

from numpylm.parameters import Array


def dropout_forward(
    x: Array, *, rate: float, rng: np.random.Generator | None
) -> tuple[Array, Array | None]:
    """y = x ⊙ keep, keep = Bernoulli(1 − rate) / (1 − rate); any shape.

    Returns x itself if ``rng`` is None or the rate 0. Raises ``ValueError`` unless 0 ≤ rate < 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout rate {rate} is not in [0, 1)")
    if rng is None or rate == 0.0:
        return x, None
    keep = (rng.random(x.shape, dtype=np.float32) >= rate).astype(x.dtype)
    keep *= 1.0 / (1.0 - rate)
    return x * keep, keep


def dropout_backward(dy: Array, cache: Array | None) -> Array:
    """dx = dy ⊙ keep: what was zeroed gets no gradient."""
    return dy if cache is None else dy * cache
