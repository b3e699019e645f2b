"""Peak memory of a process that trains, in numpylm and in eager PyTorch.

python -m tests.benchmarks.memory
python -m tests.benchmarks.memory --json

The cases are those of tests/benchmarks/cases.py. Each side is a process of its own that makes a
few steps on random ids with two threads; its peak resident memory (VmHWM of Linux) is everything:
the interpreter, the libraries, parameters, gradients, moments and activations.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

from numpylm.benchmark import TrainingStep
from tests.benchmarks.cases import CASES, torch_step


def peak_mib() -> float:
    """The most memory that this process ever held, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def train_in_numpylm(case: str, steps: int) -> None:
    from numpylm.training.parallel import one_blas_thread

    step = TrainingStep(*CASES[case])
    with one_blas_thread(), step.parallel:
        for _ in range(steps):
            step()


def train_in_pytorch(case: str, steps: int) -> None:
    step = torch_step(*CASES[case], threads=2)
    for _ in range(steps):
        step()


SIDES = {"numpylm": train_in_numpylm, "pytorch": train_in_pytorch}


def measure(side: str, case: str, steps: int) -> float:
    """The peak of a new process, MiB."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--side", side, "--case", case]
    command += ["--steps", str(steps)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["a", "d", "long"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help="train here and print this process's peak")
    parser.add_argument("--case", choices=CASES, help="the case of --side")
    arguments = parser.parse_args()
    if arguments.side:
        SIDES[arguments.side](arguments.case, arguments.steps)
        print(peak_mib())
        return 0
    figures: dict[str, float] = {}
    for case in arguments.cases:
        for side in SIDES:
            if side != "pytorch" or importlib.util.find_spec("torch"):
                figures[f"{side}_{case}_mib"] = measure(side, case, arguments.steps)
        if f"pytorch_{case}_mib" in figures:
            ratio = figures[f"numpylm_{case}_mib"] / figures[f"pytorch_{case}_mib"]
            figures[f"ratio_{case}"] = ratio
    if arguments.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        print(f"{name:<16} {value:8.2f}" if "ratio" in name else f"{name:<16} {value:8.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
