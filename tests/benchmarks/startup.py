"""How long a process takes that imports numpylm, NumPy or PyTorch, measured alternately.

python -m tests.benchmarks.startup
python -m tests.benchmarks.startup --json

Whole processes, from their start to their end; the ratio of each turn to that of ``import numpy``
shows the spread. ``load`` also makes ready to open a trained model. Without PyTorch its line is
left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "numpy": "import numpy",
    "numpylm": "import numpylm",
    "load": "from numpylm import load",
    "torch": "import torch",
}


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def compare(turns: int) -> dict[str, float]:
    """Medians in milliseconds, and the quartiles of each turn's ratio to NumPy."""
    names = [n for n in STATEMENTS if n != "torch" or importlib.util.find_spec("torch")]
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns + 1):  # the first turn fills the file cache
        for name in names:
            taken = seconds(STATEMENTS[name])
            if turn:
                times[name].append(taken)
    figures = {f"{name}_ms": 1e3 * statistics.median(times[name]) for name in names}
    for name in names[1:]:
        ratios = [a / b for a, b in zip(times[name], times["numpy"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures |= {f"{name}_ratio": middle, f"{name}_low": low, f"{name}_high": high}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = compare(arguments.turns)
    if arguments.json:
        print(json.dumps(figures))
        return 0
    for name, statement in STATEMENTS.items():
        if f"{name}_ms" not in figures:
            continue
        line = f"{statement:<26} {figures[f'{name}_ms']:7.0f} ms"
        if name != "numpy":
            line += (
                f"   {figures[f'{name}_ratio']:.2f} × NumPy's "
                f"(quartiles {figures[f'{name}_low']:.2f} to {figures[f'{name}_high']:.2f})"
            )
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
