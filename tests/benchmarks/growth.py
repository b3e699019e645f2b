"""How the time and the memory of a training step grow with its sizes, measured and fitted.

python -m tests.benchmarks.growth                       a table of exponents
python -m tests.benchmarks.growth --markdown
python -m tests.benchmarks.growth --plot growth.png     the points, too
python -m tests.benchmarks.growth --json                the points, a line a size: chapter 5.3's

One size grows at a time: the parameters N (through the width D), the length T, the vocabulary V,
the batch B, the threads. The others stay as ``BASE`` says, or as beside the values in ``SWEEPS``.
Time is that of whole steps on random ids, in turns over all values of a size. Memory is the peak of
a new process beyond what it held before it made the model. An exponent is the slope between two
neighbours on log-log axes, log(y₂ / y₁) / log(x₂ / x₁): the first pair shows where overhead rules,
the last pair comes nearest to the law. Quartiles are those of the turns.

What theory predicts for large values:

    N         time 1: six FLOPs for each parameter and token, and the update of each parameter.
              Memory 1: parameters, moments, a gradient for each thread. Activations grow with D
              only, as √N.
    T         time between 1 and 2: matrices of the layers 1, attention 2. Memory 1, though up to 2
              while attention keeps its weights for the backward.
    V         time and memory to 1 once the output layer dominates.
    B         time 1; memory to 1 once activations outweigh the parameters.
    threads   time −1 if none waits; memory 0 and a little: one gradient more for each.

The FLOPs of the steps (numpylm.models.counting, attention counted in full) tell how near the
largest values are to that.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from numpylm.cost.memory import process_bytes
from numpylm.cost.step_time import TrainingStep, gemm_peak
from numpylm.models.counting import parameter_counts, training_flops
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.training.train_config import TrainConfig
from tests.benchmarks.turns import alternate, in_new_process, ratio
from tests.peak import PeakMemory

BASE = {"d_model": 128, "context": 64, "vocab_size": 256, "batch_size": 4, "threads": 2}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
SWEEPS: dict[str, tuple[str, list[int], dict[str, int]]] = {
    "N": ("d_model", [64, 128, 256, 512, 1024], {}),
    "T": ("context", [64, 128, 256, 512, 1024, 2048, 4096], {"batch_size": 2}),
    "V": ("vocab_size", [256, 1024, 4096, 16384, 65536], {}),
    "B": ("batch_size", [4, 8, 16, 32, 64], {}),
    "threads": ("threads", [n for n in (1, 2, 4) if n <= max(2, CORES)],
                {"d_model": 256, "batch_size": 16}),
}  # fmt: skip
THEORY = {  # of the time, of the memory
    "N": ("1", "1"), "T": ("1 to 2", "1 to 2, then 1"), "V": ("to 1", "to 1"), "B": ("1", "to 1"),
    "threads": ("−1", "0"),
}  # fmt: skip


def training_step(size: str, value: int) -> TrainingStep:
    """A step at one value of a size."""
    name, _, others = SWEEPS[size]
    sizes = BASE | others | {name: value}
    vocab_size, d_ff = sizes.pop("vocab_size"), 4 * sizes["d_model"]
    return TrainingStep(TrainConfig(d_ff=d_ff, **sizes), vocab_size)


def peak_mib(size: str, value: int) -> float:
    """MiB that a step takes at most, beyond what this process holds before it is made."""
    before = process_bytes()[0]
    step = training_step(size, value)
    with one_blas_thread(), PeakMemory() as peak, step.parallel:
        for _ in range(2):
            step()
    return peak.mib - before / 2**20


def measure(size: str, turns: int, calls: int) -> dict[str, Any]:
    """The points of one size (x, ms, mib, and what is counted beside them) and its exponents.

    products_ms: what the matrix products would take at the rate of large ones on those threads.
    """
    values = SWEEPS[size][1]
    steps = {str(value): training_step(size, value) for value in values}
    with one_blas_thread(), ExitStack() as stack:
        for step in steps.values():
            stack.enter_context(step.parallel)
        times = alternate(dict(steps), turns, calls)
        peaks = [gemm_peak(step.parallel) for step in steps.values()]
    parameters = [parameter_counts(step.model)["total"] for step in steps.values()]
    xs = parameters if size == "N" else values
    flops = [training_flops(s.model, s.config.batch_size, s.config.context) for s in steps.values()]
    mib = [in_new_process(__spec__.name, "--peak", size, str(value)) for value in values]
    return {
        "size": size,
        "x": xs,
        "ms": [1e3 * statistics.median(t) for t in times.values()],
        "products_ms": [f / p / 1e6 for f, p in zip(flops, peaks, strict=True)],
        "mib": mib,
        "time": exponents(xs, [ratio(times, b, a) for a, b in pairwise(times)]),
        "flops": exponents(xs, [{"ratio": b / a} for a, b in pairwise(flops)]),
        "memory": exponents(xs, [{"ratio": b / a} for a, b in pairwise(mib)]),
    }


def exponents(xs: list[int], ratios: list[dict[str, float]]) -> list[dict[str, float]]:
    """log(y₂ / y₁) / log(x₂ / x₁) of each pair of neighbours, from y₂ / y₁ (with its quartiles)."""
    return [
        {name: math.log(r) / math.log(b / a) for name, r in found.items()}
        for (a, b), found in zip(pairwise(xs), ratios, strict=True)
    ]


def stored(found: dict[str, Any]) -> dict[str, Any]:
    """The points in four digits, and the last exponent of the time with its quartiles."""
    last = found["time"][-1]
    lists = {name: found[name] for name in ("ms", "products_ms", "mib")}
    lists["exponent"] = [last[name] for name in ("ratio", "low", "high")]
    rounded = {name: [float(f"{y:.4g}") for y in ys] for name, ys in lists.items()}
    return {"size": found["size"], "x": found["x"]} | rounded


COLUMNS = (
    "grows", "from", "to", "ms", "exponent, first", "last (quartiles)", "theory", "FLOPs, last",
    "MiB", "exponent, first", "last", "theory",
)  # fmt: skip


def row(found: dict[str, Any]) -> list[str]:
    """What the table says of one size."""
    size, first, last = found["size"], found["time"][0], found["time"][-1]
    return [
        size, f"{found['x'][0]:,}", f"{found['x'][-1]:,}",
        f"{found['ms'][0]:.0f} to {found['ms'][-1]:.0f}", f"{first['ratio']:.2f}",
        f"{last['ratio']:.2f} ({last['low']:.2f} to {last['high']:.2f})",
        THEORY[size][0], f"{found['flops'][-1]['ratio']:.2f}",
        f"{found['mib'][0]:.0f} to {found['mib'][-1]:.0f}",
        *(f"{found['memory'][i]['ratio']:.2f}" for i in (0, -1)), THEORY[size][1],
    ]  # fmt: skip


def table(rows: list[list[str]], markdown: bool) -> str:
    """The rows under their columns, in columns of equal width or as Markdown."""
    rows = [list(COLUMNS), *rows]
    if markdown:
        rows.insert(1, ["---"] * len(COLUMNS))
        return "\n".join(f"| {' | '.join(r)} |" for r in rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows
    )


def draw(points: list[dict[str, Any]], path: str) -> None:
    """Time above, memory below, one column a size, log-log; written to a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullLocator

    from numpylm.plots.style import BLUE, VERMILION, use_house_style

    use_house_style()
    figure, axes = plt.subplots(2, len(points), figsize=(2 * len(points) + 1, 4.8),
                                sharex="col", sharey="row", squeeze=False)  # fmt: skip
    for (above, below), found in zip(axes.T, points, strict=True):
        x = found["x"]
        above.loglog(x, found["ms"], "o-", color=BLUE, label="a step, measured")
        above.loglog(x, found["products_ms"], ":", color="0.4", label="its products at the peak")
        below.loglog(x, found["mib"], "s-", color=VERMILION, label="memory, measured")
        for ax, name in ((above, "time"), (below, "memory")):
            ax.set_title(f"last exponent {found[name][-1]['ratio']:.2f}")
            ax.yaxis.set_major_formatter("{x:g}")
        below.xaxis.set_major_locator(FixedLocator([x[0], x[-1]]))
        below.xaxis.set_major_formatter(EngFormatter(places=0, sep=""))
        below.xaxis.set_minor_locator(NullLocator())
        below.set_xlabel(found["size"])
    axes[0, 0].set_ylabel("milliseconds")
    axes[1, 0].set_ylabel("MiB beyond the libraries")
    axes[1, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1, 0].yaxis.set_minor_locator(NullLocator())
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2, help="steps in a turn")
    parser.add_argument("--markdown", action="store_true", help="the table in Markdown")
    parser.add_argument("--plot", metavar="PNG", help="draw the points into this file")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("SIZE", "VALUE"), help="this process's memory")
    arguments = parser.parse_args()
    if arguments.peak:  # in the new process
        size, value = arguments.peak
        print(peak_mib(size, int(value)))
        return 0
    points = []
    for size in arguments.sizes:
        points.append(measure(size, arguments.turns, arguments.calls))
        if arguments.json:
            print(json.dumps(stored(points[-1])), flush=True)
    if not arguments.json:
        print(table([row(found) for found in points], arguments.markdown))
    if arguments.plot:
        draw(points, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
