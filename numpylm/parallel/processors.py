"""Which processor a thread runs on, and two processes on two of them. For Linux."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from numpylm.parallel.libc import libc


def processor() -> int:
    """The processor that this thread runs on just now; −1 if that is not known. For Linux."""
    try:
        return libc().sched_getcpu()
    except (OSError, AttributeError):
        return -1


@contextmanager
def separate_processors() -> Iterator[Callable[[int], None]]:
    """``f(pid)`` keeps another process off this one's processor, where this one stays meanwhile.

    Two processes that wait for each other all the time are hardly ever ready at once if they share
    a processor, so the system may see no reason to part them. For Linux.
    """
    allowed = os.sched_getaffinity(0)
    others = allowed

    def move_away(pid: int) -> None:
        with suppress(OSError):  # where it is not allowed to, the system decides
            os.sched_setaffinity(pid, others)

    try:
        with suppress(OSError):
            here = {processor()} & allowed or allowed
            os.sched_setaffinity(0, here)
            others = allowed - here or allowed
        yield move_away
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)
