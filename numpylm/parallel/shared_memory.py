"""Memory that a process and its copies share, for parameters and gradients.

Elsewhere than on Linux (``CAN_SHARE``) it is ordinary memory. Whoever works with several processes
is told that what it was given is shared.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.parameters import Array, view

CAN_SHARE = sys.platform == "linux"


def shared_zeros(size: int, dtype: DTypeLike) -> Array:
    """Zeros (size,) in memory that a copy of this process goes on to share, if it can be had."""
    kind = np.dtype(dtype)
    if not (CAN_SHARE and size):
        return np.zeros(size, kind)
    from mmap import mmap

    return np.frombuffer(mmap(-1, size * kind.itemsize), kind)


def shared(theta: Array, p: Any) -> tuple[Array, Any]:
    """The same parameters, in memory from ``shared_zeros``."""
    copy = shared_zeros(theta.size, theta.dtype)
    copy[...] = theta
    return copy, view(p, copy)
