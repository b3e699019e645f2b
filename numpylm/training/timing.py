"""How long a call takes, such as a step: measured again and again, after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(
    f: Callable[[], object],
    seconds: float,
    *,
    warm_up: int = 3,
    clock: Callable[[], Any] = time.perf_counter,
) -> list[Any]:
    """What the clock shows for each call; for at least ``seconds`` of the wall and five calls.

    ``clock`` may return an array, of several clocks.
    """
    for _ in range(warm_up):
        f()
    times: list[Any] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times) < 5:
        start = clock()
        f()
        times.append(clock() - start)
    return times
