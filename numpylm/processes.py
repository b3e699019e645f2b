"""§5.3 Processes for the parts of a work: nothing to wait for but the other parts.

Of the threads of a process one at a time may run Python, and between the short operations of a
small model they wait for each other. Processes do not. What they have in common lies in memory that
all of them see (``shared_zeros``): in training parameters and gradients, so that only a batch goes
there and a loss comes back. A process begins as a copy of this one (fork), with everything that its
work needs at hand.

Only Linux copies a process safely while libraries such as BLAS have threads; elsewhere, and where
the parameters lie in memory of another kind, threads do the same work.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.parameters import Array, view

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

KILLED = "a process that shared the work was killed (is memory short?)"


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

    def check(self) -> None:
        """Raise what ended its work before anyone asked for an answer."""
        if self.connection.poll():
            raise self.answer()[0] or RuntimeError("a process has nothing more to do")

    def kill(self) -> None:
        """End it in the middle of its work; ``close`` comes next."""
        if os.getpid() == self.owner:  # not a copy of the owner, which has inherited this object
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

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
        _libc().malloc_trim(0)
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


def processor() -> int:
    """The processor that this thread runs on just now; −1 if that is not known. For Linux."""
    try:
        return _libc().sched_getcpu()
    except (OSError, AttributeError):
        return -1


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL("libc.so.6")


@contextmanager
def apart() -> Iterator[Callable[[int], None]]:
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


def keep_freed_pages() -> bool:
    """Ask glibc's malloc to keep freed memory instead of returning it to the system.

    A training step allocates the same activations again and again; returning the pages costs a
    page fault for each 4 KiB of them (about a third of a step). No effect and False elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = _libc().mallopt
    except (OSError, AttributeError):
        return False
    m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8
    settings = [(m_mmap_max, 0), (m_trim_threshold, -1), (m_top_pad, 64 << 20), (m_arena_max, 1)]
    return all([mallopt(option, value) == 1 for option, value in settings])
