"""Time the matrix products of a training step alone, in NumPy and in PyTorch, alternately.

python -m tests.benchmarks.products               cases a to d of tests/benchmarks/cases.py
python -m tests.benchmarks.products --cases c
python -m tests.benchmarks.products --json

Three products for every matrix of the model but those of attention's scores: y = x W, dW = xᵀ dy
and dx = dy Wᵀ, on two threads: NumPy with half of the rows on each, as the shards of a step,
PyTorch with all of them. Every product has matrices of its own, as in a step. What they take is the
work of the BLAS library that NumPy or PyTorch came with, and a part of a step that neither can do
without: with ``tests.benchmarks.train_step`` it says what is left for all else. malloc keeps freed
pages on both sides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.cost.step_time import TrainingStep, gemm_peak
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import Array
from numpylm.training.train_config import TrainConfig
from tests.benchmarks.cases import CASES
from tests.benchmarks.turns import OwnProcess, Side, alternate, has_pytorch, report, summary


def matrices(config: TrainConfig, vocab_size: int) -> list[tuple[int, int]]:
    """(D_in, D_out) of every linear map of the model."""
    d, d_ff = config.d_model, config.d_ff
    return [*[(d, d)] * 4, (d, d_ff), (d_ff, d)] * config.n_layers + [(d, vocab_size)]


def operands(config: TrainConfig, vocab_size: int, rows: int) -> list[tuple[Array, ...]]:
    """(x, W, dy) of every linear map."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    return [
        (random(rows, d_in), random(d_in, d_out), random(rows, d_out))
        for d_in, d_out in matrices(config, vocab_size)
    ]


def products(linears: list[Any]) -> None:
    """Of arrays or tensors: all of a forward, then all of a backward."""
    for x, w, _ in linears:
        x @ w
    for x, w, dy in reversed(linears):
        x.T @ dy
        dy @ w.T


def torch_products(config: TrainConfig, vocab_size: int, rows: int, threads: int) -> Callable:
    """The same in PyTorch, with the same numbers."""
    import torch

    torch.set_num_threads(threads)
    linears = [tuple(map(torch.tensor, arrays)) for arrays in operands(config, vocab_size, rows)]
    return torch.inference_mode()(lambda: products(linears))


def compare(case: str, turns: int, calls: int) -> dict:
    """Milliseconds and GFLOP/s of the products of a step, and PyTorch's time / NumPy's."""
    config, vocab_size = CASES[case]
    rows = config.batch_size * config.context
    shards = [operands(config, vocab_size, rows // 2) for _ in range(2)]
    step = TrainingStep(config, vocab_size)  # for its threads, and its setting of malloc
    with step.parallel, one_blas_thread():
        sides: dict[str, Side] = {"numpy": lambda: step.parallel.run(products, shards)}
        if has_pytorch():
            arguments = config, vocab_size, rows, 2
            sides["pytorch"] = OwnProcess(torch_products, *arguments, kept_pages=True)
        times = alternate(sides, turns, calls)
        peak = gemm_peak(step.parallel)
    flops = 6.0 * rows * sum(d_in * d_out for d_in, d_out in matrices(config, vocab_size))
    return summary(times, "numpy", flops, peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list("abcd"))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--calls", type=int, default=3, help="of each side in a turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    if not arguments.json:
        print(f"NumPy {np.__version__} with {build['name']} {build['version']}")
    for case in arguments.cases:
        report(case, compare(case, arguments.turns, arguments.calls), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
