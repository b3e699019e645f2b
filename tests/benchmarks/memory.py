"""Peak memory of a process that trains, in numpylm and in eager PyTorch.

python -m tests.benchmarks.memory
python -m tests.benchmarks.memory --json

The cases are those of tests/benchmarks/cases.py. Each side is a process of its own that makes a
few steps on random ids on two cores; its peak resident memory (VmHWM of Linux, and what processes
that it starts have for themselves) is everything: the interpreter, the libraries, parameters,
gradients, moments and activations. The sides take turns; a ratio is the median of all turns.
Without PyTorch numpylm is measured alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

from numpylm.cost.step_time import TrainingStep
from numpylm.parallel.blas_threads import one_blas_thread
from tests.benchmarks.cases import CASES, torch_step
from tests.benchmarks.turns import has_pytorch, in_new_process, ratio, written
from tests.peak import PeakMemory


def train_in_numpylm(case: str, steps: int) -> None:
    step = TrainingStep(*CASES[case])
    with one_blas_thread(), step.parallel:
        for _ in range(steps):
            step()


def train_in_pytorch(case: str, steps: int) -> None:
    step = torch_step(*CASES[case], threads=2)
    for _ in range(steps):
        step()


SIDES = {"numpylm": train_in_numpylm, "pytorch": train_in_pytorch}


def measure(case: str, steps: int, turns: int, pytorch: bool) -> dict:
    """Median peaks in MiB, and ours / PyTorch's."""
    peaks: dict[str, list[float]] = {side: [] for side in SIDES if side != "pytorch" or pytorch}
    options = ["--case", case, "--steps", str(steps), "--side"]
    for _ in range(turns):
        for side, found in peaks.items():
            found.append(in_new_process("tests.benchmarks.memory", *options, side))
    figures: dict = {f"{side}_mib": statistics.median(found) for side, found in peaks.items()}
    return figures | ({"ratio": ratio(peaks, "numpylm", "pytorch")} if pytorch else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["a", "d", "long"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help="train here and print this process's peak")
    parser.add_argument("--case", choices=CASES, help="the case of --side")
    arguments = parser.parse_args()
    if arguments.side:
        with PeakMemory() as peak:
            SIDES[arguments.side](arguments.case, arguments.steps)
        print(peak.mib)
        return 0
    for case in arguments.cases:
        figures = measure(case, arguments.steps, arguments.turns, has_pytorch())
        if arguments.json:
            print(json.dumps({"case": case} | figures), flush=True)
            continue
        line = f"{case:<5} numpylm {figures['numpylm_mib']:5.0f} MiB"
        if "ratio" in figures:
            line += f", PyTorch {figures['pytorch_mib']:5.0f} MiB; ours / its: "
            line += written(figures["ratio"])
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
