"""What ends training early: a loss that is no number, or Ctrl-C.

The first Ctrl-C lets the step end and saves, the second stops at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TrainingDiverged(ValueError):
    """Loss, gradient or parameters are no longer finite; the text names the step."""


class TrainingInterrupted(Exception):
    """Ctrl-C; the run has been saved, and the text names its step."""


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that no step is cut in two; the second stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in (signal.SIG_IGN, None):  # a background job that is not to hear Ctrl-C
        yield stop
        return

    def request(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
