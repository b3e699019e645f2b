"""What ``numpylm train --dry-run`` predicts, against the run itself: time and peak memory.

python -m tests.benchmarks.cost
python -m tests.benchmarks.cost --json

Each prediction and each run is a process of its own, the run right behind the prediction, so that
both see the same machine; where it does other work, compare the processor time. A run is as the
command makes it, up to its last step: data, baselines, training, evaluations and checkpoints. Peak
memory is VmHWM of Linux, and what the processes of the shards have for themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from numpylm.parallel.allocator import keep_freed_pages
from tests.benchmarks.turns import in_new_process
from tests.peak import PeakMemory

CASES = {
    "tiny": ["--steps", "800"],
    "nanogpt-cpu": ["--dropout", "0.1", "--steps", "400"],
    "bert-tiny": ["--steps", "120", "--eval-every", "60"],
    "denoising": ["--steps", "400", "--eval-every", "200"],
    "translation": ["--steps", "100", "--eval-every", "50"],
    "toy": ["--steps", "1200"],
    "classification": ["--steps", "300"],
}


def run(settings: list[str]) -> None:
    """Make the run; print its seconds and its peak memory, with all its processes."""
    from numpylm.cli.parser import _parser
    from numpylm.cli.run_setup import started

    with tempfile.TemporaryDirectory() as runs:
        arguments = _parser().parse_args(["train", *settings, "--runs", str(Path(runs) / "runs")])
        keep_freed_pages()  # before the thread that looks on, which would get a heap of its own
        wall, processor = time.perf_counter(), sum(os.times()[:4])
        with PeakMemory() as peak:
            started(arguments).fit(log=None)
        spent = time.perf_counter() - wall, sum(os.times()[:4]) - processor
        print(json.dumps([*spent, peak.mib]))


def measure(preset: str) -> dict[str, float]:
    """Predicted and real figures of a case, and their ratios."""
    settings = ["--preset", preset, *CASES[preset]]
    predicted = in_new_process("numpylm", "train", *settings, "--dry-run", "--json")
    made = in_new_process("tests.benchmarks.cost", "--run", *settings)
    foretold = (60 * predicted["minutes"], 60 * predicted["processor_minutes"],
                predicted["memory_mib"])  # fmt: skip
    figures = {}
    for name, before, after in zip(("wall_s", "processor_s", "mib"), foretold, made, strict=True):
        figures |= {f"{name}_predicted": before, name: after, f"{name}_ratio": before / after}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--run", nargs=argparse.REMAINDER, help="make this run, and measure it")
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run)
        return 0
    for case in arguments.cases:
        figures = measure(case)
        if arguments.json:
            print(json.dumps({"case": case, **figures}), flush=True)
        else:
            line = "   ".join(f"{name} {value:.2f}" for name, value in figures.items())
            print(f"{case:<15} {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
