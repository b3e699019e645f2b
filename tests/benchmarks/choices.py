"""What helped and what did not: each choice of the library beside what it was chosen over.

python -m tests.benchmarks.choices                     all of them, in three minutes
python -m tests.benchmarks.choices adam processes      those whose name begins so
python -m tests.benchmarks.choices --json

Both forms of a choice compute the same and are timed alternately in one run, BLAS at one thread. A
ratio above 1 says that the first form, the library's, is the quicker one. For threads and processes
there are also the voluntary context switches a step, of all threads of this process: how often one
of them went to sleep.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from numpylm.cost.step_time import TrainingStep
from numpylm.fast.attention import (
    TILED_FROM,
    tiled_attention_backward,
    tiled_attention_forward,
)
from numpylm.fast.gelu import fast_gelu_backward, fast_gelu_forward
from numpylm.layers.attention import ATTENTION, attention_backward, attention_forward
from numpylm.layers.choices import ACTIVATIONS
from numpylm.layers.cross_entropy import CROSS_ENTROPY
from numpylm.layers.multi_head import split_heads
from numpylm.optim.adam import adam_update
from numpylm.optim.chunks import chunks
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import Array
from numpylm.training import data_parallel
from numpylm.training.train_config import TrainConfig
from tests.benchmarks.cases import CASES
from tests.benchmarks.turns import alternate, ratio, written

Call = Callable[[], object]
Forms = dict[str, Call]  # the library's form, then what it was chosen over


D_HEAD = 32
RNG = np.random.default_rng(0)
OPEN = ExitStack()  # processes and threads of the choice that is being timed


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


TWINS: dict[str, tuple[dict, str, str]] = {
    "attention": (ATTENTION, "fast", "plain"),
    "gelu": (ACTIVATIONS, "gelu (fast)", "gelu"),
    "loss": (CROSS_ENTROPY, "fast", "plain"),
}


def twin(name: str, case: str) -> Callable[[], Forms]:
    """Whole steps with a twin, or with its formula in the twin's place."""

    def forms() -> Forms:
        table, fast, plain = TWINS[name]
        steps = [TrainingStep(*CASES[case]) for _ in range(2)]
        for step in steps:
            OPEN.enter_context(step.parallel)

        def formula() -> None:  # the other shard's process is a copy of this one, made in here
            kept, table[fast] = table[fast], table[plain]
            steps[1]()
            table[fast] = kept

        return {"twin": steps[0], "formula": formula}

    forms.__doc__ = f"The twin of {name}, not its formula: whole steps of case {case}"
    return forms


def gelu_over() -> Forms:
    """GELU's slope over its input, dx over dy, not in new arrays: copies of 512 × 1536 numbers"""
    x, dy = normal(512, 1536), normal(512, 1536)

    def both(overwrite: bool) -> Array:
        _, slope = fast_gelu_forward(x.copy(), overwrite=overwrite)
        return fast_gelu_backward(dy.copy(), slope, overwrite=overwrite)

    return {"over": lambda: both(True), "new": lambda: both(False)}


def adam() -> Forms:
    """Adam in chunks of 65,536: 10.6 million parameters"""
    size = 10_600_000
    theta, g, m, v = (np.full(size, 1e-3, np.float32) for _ in range(4))

    def update(slices: list[slice]) -> None:
        for s in slices:
            adam_update(theta[s], g[s], m[s], v[s], step=1, lr=1e-3)

    return {"chunks": lambda: update(chunks(size)), "whole": lambda: update([slice(None)])}


def attention(batch: int, heads: int, length: int) -> Callable[[], Forms]:
    """Attention of a shard, forward and backward."""

    def forms() -> Forms:
        shape = batch, length, heads * D_HEAD
        q, k, v, dy = (split_heads(normal(*shape), heads) for _ in "qkvd")

        def tiled() -> None:
            tiled_attention_backward(dy, tiled_attention_forward(q, k, v, causal=True)[1])

        def plain() -> None:
            attention_backward(dy, attention_forward(q, k, v, causal=True)[1])

        forms = {"tiles": tiled, "plain": plain}
        return forms if length >= TILED_FROM else dict(reversed(forms.items()))

    forms.__doc__ = f"Attention in tiles: T = {length}, {batch} sequences, {heads} heads"
    return forms


def processes(case: str) -> Callable[[], Forms]:
    """Whole steps with the other shard in a process, or in a thread."""

    def forms() -> Forms:
        config, vocab_size = CASES[case]
        own, threads = (TrainingStep(config, vocab_size) for _ in range(2))
        threads.parallel.processes = []
        OPEN.enter_context(own.parallel)
        OPEN.enter_context(threads.parallel)
        return {"process": own, "thread": threads}

    forms.__doc__ = f"A process for a shard, not a thread: whole steps of case {case}"
    return forms


def shares(case: str) -> Callable[[], Forms]:
    """Whole steps whose update is shared out, or not."""

    def forms() -> Forms:
        step = TrainingStep(*CASES[case])
        OPEN.enter_context(step.parallel)
        OPEN.callback(setattr, data_parallel, "SHARED_OUT", data_parallel.SHARED_OUT)

        def from_chunks(count: int) -> None:
            data_parallel.SHARED_OUT = count
            step()

        return {"shared out": lambda: from_chunks(1), "alone": lambda: from_chunks(1 << 30)}

    forms.__doc__ = f"Sum, norm and update shared out among processes: whole steps of case {case}"
    return forms


def tiny() -> Forms:
    """One shard for a tiny model, not two threads: D = 64, T = 16"""
    config = TrainConfig(
        n_layers=2, n_heads=2, d_model=64, d_ff=256, context=16, batch_size=8, threads=1
    )
    one, two = (TrainingStep(replace(config, threads=n), 65) for n in (1, 2))
    two.parallel.processes = []
    OPEN.enter_context(two.parallel)
    return {"one": one, "two threads": two}


def micro_batches() -> Forms:
    """A shard in one piece, not in micro-batches of one sequence: case a"""
    config, vocab_size = CASES["a"]
    step = TrainingStep(replace(config, threads=1), vocab_size)
    rows = range(config.batch_size)
    parts = [{name: a[i : i + 1] for name, a in step.batch.items()} for i in rows]
    return {
        "one piece": lambda: step.parallel.gradient([step.batch], [0]),
        "pieces": lambda: step.parallel.gradient(parts, [0]),
    }


def add_gradients(size: int) -> Callable[[], Forms]:
    """The gradients of two shards added on one thread."""

    def forms() -> Forms:
        total, other = np.zeros(size, np.float32), np.zeros(size, np.float32)
        pool = OPEN.enter_context(ThreadPoolExecutor(2))
        halves = [slice(0, size // 2), slice(size // 2, size)]

        def add(s: slice) -> None:
            total[s] += other[s]

        return {
            "one thread": lambda: add(slice(None)),
            "two threads": lambda: list(pool.map(add, halves)),
        }

    forms.__doc__ = f"Two gradients of {size:,} numbers added on one thread, not on two"
    return forms


def output_logits() -> Forms:
    """The output layer's matrix (D, V), not (V, D): 350 rows, D = 200, V = 33,278"""
    h, w = normal(350, 200), normal(200, 33_278)
    other = np.ascontiguousarray(w.T)
    return {"(D, V)": lambda: h @ w, "(V, D)": lambda: h @ other.T}


def logits_kept() -> Forms:
    """Logits kept, not computed again for their gradient: the same layer"""
    h, w, size = normal(350, 200), 0.05 * normal(200, 33_278), 4096

    def kept() -> Array:
        logits = h @ w
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=-1, keepdims=True)
        return logits @ w.T

    def again() -> Array:
        blocks = [w[:, i : i + size] for i in range(0, w.shape[1], size)]
        total = sum(np.exp(h @ b).sum(axis=-1, keepdims=True) for b in blocks)
        return sum((np.exp(h @ b) / total) @ b.T for b in blocks)

    return {"kept": kept, "again": again}


CHOICES: dict[str, Callable[[], Forms]] = {
    **{f"twin-{name}-{case}": twin(name, case) for name in TWINS for case in "abcd"},
    "gelu-over": gelu_over,
    "adam": adam,
    "tiles-64": attention(6, 4, 64),
    "tiles-128": attention(4, 6, 128),
    "tiles-256": attention(4, 4, 256),
    "tiles-1024": attention(1, 4, 1024),
    "processes-a": processes("a"),
    "processes-b": processes("b"),
    "processes-c": processes("c"),
    "shares-a": shares("a"),
    "shares-c": shares("c"),
    "shares-d": shares("d"),
    "tiny": tiny,
    "micro-batches": micro_batches,
    "add-small": add_gradients(824_320),
    "add-large": add_gradients(10_600_000),
    "output-order": output_logits,
    "logits": logits_kept,
}


@contextmanager
def forms_of(name: str) -> Iterator[Forms]:
    """Both forms, and what they opened closed afterwards."""
    with one_blas_thread(), OPEN:
        yield CHOICES[name]()


def switches(call: Call, calls: int = 20) -> float:
    """Voluntary context switches of this process in a call."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for _ in range(calls):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / calls


def compare(name: str, turns: int, seconds: float) -> dict:
    """Milliseconds of both forms, and the other's time / the library's."""
    with forms_of(name) as forms:
        ours, other = forms
        once = alternate(forms, 3)
        calls = max(1, round(seconds / max(map(statistics.median, once.values())) / turns))
        times = alternate(forms, turns, calls)
        figures: dict = {"choice": name, "what": CHOICES[name].__doc__}
        figures |= {form: 1e3 * statistics.median(taken) for form, taken in times.items()}
        if name.startswith(("processes", "tiny")):
            figures |= {f"{form}_switches": switches(call) for form, call in forms.items()}
    return figures | {"ratio": ratio(times, other, ours)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("choices", nargs="*", metavar="NAME", help=", ".join(CHOICES))
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each form")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    keep_freed_pages()
    for name in CHOICES:
        if arguments.choices and not name.startswith(tuple(arguments.choices)):
            continue
        figures = compare(name, arguments.turns, arguments.seconds)
        if arguments.json:
            print(json.dumps(figures, ensure_ascii=False), flush=True)
            continue
        print(f"{name}: {figures['what']}")
        r = figures.pop("ratio")
        for form, ms in list(figures.items())[2:]:
            unit = " switches a step" if form.endswith("_switches") else " ms"
            print(f"   {form.removesuffix('_switches'):<12} {ms:9.3f}{unit}")
        print(f"   ratio        {written(r)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
