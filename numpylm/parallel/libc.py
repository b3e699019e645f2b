"""The C library of Linux, which knows of memory what Python does not tell."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def libc() -> ctypes.CDLL:
    """glibc. Raises ``OSError`` where there is none."""
    return ctypes.CDLL("libc.so.6")
