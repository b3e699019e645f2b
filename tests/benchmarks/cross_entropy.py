"""Time the output layer with its loss, forward and backward, alternately with PyTorch's.

python -m tests.benchmarks.cross_entropy               V = 65, 1000 and 33,278
python -m tests.benchmarks.cross_entropy --cases d
python -m tests.benchmarks.cross_entropy --json

Shapes are those of cases a, c and d of tests/benchmarks/cases.py: hidden states (B, T, D) become
logits (B, T, V) and a loss; back come the gradients of the hidden states and of the matrix. Ours:
the loss in its plain form and block by block in the logits' memory; the first line is the form
that the objective takes. The batch is cut as in training: two shards on two threads, BLAS at one
thread, the two gradients of the matrix added at the end. PyTorch: ``linear`` and ``cross_entropy``
on two threads, in a process of its own. GFLOP/s count the three matrix products, 6 B T D V; the
peak is that of large ones on the same threads. Without PyTorch our forms are timed alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from numpylm.cost.step_time import RandomTokens, gemm_peak
from numpylm.data.batches import Batch
from numpylm.fast.cross_entropy import (
    BLOCKED_FROM,
    blocked_cross_entropy_backward,
    blocked_cross_entropy_forward,
)
from numpylm.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from numpylm.layers.embedding import embedding_init, unembedding_backward, unembedding_forward
from numpylm.layers.linear import linear_backward, linear_forward, linear_init
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import Array, leaves, pack
from numpylm.training.data_parallel import DataParallel
from tests.benchmarks.cases import CASES
from tests.benchmarks.turns import OwnProcess, Side, alternate, has_pytorch, report, summary

LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "plain": (cross_entropy_forward, cross_entropy_backward),
    "blocked": (
        partial(blocked_cross_entropy_forward, overwrite=True),
        blocked_cross_entropy_backward,
    ),
}


def in_shards(theta: Array, p: Any, tied: bool, form: str) -> DataParallel:
    """Output layer and loss on two threads: an objective of the hidden states h (B, T, D)."""
    project, project_backward = (
        (unembedding_forward, unembedding_backward) if tied else (linear_forward, linear_backward)
    )
    loss_forward, loss_backward = LOSSES[form]

    def forward(p: Any, h: Array, targets: Array, *, normalizer: int, rng: Any) -> tuple:
        logits, c_output = project(p, h)
        loss, c_loss = loss_forward(logits, targets, normalizer=normalizer)
        return loss, (c_output, c_loss)

    def backward(p: Any, dp: Any, dloss: Array, cache: tuple) -> None:
        c_output, c_loss = cache
        project_backward(p, dp, loss_backward(dloss, c_loss), c_output)

    pair = forward, backward
    return DataParallel(pair, theta, p, lambda batch: batch["targets"].size, n_shards=2)


def torch_output(p: Any, batch: Batch, tied: bool) -> Callable[[], object]:
    """The same in PyTorch, on two threads; its matrix is (V, D) in either case."""
    import torch
    from torch.nn.functional import cross_entropy, linear

    torch.set_num_threads(2)
    arrays = [a if tied else a.T for _, a in leaves(p)]  # the matrix, and perhaps its bias
    t = [torch.tensor(np.ascontiguousarray(a)).requires_grad_() for a in [batch["h"], *arrays]]
    targets = torch.tensor(batch["targets"]).flatten()

    def run() -> object:
        loss = cross_entropy(linear(*t).flatten(0, 1), targets)
        return torch.autograd.grad(loss, t)

    return run


def compare(case: str, turns: int, calls: int, pytorch: bool) -> dict:
    """Milliseconds, GFLOP/s and ratios of the forms with the shapes of one case."""
    config, vocab_size = CASES[case]
    d_model, tied, rng = config.d_model, config.tied, np.random.default_rng(0)
    layer: Any = embedding_init(rng, vocab_size, d_model)
    if not tied:
        layer = linear_init(rng, d_model, vocab_size, bias=config.bias)
    theta, p = pack(layer)
    targets = RandomTokens(config, vocab_size).batch(0)["targets"]
    batch = {"h": rng.standard_normal((*targets.shape, d_model), np.float32), "targets": targets}
    shards = {form: in_shards(theta, p, tied, form) for form in LOSSES}
    keep_freed_pages()
    with one_blas_thread(), shards["plain"] as plain, shards["blocked"] as blocked:
        sides: dict[str, Side] = {
            "plain": lambda: plain.gradient([batch], [0]),
            "blocked": lambda: blocked.gradient([batch], [0]),
        }
        if pytorch:
            sides["pytorch"] = OwnProcess(torch_output, p, batch, tied)
        times = alternate(sides, turns, calls)
        peak = gemm_peak(plain)
    ours = "blocked" if targets.size // 2 * vocab_size >= BLOCKED_FROM else "plain"
    return summary(times, ours, 6 * targets.size * d_model * vocab_size, peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list("acd"))
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--calls", type=int, default=3, help="calls of each side in a turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for case in arguments.cases:
        figures = compare(case, arguments.turns, arguments.calls, has_pytorch())
        report(f"{case}, V = {CASES[case][1]}", figures, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
