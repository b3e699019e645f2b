"""How fast a training step is on this machine, against what its BLAS could do.

mfu, "model FLOPs utilisation", is the step's useful matrix products per second over the rate of
one large matrix product on the same threads, measured there and then.
Source: Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, Appendix B.
"""

from __future__ import annotations

import statistics
from itertools import count

import numpy as np

from numpylm.data.batches import Batch
from numpylm.models.counting import parameter_counts, training_flops
from numpylm.models.gpt import GPTConfig
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.tasks.architectures import DECODER
from numpylm.tasks.task import Task
from numpylm.training.loop import OneProcess
from numpylm.training.state import TrainingState
from numpylm.training.timing import timed
from numpylm.training.train_config import TrainConfig


class RandomTokens(Task):
    """One batch, any token as probable as any other: the work of training and none of its data."""

    name = "causal"
    architecture = DECODER
    functions = causal_lm_forward, causal_lm_backward

    def __init__(self, settings: TrainConfig, vocab_size: int) -> None:
        self.settings, self.vocab_size = settings, vocab_size
        rng = np.random.default_rng(settings.seed)
        shape = settings.batch_size, settings.context
        self.random = {name: rng.integers(0, vocab_size, shape) for name in ("ids", "targets")}

    @property
    def model(self) -> GPTConfig:
        """The settings' part, for the vocabulary."""
        return self.model_config(self.settings, vocab_size=self.vocab_size)

    def batch(self, step: int) -> Batch:
        """ids and targets (B, T), the same each time."""
        return self.random


class TrainingStep:
    """A whole step on random ids, by the training loop. Call it to make one.

    ``parallel`` is its model and the shards; used as a context it ends their processes.
    """

    def __init__(self, config: TrainConfig, vocab_size: int) -> None:
        task = RandomTokens(config, vocab_size)
        self.config, self.model, self.batch = config, task.model, task.batch(0)
        self.state = TrainingState(task, *task.init(config.seed))
        self.parallel = self.state.model()
        self.steps = self.state.steps(self.parallel, count())
        keep_freed_pages()

    def __call__(self) -> float:
        """One step; returns the loss."""
        return next(self.steps).loss


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


def gemm_peak(parallel: OneProcess, size: int = 1024) -> float:
    """GFLOP/s of float32 matrix products of size³, one at a time on each thread; the best of 5."""
    threads = len(getattr(parallel, "gradients", [0]))
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))

    def product(_: int) -> None:
        a @ b

    best = min(timed(lambda: parallel.run(product, range(threads)), seconds=0.0, warm_up=1))
    return threads * 2 * size**3 / best / 1e9
