"""Time attention, forward and backward: plain, in tiles, and PyTorch's, alternately in one run.

python -m tests.benchmarks.attention                       T = 64, 256 and 1024
python -m tests.benchmarks.attention --lengths 64 4096
python -m tests.benchmarks.attention --json

Causal self-attention of 4 heads of 32 features, float32, on queries, keys and values that lie in
memory as a layer's products leave them. Our forms are cut over the batch as in training: two
shards, one thread each, BLAS at one thread. PyTorch's is ``scaled_dot_product_attention`` on two
threads, in a process of its own. The first line is the form that the library takes at that length.
GFLOP/s count the products of visible pairs, 12 d_head · T (T + 1) / 2 a head; the plain form does
twice as many. The peak is that of large matrix products on the same threads. Without PyTorch our
forms are timed alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.cost.step_time import gemm_peak
from numpylm.fast.attention import TILED_FROM, tiled_attention_backward, tiled_attention_forward
from numpylm.layers.attention import attention_backward, attention_forward
from numpylm.layers.multi_head import split_heads
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import Array, pack
from numpylm.training.data_parallel import DataParallel
from tests.benchmarks.turns import OwnProcess, Side, alternate, has_pytorch, report, summary

FORMS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "plain": (attention_forward, attention_backward),
    "tiled": (tiled_attention_forward, tiled_attention_backward),
}
HEADS, D_HEAD = 4, 32
BATCH = {64: 12, 256: 8}  # as in cases a and b of cases.py; other lengths: 2


def inputs(length: int) -> dict[str, Array]:
    """q, k, v and dy, each (B, H, T, d_head), views of (B, T, D)."""
    rng = np.random.default_rng(0)
    shape = (BATCH.get(length, 2), length, HEADS * D_HEAD)
    return {
        name: split_heads(rng.standard_normal(shape, np.float32), HEADS)
        for name in ("q", "k", "v", "dy")
    }


def in_shards(form: str) -> DataParallel:
    """A form of attention on two threads: to them it is an objective without parameters."""
    attend, attend_backward = FORMS[form]

    def forward(p: Any, q: Array, k: Array, v: Array, dy: Array, **unused: Any) -> tuple:
        return 0.0, (dy, attend(q, k, v, causal=True)[1])

    def backward(p: Any, dp: Any, dloss: Array, cache: tuple) -> None:
        attend_backward(*cache)

    theta, p = pack([np.zeros(1, np.float32)])
    return DataParallel((forward, backward), theta, p, lambda batch: 1, n_shards=2)


def torch_attention(length: int) -> Callable[[], object]:
    """The same in PyTorch, on two threads."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    torch.set_num_threads(2)
    batch = inputs(length)
    leaves = [torch.from_numpy(a).requires_grad_() for a in map(batch.get, "qkv")]
    dy = torch.from_numpy(batch["dy"])

    def run() -> object:
        y = scaled_dot_product_attention(*leaves, is_causal=True)
        return torch.autograd.grad(y, leaves, dy)

    return run


def compare(length: int, turns: int, calls: int, pytorch: bool) -> dict:
    """Milliseconds, GFLOP/s and ratios of the forms at one length."""
    batch, shards = inputs(length), {form: in_shards(form) for form in FORMS}
    keep_freed_pages()
    with one_blas_thread(), shards["plain"] as plain, shards["tiled"] as tiled:
        sides: dict[str, Side] = {
            "plain": lambda: plain.gradient([batch], [0]),
            "tiled": lambda: tiled.gradient([batch], [0]),
        }
        if pytorch:
            sides["pytorch"] = OwnProcess(torch_attention, length)
        times = alternate(sides, turns, calls)
        peak = gemm_peak(plain)
    flops = 12 * batch["q"].size * (length + 1) / 2
    return summary(times, "tiled" if length >= TILED_FROM else "plain", flops, peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 256, 1024], metavar="T")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--calls", type=int, default=3, help="calls of each side in a turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for length in arguments.lengths:
        figures = compare(length, arguments.turns, arguments.calls, has_pytorch())
        report(f"T = {length}", figures, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
