"""What training changes: the parameters of a task's model, and what its optimiser keeps.

No folder and no file: a run (``trainer.py``) adds those, the measurement of a step needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from numpylm.data.batches import Batch
from numpylm.optim.adam import decay_of_matrices
from numpylm.optim.optimizer import Optimizer
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parallel.shared_memory import shared, shared_zeros
from numpylm.parameters import Array
from numpylm.tasks.task import Task
from numpylm.training.data_parallel import DataParallel
from numpylm.training.loop import OneProcess, Step, training_loop
from numpylm.training.pretrained import frozen


class TrainingState:
    """A task's parameters and optimiser, as the task's settings (``TrainConfig``) want them."""

    def __init__(self, task: Task, theta: Array, p: Any) -> None:
        self.task, self.config = task, task.settings
        config = self.config
        self.theta, self.p = (theta, p) if config.plain else shared(theta, p)
        decay = decay_of_matrices(self.p, config.weight_decay)
        self.frozen = frozen(self.p, config)
        if self.frozen is not None:
            decay[self.frozen] = 0.0
        self.optimizer = Optimizer(
            config.optimizer, self.theta, decay, config.momentum, (config.beta1, config.beta2),
            zeros=np.zeros if config.plain else shared_zeros,
        )  # fmt: skip

    @property
    def step(self) -> int:
        """Updates made so far."""
        return self.optimizer.step

    def model(self) -> OneProcess:
        """The model with its gradient and updates: in shards, or in one piece if ``plain``."""
        trained = {"optimizer": self.optimizer, "frozen": self.frozen}
        if self.config.plain:
            return OneProcess.of(self.task, self.theta, self.p, **trained)
        return DataParallel.of(self.task, self.theta, self.p, shared=True, **trained)

    @contextmanager
    def parallel(self) -> Iterator[OneProcess]:
        """The model and its shards, BLAS at one thread each, freed memory kept."""
        keep_freed_pages()
        # Overflow and NaN are looked for where a loss arrives, and reported with their step.
        with (
            one_blas_thread(),
            np.errstate(over="ignore", invalid="ignore"),
            self.model() as model,
        ):
            yield model

    def batches(self, step: int) -> list[Batch]:
        """Those whose gradients make update number ``step``."""
        first = step * self.config.accumulate
        return [self.task.batch(first + i) for i in range(self.config.accumulate)]

    def learning_rate(self, step: int) -> float:
        """η of update number ``step``."""
        return self.config.learning_rate(step, self.val_losses())

    def val_losses(self) -> Sequence[float]:
        """Of the evaluations so far, which the plateau schedule asks for."""
        return ()

    def steps(self, model: OneProcess, steps: Iterable[int] | None = None) -> Iterator[Step]:
        """The training loop from here to the last step of the settings, or over other ``steps``."""
        return training_loop(
            model, self.batches, self.learning_rate, clip=self.config.clip or None,
            steps=range(self.step, self.config.steps) if steps is None else steps,
            seed=self.config.seed,
        )  # fmt: skip
