"""BLAS at one thread, for as long as anyone in this process wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread in this process: the processes are the parallelism.

    Several may hold it at the same time; the last one gives back what was there before the first.
    """
    try:
        blas = _blas().lib_controllers
    except ImportError:  # where there are no threads, as in a browser
        yield
        return
    with _HELD.lock:
        if not _HELD.times:
            _HELD.threads = [library.get_num_threads() for library in blas]
        _HELD.times += 1
    try:
        for library in blas:
            library.set_num_threads(1)
        yield
    finally:
        with _HELD.lock:
            _HELD.times -= 1
            if not _HELD.times:
                for library, threads in zip(blas, _HELD.threads, strict=True):
                    library.set_num_threads(threads)


class _Held:
    """How many hold BLAS, and what they owe it."""

    def __init__(self) -> None:
        self.lock, self.times = threading.Lock(), 0
        self.threads: list[int] = []


_HELD = _Held()


@cache
def _blas() -> Any:
    """The BLAS libraries in use: to look for them takes longer than to generate a token."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
