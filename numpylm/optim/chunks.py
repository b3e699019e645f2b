"""Chunks of a vector. Updates are element by element, so a vector may be updated a chunk at a
time, in several processes, with the same bits.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from numpylm.parameters import Array

CHUNK = 1 << 16  # numbers that are worked on at a time: their vectors stay in cache


def chunks(size: int) -> list[slice]:
    """Slices that cover a vector."""
    return [slice(i, i + CHUNK) for i in range(0, size, CHUNK)]


def slices_of_equal_decay(decay: Array) -> list[tuple[slice, float]]:
    """Where λ is not 0, as in matrices: slices of one λ each."""
    ends = [0, *(np.flatnonzero(np.diff(decay)) + 1).tolist(), decay.size]
    return [(slice(i, j), float(decay[i])) for i, j in pairwise(ends) if decay[i]]
