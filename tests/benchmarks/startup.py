"""How long a process takes that imports numpylm, NumPy or PyTorch, measured alternately.

python -m tests.benchmarks.startup
python -m tests.benchmarks.startup --json

Whole processes, from their start to their end; the ratio of each turn to that of ``import numpy``
shows the spread. ``load`` also makes ready to open a trained model. Without PyTorch its line is
left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial

from tests.benchmarks.turns import alternate, has_pytorch, ratio, written

STATEMENTS = {
    "numpy": "import numpy",
    "numpylm": "import numpylm",
    "load": "from numpylm import load",
    "torch": "import torch",
}


def process(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)


def compare(turns: int) -> dict:
    """Medians in milliseconds, and each one's time / NumPy's."""
    names = [n for n in STATEMENTS if n != "torch" or has_pytorch()]
    times = alternate({n: partial(process, STATEMENTS[n]) for n in names}, turns)
    figures: dict = {f"{n}_ms": 1e3 * statistics.median(t) for n, t in times.items()}
    return figures | {n: ratio(times, n, "numpy") for n in names if n != "numpy"}


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
            line += f"; its time / NumPy's: {written(figures[name])}"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
