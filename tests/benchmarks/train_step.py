"""Time whole training steps of numpylm and of eager PyTorch, alternately in one run.

python -m tests.benchmarks.train_step                 cases a to d of tests/benchmarks/cases.py
python -m tests.benchmarks.train_step --cases a b
python -m tests.benchmarks.train_step --one-thread    numpylm on one thread beside it
python -m tests.benchmarks.train_step --kept-pages    PyTorch with our setting of malloc beside it
python -m tests.benchmarks.train_step --compile       torch.compile beside it
python -m tests.benchmarks.train_step --json

Both sides: the same model and batch, float32, forward, backward, clipping, update, two threads. The
sides take turns, a few steps each, so that a slow moment of the machine meets both; the ratio of
each turn shows the spread. PyTorch runs in a process of its own, as its users have it. numpylm asks
malloc to keep freed pages; PyTorch does not, and with V = 33,278 most of what separates the two is
that: ``--kept-pages`` asks on its behalf. GFLOP/s are the useful matrix products of a step per
second; their share is that of the rate of large matrix products on the same threads. Without
PyTorch numpylm is timed alone.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from numpylm.cost.step_time import TrainingStep, gemm_peak
from numpylm.models.counting import training_flops
from numpylm.parallel.blas_threads import one_blas_thread
from tests.benchmarks.cases import CASES, torch_step
from tests.benchmarks.turns import OwnProcess, Side, alternate, has_pytorch, report, summary


def compare(case: str, turns: int, steps: int, rivals: list[str]) -> dict:
    """Milliseconds a step of each side, GFLOP/s, the peak, and time of each rival / our time."""
    config, vocab_size = CASES[case]
    step, single = (TrainingStep(replace(config, threads=n), vocab_size) for n in (2, 1))
    with step.parallel, one_blas_thread():
        sides: dict[str, Side] = {"numpylm": step}
        if "one_thread" in rivals:
            sides["one_thread"] = single
        if "pytorch" in rivals:
            sides["pytorch"] = OwnProcess(torch_step, config, vocab_size, 2)
        if "pytorch_kept_pages" in rivals:
            sides["pytorch_kept_pages"] = OwnProcess(
                torch_step, config, vocab_size, 2, kept_pages=True
            )
        if "compiled" in rivals:
            sides["compiled"] = OwnProcess(torch_step, config, vocab_size, 2, True)
        times = alternate(sides, turns, steps)
        peak = gemm_peak(step.parallel)
    flops = training_flops(step.model, config.batch_size, config.context)
    return summary(times, "numpylm", flops, peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list("abcd"))
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="steps of each side in a turn")
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--kept-pages", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rivals = ["pytorch"] if has_pytorch() else []
    if rivals and arguments.kept_pages:
        rivals.append("pytorch_kept_pages")
    if rivals and arguments.compile:
        rivals.append("compiled")
    if arguments.one_thread:
        rivals.append("one_thread")
    for case in arguments.cases:
        figures = compare(case, arguments.turns, arguments.steps, rivals)
        report(case, figures, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
