"""Taking turns: what is compared meets the same slow moments of the machine."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def has_pytorch() -> bool:
    """Is PyTorch installed? The benchmarks go without it."""
    return importlib.util.find_spec("torch") is not None


def in_new_process(module: str, *arguments: str) -> Any:
    """What ``python -m module …`` prints as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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
        [a / b for a, b in zip(times[of], times[to], strict=True)], n=4, method="inclusive"
    )
    return {"ratio": middle, "low": low, "high": high}


def written(r: dict[str, float]) -> str:
    """A ratio as the commands print it."""
    return f"{r['ratio']:5.2f} (quartiles {r['low']:.2f} to {r['high']:.2f})"


def summary(times: dict[str, list[float]], ours: str, flops: float, peak: float) -> dict:
    """Median milliseconds and GFLOP/s of each side, the peak, and each one's time / our time."""
    figures: dict = {"ours": ours, "peak_gflops": peak}
    for name, taken in times.items():
        median = statistics.median(taken)
        figures |= {f"{name}_ms": 1e3 * median, f"{name}_gflops": flops / median / 1e9}
    return figures | {n: ratio(times, n, ours) for n in times if n != ours}


def report(case: str, figures: dict, as_json: bool) -> None:
    """Print a summary, our side first: as one line of JSON, or a line a side for people."""
    if as_json:
        print(json.dumps({"case": case} | figures), flush=True)
        return
    ours, peak = figures["ours"], figures["peak_gflops"]
    print(f"{case}: matrix products reach {peak:.0f} GFLOP/s here")
    for name in [ours, *(n for n, r in figures.items() if isinstance(r, dict))]:
        ms, rate = figures[f"{name}_ms"], figures[f"{name}_gflops"]
        line = f"   {name:<10} {ms:8.1f} ms, {rate:4.0f} GFLOP/s, {rate / peak:4.0%} of that"
        if name != ours:
            line += f"; its time / that of {ours}: {written(figures[name])}"
        print(line, flush=True)
