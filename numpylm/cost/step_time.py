"""How fast a training step is on this machine, against what its BLAS could do.

mfu, "model FLOPs utilisation", is the step's useful matrix products per second over the rate of
one large matrix product on the same threads, measured there and then.
Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, Appendix B.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from numpylm.data.batches import Batch
from numpylm.models.counting import parameter_counts, training_flops
from numpylm.models.gpt import gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim.adam import decay_of_matrices
from numpylm.optim.optimizer import Optimizer
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parallel.shared_memory import shared, shared_zeros
from numpylm.parameters import Array
from numpylm.training.data_parallel import DataParallel
from numpylm.training.loop import OneProcess, training_step
from numpylm.training.train_config import TrainConfig


class TrainingStep:
    """A whole step on random ids: forward, backward, clip, update. Call it to make one."""

    def __init__(self, config: TrainConfig, vocab_size: int) -> None:
        self.config, self.model = config, config.model_config(vocab_size)
        self.theta, self.p = gpt_init(config.seed, self.model)
        if not config.plain:
            self.theta, self.p = shared(self.theta, self.p)
        self.batch = random_batch(config, vocab_size)
        self.optimizer = Optimizer(
            config.optimizer, self.theta, decay_of_matrices(self.p, config.weight_decay),
            config.momentum, (config.beta1, config.beta2),
            zeros=np.zeros if config.plain else shared_zeros,
        )  # fmt: skip
        pair = causal_lm_forward, causal_lm_backward
        options = {"optimizer": self.optimizer, "config": self.model}
        self.parallel = (
            OneProcess(pair, self.theta, self.p, _targets, **options)
            if config.plain
            else DataParallel(
                pair, self.theta, self.p, _targets, n_shards=config.n_shards, **options
            )
        )
        keep_freed_pages()

    def __call__(self) -> float:
        """One step; returns the loss."""
        seed = [self.config.seed, self.optimizer.step]
        loss, _ = training_step(
            self.parallel, [self.batch], lr=self.config.lr, clip=self.config.clip or None, seed=seed
        )
        return loss


def _targets(batch: Batch) -> int:
    return batch["targets"].size


def random_batch(config: TrainConfig, vocab_size: int) -> dict[str, Array]:
    """ids and targets (B, T), any token as probable as any other."""
    rng = np.random.default_rng(config.seed)
    shape = (config.batch_size, config.context)
    return {name: rng.integers(0, vocab_size, shape) for name in ("ids", "targets")}


def benchmark(config: TrainConfig, vocab_size: int, seconds: float = 10.0) -> dict[str, float]:
    """Median milliseconds a step, tokens/s, GFLOP/s, the matrix-product peak and mfu.

    Raises ``ValueError`` unless ``seconds`` is positive.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; it must be positive")
    with one_blas_thread():
        step = TrainingStep(config, vocab_size)
        with step.parallel:
            times = timed(step, seconds)
            peak = gemm_peak(step.parallel)
    median = statistics.median(times)
    gflops = training_flops(step.model, config.batch_size, config.context) / median / 1e9
    return {
        "ms_per_step": 1e3 * median,
        "ms_per_step_min": 1e3 * min(times),
        "steps": len(times),
        "tokens_per_second": config.batch_size * config.context / median,
        "gflops": gflops,
        "gemm_peak_gflops": peak,
        "mfu": gflops / peak,
        "parameters": parameter_counts(step.model)["total"],
        "threads": config.n_shards,
    }


def timed(f: Callable[[], object], seconds: float, warm_up: int = 3) -> list[float]:
    """Seconds of each call, for at least ``seconds`` and five calls, after a warm-up."""
    for _ in range(warm_up):
        f()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return times


def gemm_peak(parallel: OneProcess, size: int = 1024) -> float:
    """GFLOP/s of float32 matrix products of size³, one at a time on each thread; the best of 5."""
    threads = len(getattr(parallel, "gradients", [0]))
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))

    def product(_: int) -> None:
        a @ b

    best = min(timed(lambda: parallel.run(product, range(threads)), seconds=0.0, warm_up=1))
    return threads * 2 * size**3 / best / 1e9
