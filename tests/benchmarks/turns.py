"""Taking turns: what is compared meets the same slow moments of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(f: Callable[[], object], calls: int = 1) -> float:
    """The median time of a call."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def alternate(
    sides: dict[str, Callable[[], object]], turns: int, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds of each side in each turn; a turn before the first one warms up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            taken = seconds(side, calls)
            if turn:
                times[name].append(taken)
    return times


def ratio(times: dict[str, list[float]], of: str, to: str) -> dict[str, float]:
    """Time of one side / time of another: the median of all turns, and the quartiles."""
    low, middle, high = statistics.quantiles(
        [a / b for a, b in zip(times[of], times[to], strict=True)], n=4
    )
    return {"ratio": middle, "low": low, "high": high}


def written(r: dict[str, float]) -> str:
    """A ratio as the commands print it."""
    return f"{r['ratio']:5.2f} (quartiles {r['low']:.2f} to {r['high']:.2f})"
