"""Taking turns: what is compared meets the same slow moments of the machine.

PyTorch has a process of its own, as where somebody uses it: numpylm tells the memory allocator of
its process to keep freed pages, and the time of PyTorch's steps depends on that setting, too.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from numpylm.parallel.allocator import keep_freed_pages


def has_pytorch() -> bool:
    """Is PyTorch installed? The benchmarks go without it."""
    return importlib.util.find_spec("torch") is not None


REST = 0.2  # seconds between two sides


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


class OwnProcess:
    """The function that ``make(*arguments)`` returns, in a new Python process.

    ``kept_pages`` gives that process numpylm's setting of the allocator. It ends with this one.
    """

    def __init__(
        self, make: Callable[..., Callable[[], object]], *arguments: Any, kept_pages: bool = False
    ) -> None:
        context = get_context("spawn")
        self.connection, other_end = context.Pipe()
        work = (other_end, kept_pages, make, arguments)
        context.Process(target=_serve, args=work, daemon=True).start()
        other_end.close()

    def seconds(self, calls: int) -> float:
        """The median time of a call, measured over there."""
        self.connection.send(calls)
        return self.connection.recv()


def _serve(connection: Any, kept_pages: bool, make: Any, arguments: tuple) -> None:
    if kept_pages:
        keep_freed_pages()
    f = make(*arguments)
    while True:
        try:
            calls = connection.recv()
        except EOFError:
            return
        connection.send(seconds(f, calls))


Side = Callable[[], object] | OwnProcess


def alternate(sides: dict[str, Side], turns: int, calls: int = 1) -> dict[str, list[float]]:
    """Seconds of each side in each turn; a turn before the first one warms up.

    Between two sides nothing runs for a moment, as threads of BLAS and OpenMP look for more work
    long after their last, and would slow down whoever comes next.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            time.sleep(REST)
            own = isinstance(side, OwnProcess)
            taken = side.seconds(calls) if own else seconds(side, calls)
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
        line = f"   {name.replace('_', ' '):<18} {ms:8.1f} ms, {rate:4.0f} GFLOP/s, "
        line += f"{rate / peak:4.0%} of that"
        if name != ours:
            line += f"; its time / that of {ours}: {written(figures[name])}"
        print(line, flush=True)
