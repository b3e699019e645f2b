"""The throughput of a sweep: two runs, one after the other and both at a time, by turns.

python -m tests.benchmarks.jobs                 width 32 of the scaling family, 3e10 FLOPs a run
python -m tests.benchmarks.jobs --width 64 --json

Each run is trained as a sweep trains it, in a process with one BLAS thread. A run says itself how
long its training took, so the start of a process does not count. Printed are tokens/s and the ratio
of both, of which 2 is the most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from numpylm.scaling.experiment.family import Text, planned
from numpylm.scaling.experiment.family_run import tokenized, train
from numpylm.scaling.experiment.sweep import finished
from tests.benchmarks.turns import ratio, written


def compare(width: int, compute: float, turns: int) -> dict:
    """Tokens/s of one process and of two, and the ratio."""
    data = tokenized("pydoc", "char")
    vocab_size = data.tokenizer.vocab_size
    text = Text("pydoc", "char", vocab_size, len(data.train), data.summary["sha256"])
    run = planned("fit", width, compute, vocab_size)
    rates: dict[str, list[float]] = {"one": [], "two": []}
    with TemporaryDirectory() as folder:
        for turn in range(turns):
            for jobs, name in ((1, "one"), (2, "two")):
                own = [Path(folder) / f"{turn}-{name}-{i}" for i in range(2)]
                calls: dict[str, tuple[Callable, tuple]] = {
                    str(path): (train, (run, text, 1 << 12, path, os.getpid())) for path in own
                }
                rows = [row for _, row in finished(calls, jobs, None, print)]
                rates[name].append(jobs * run.tokens / statistics.mean(r["seconds"] for r in rows))
    medians = {name: statistics.median(rate) for name, rate in rates.items()}
    return medians | {"gain": ratio(rates, "two", "one")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--compute", type=float, default=3e10, help="FLOPs of a run")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    found = compare(a.width, a.compute, a.turns)
    if a.json:
        print(json.dumps(found))
        return 0
    print(f"one process   {found['one']:8,.0f} tokens/s")
    print(f"two processes {found['two']:8,.0f} tokens/s; ratio {written(found['gain'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
