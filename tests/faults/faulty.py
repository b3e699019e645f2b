"""A file system that goes wrong at the n-th call: it is full, or the power fails."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numpylm import files


class Faulty:
    """Stands for ``os`` in ``numpylm.files``, and for its ``open``."""

    def __init__(self, at: int, fault: Callable[[], None]) -> None:
        self.at, self.fault, self.calls = at, fault, 0

    def call(self) -> None:
        """One call that may go wrong."""
        self.calls += 1
        if self.calls == self.at:
            self.fault()

    def __getattr__(self, name: str) -> Any:
        if name not in ("fsync", "replace", "open"):
            return getattr(os, name)

        def call(*arguments: Any) -> Any:
            self.call()
            return getattr(os, name)(*arguments)

        return call

    def open_file(self, *arguments: Any) -> Any:
        """A file whose ``write`` goes wrong with half of the data written."""
        self.call()
        file = builtins.open(*arguments)
        faulty = self

        class Half:
            def __enter__(self) -> Half:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: len(data) // 2])
                file.flush()
                faulty.call()
                file.write(data[len(data) // 2 :])

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Half()


@contextmanager
def faults(at: int, fault: Callable[[], None]) -> Iterator[Faulty]:
    """Let the ``at``-th call (from 1) of ``numpylm.files`` to the system go wrong."""
    faulty = Faulty(at, fault)
    files.os, files.open = faulty, faulty.open_file  # type: ignore[attr-defined]
    try:
        yield faulty
    finally:
        files.os = os  # type: ignore[attr-defined]
        del files.open  # type: ignore[attr-defined]


def full() -> None:
    """What a full disk answers."""
    raise OSError(errno.ENOSPC, "No space left on device")


def die() -> None:
    """Like ``kill -9``: nothing is cleaned up."""
    os._exit(137)
