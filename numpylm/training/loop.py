"""§5.3 The training loop: batch, forward, backward, clip, update.

    L, g     of a batch: forward and backward
    g        ← g · min(1, c / ‖g‖)             clipped
    θ        ← optimiser(θ, g, η(step))        updated

Everything that trains goes through it: a run, the measurement of its speed and cost, a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from numpylm.data.batches import Batch
from numpylm.optim.clipping import clip_factor
from numpylm.training.one_process import OneProcess
from numpylm.training.stopping import TrainingDiverged


class Step(NamedTuple):
    """What an update has seen."""

    batches: list[Batch]
    loss: float
    gradient_norm: float  # before clipping


def training_loop(
    model: OneProcess,
    batches: Callable[[int], list[Batch]],
    learning_rate: Callable[[int], float],
    *,
    steps: Iterable[int],
    clip: float | None,
    seed: int,
) -> Iterator[Step]:
    """Yield each update after it was made; batches and rate are asked for when their step begins.

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
