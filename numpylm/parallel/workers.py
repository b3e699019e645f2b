"""Processes for the parts of a work: nothing to wait for but the other parts.

Of the threads of a process one at a time may run Python, and between the short operations of a
small model they wait for each other. Processes do not. What they have in common lies in memory that
all of them see (``shared_memory.py``): in training parameters and gradients, so that only a batch
goes there and a loss comes back. A process begins as a copy of this one (fork), with everything
that its work needs at hand.

Only Linux copies a process safely while libraries such as BLAS have threads; elsewhere, and where
the parameters lie in memory of another kind, threads do the same work.
"""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from numpylm.parallel.libc import libc

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

KILLED = "a process that shared the work was killed (is memory short?)"


class Process:
    """Another process that calls ``work`` for each ``start``, until it is closed or this one ends.

    Raises ``ValueError`` if none can be had.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        from multiprocessing.connection import Pipe  # it is not there in a browser

        self.seconds = 0.0  # of a processor, that it has taken so far
        self.owner = os.getpid()
        with warnings.catch_warnings():  # of Python 3.12: locks that another thread holds; we
            warnings.simplefilter("ignore", DeprecationWarning)  # take none but the allocator's
            try:
                self.connection, other_end = Pipe()
                self.pid = os.fork()
                if self.pid == 0:
                    self.connection.close()
                    _serve(work, other_end)
            except OSError as error:
                raise ValueError(f"no process can be started: {error}; use --threads 1") from None
            finally:  # the other process goes nowhere else, even if it is interrupted here
                if os.getpid() != self.owner:
                    os._exit(0)
        other_end.close()

    def start(self, *arguments: Any) -> None:
        """Begin ``work(*arguments)``, under this thread's ``numpy.errstate``."""
        try:
            self.connection.send((np.geterr(), arguments))
        except OSError:
            raise ValueError(KILLED) from None

    def answer(self) -> tuple[Exception | None, Any]:
        """The exception that ``work`` raised, and what it returned. Once after each start."""
        try:
            error, value, self.seconds = self.connection.recv()
        except (EOFError, OSError):
            return ValueError(KILLED), None
        return error, value

    def close(self) -> None:
        """Let it end after its work; without this it ends with this process."""
        if os.getpid() == self.owner:
            self.connection.close()
            with suppress(ChildProcessError):  # someone else has asked how it ended
                os.waitpid(self.pid, 0)


def _serve(work: Callable[..., Any], connection: Connection) -> None:
    """The other process: answer until nobody is there to ask."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process decides when to stop
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # what the first process has left to the garbage collector is not ours
    own = connection.fileno()  # nor are its files, locks and connections
    os.closerange(3, own)
    os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
    with suppress(OSError, AttributeError):  # glibc: nor is the memory that it has freed and keeps
        libc().malloc_trim(0)
    while True:
        try:
            errors, arguments = connection.recv()
        except (EOFError, OSError):
            return
        failed = value = None
        try:
            with np.errstate(**errors):
                value = work(*arguments)
        except Exception as error:
            failed = error
        try:
            connection.send((failed, value, time.process_time()))
        except OSError:
            return
