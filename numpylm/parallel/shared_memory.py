"""Memory that a process and its copies share, for parameters and gradients.

Elsewhere than on Linux it is ordinary memory, and ``is_shared`` says so.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.parameters import Array, view


def shared_zeros(size: int, dtype: DTypeLike) -> Array:
    """Zeros (size,) in memory that a copy of this process goes on to share, if it can be had."""
    kind = np.dtype(dtype)
    if sys.platform != "linux" or not size:
        return np.zeros(size, kind)
    from mmap import mmap

    return np.frombuffer(mmap(-1, size * kind.itemsize), kind)


def shared(theta: Array, p: Any) -> tuple[Array, Any]:
    """The same parameters, in memory from ``shared_zeros``."""
    copy = shared_zeros(theta.size, theta.dtype)
    copy[...] = theta
    return copy, view(p, copy)


def is_shared(theta: Array) -> bool:
    """Does the vector come from ``shared_zeros``, in memory of the kind that is shared?"""
    return type(getattr(theta.base, "obj", None)).__name__ == "mmap"
