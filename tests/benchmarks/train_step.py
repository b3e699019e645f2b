"""Time a whole training step of numpylm and of eager PyTorch, alternately in one run.

python -m tests.benchmarks.train_step            the model and batch of nanogpt-cpu
python -m tests.benchmarks.train_step --json

Both sides: the same model and batch, float32, forward, backward, clipping, AdamW, two threads.
PyTorch uses its fused attention and its multi-tensor AdamW. The sides take turns, a few steps each,
so that a slow moment of the machine meets both; the ratio of each turn shows the spread.
Without PyTorch the numpylm column is printed alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from numpylm.benchmark import TrainingStep
from numpylm.training.parallel import one_blas_thread
from numpylm.training.presets import preset


def torch_step(step: TrainingStep, threads: int):
    """The same step in PyTorch, from the same parameters and batch; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    from tests.torch_reference import torch_adamw, torch_loss, torch_parameters

    torch.set_num_threads(threads)
    c = step.config
    t = torch_parameters(step.p)
    optimizer = torch_adamw(t, c.lr, (c.beta1, c.beta2), c.weight_decay)
    ids, targets = (torch.tensor(step.batch[name]) for name in ("ids", "targets"))

    def run() -> float:
        loss = torch_loss(t, ids, targets, step.model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(t.values(), c.clip)
        optimizer.step()
        return loss.item()

    return run


def median_seconds(f, count: int) -> float:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compare(turns: int, steps: int) -> dict[str, float]:
    """Medians over all turns, and the quartiles of the ratio of each turn."""
    step = TrainingStep(preset("nanogpt-cpu"), vocab_size=65)
    rival = torch_step(step, step.config.threads)
    with step.parallel:
        ours, theirs = [], []
        for turn in range(turns + 1):  # the first turn warms up
            with one_blas_thread():
                seconds = median_seconds(step, steps)
            if turn:
                ours.append(seconds)
            if rival:
                seconds = median_seconds(rival, steps)
                if turn:
                    theirs.append(seconds)
    figures = {"numpylm_ms": 1e3 * statistics.median(ours)}
    if rival:
        low, middle, high = statistics.quantiles(
            [a / b for a, b in zip(ours, theirs, strict=True)], n=4
        )
        figures["pytorch_ms"] = 1e3 * statistics.median(theirs)
        figures |= {"ratio": middle, "ratio_low": low, "ratio_high": high}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="steps of each side in a turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = compare(arguments.turns, arguments.steps)
    if arguments.json:
        print(json.dumps(figures))
        return 0
    print(f"numpylm  {figures['numpylm_ms']:7.1f} ms a step")
    if "ratio" in figures:
        print(f"PyTorch  {figures['pytorch_ms']:7.1f} ms a step")
        print(
            f"numpylm / PyTorch: {figures['ratio']:.2f} "
            f"(quartiles {figures['ratio_low']:.2f} to {figures['ratio_high']:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
