"""§5.3 The training loop: batch, forward, backward, clip, update.

    L, g     of a batch: forward and backward
    g        ← g · min(1, c / ‖g‖)             clipped
    θ        ← optimiser(θ, g, η(step))        updated

Everything that trains goes through it: a run, the measurement of its speed and cost, a sweep.
``OneProcess`` answers it in this process; ``data_parallel.py`` does the same in several.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from numpylm.data.batches import Batch
from numpylm.optim.clipping import clip_factor, global_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import Array, view
from numpylm.tasks.task import Task
from numpylm.training.stopping import TrainingDiverged

STREAM = 102  # keeps the random numbers of dropout apart from those of other purposes


class Step(NamedTuple):
    """What an update has seen."""

    batches: list[Batch]
    loss: float
    gradient_norm: float  # before clipping


def training_loop(
    model: OneProcess,
    batches: Callable[[int], list[Batch]],
    learning_rate: Callable[[int], float],
    steps: Iterable[int],
    clip: float | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Yield each update after it was made; batches and rate are asked for when their step begins.

    ``batches(step)`` are those whose gradients make one update, ``clip`` is the longest gradient
    that passes unshortened, and ``seed`` (with the step) seeds dropout.

    Raises ``TrainingDiverged``, and changes nothing, if a loss or the norm of its gradient is no
    finite number.
    """
    for step in steps:
        batch = batches(step)
        loss, _ = model.gradient(batch, seed=[seed, step])  # forward and backward
        norm = model.norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(f"loss {loss} and gradient norm {norm} at step {step}")
        model.update(learning_rate(step), scale=clip_factor(norm, clip))
        yield Step(batch, loss, norm)


def loss_and_gradient(
    pair: tuple[Callable[..., Any], Callable[..., Any]],
    p: Any,
    dp: Any,
    batches: Iterable[Batch],
    **settings: Any,
) -> float:
    """The loss of the batches over their common ``normalizer``; adds its gradient into dp."""
    forward, backward = pair
    total = 0.0
    for batch in batches:
        loss, cache = forward(p, **batch, **settings)
        backward(p, dp, np.float32(1.0), cache)
        total += float(loss)
    return total


class OneProcess:
    """A model in training: its loss, its gradient, its updates, all in this process.

    ``pair`` is an objective's, such as ``causal_lm_forward`` and ``causal_lm_backward``;
    ``count(batch)`` is what a batch's loss is divided by: a number, or an array if it has several
    parts; without it an update has one batch, whose loss is the objective's own mean. ``training``
    holds settings of training alone, such as label smoothing; other ``settings`` go to the forward.
    The ``optimizer`` updates theta. The gradient of ``frozen`` parameters, booleans (N,), is 0.
    """

    def __init__(
        self,
        pair: tuple[Callable[..., Any], Callable[..., Any]],
        theta: Array,
        p: Any,
        count: Callable[[Batch], Any] | None = None,
        *,
        training: dict[str, Any] | None = None,
        optimizer: Optimizer | None = None,
        frozen: Array | None = None,
        **settings: Any,
    ) -> None:
        self.pair, self.p, self.count, self.settings = pair, p, count, settings
        self.training: dict[str, Any] = training or {}
        self.optimizer: Any = optimizer
        self.frozen, self.norm = frozen, math.nan
        self.grad = np.zeros_like(theta)
        self.dp = view(p, self.grad)

    @classmethod
    def of(cls, task: Task, theta: Array, p: Any, **training: Any) -> Self:
        """The model of a task; ``training`` are an optimizer and what is frozen."""
        return cls(
            task.functions, theta, p, task.count,
            training=task.training_settings(), config=task.model, **training,
        )  # fmt: skip

    def gradient(self, batches: list[Batch], seed: list[int]) -> tuple[float, Array]:
        """(loss, ∂loss/∂θ) of batches, as of one large batch; ``norm`` is then its norm.

        ``seed`` seeds dropout. The returned vector is reused.
        """
        self.grad[:] = 0.0
        loss = loss_and_gradient(
            self.pair, self.p, self.dp, batches, normalizer=self.normalizer(batches),
            rng=np.random.default_rng([STREAM, *seed, 0]), **self.training, **self.settings,
        )  # fmt: skip
        if self.frozen is not None:
            self.grad[self.frozen] = 0.0
        self.norm = global_norm(self.grad)
        return loss, self.grad

    def normalizer(self, batches: list[Batch]) -> Any:
        """What the sum of the batches' losses is divided by; None is the objective's own count.

        Raises ``ValueError`` for several batches without a ``count``.
        """
        if self.count is not None:
            return sum(map(self.count, batches))
        if len(batches) > 1:
            raise ValueError(
                f"{len(batches)} batches in one update need count(batch), the weight of each"
            )
        return None

    def update(self, lr: float, scale: float = 1.0) -> None:
        """A step of the optimiser with scale · the gradient that was just computed."""
        self.optimizer.update(self.grad, lr, scale)

    def losses(self, batches: list[Batch], normalizer: Any) -> list[float]:
        """The loss of each batch over a common normalizer, without dropout."""
        forward, _ = self.pair

        def loss(batch: Batch) -> float:
            return float(forward(self.p, **batch, normalizer=normalizer, **self.settings)[0])

        return self.run(loss, batches)

    def run(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list:
        """[f(item) for item in items]."""
        return [f(item) for item in items]

    def processor_seconds(self) -> float:
        """What this work has taken of processors so far."""
        return time.process_time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to end."""
