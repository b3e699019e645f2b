"""The learning rate η(t) of update t = 0, 1, … : linear warm-up, then one of four courses.

    warm-up     η (t + 1) / (warmup + 1)                                   while t < warmup
    constant    η
    cosine      η_min + ½ (η − η_min) (1 + cos(π (t − warmup) / (steps − warmup)))
    step        η · decay_factor^⌊(t − warmup) / decay_every⌋
    plateau     η · decay_factor^(evaluations so far that were no better than the best before)

Source: Loshchilov & Hutter 2017, arXiv:1608.03983, Eq. 5 (cosine); Goyal et al. 2017 (warm-up).
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def learning_rate(
    step: int,
    *,
    schedule: str,
    lr: float,
    steps: int,
    warmup: int = 0,
    min_lr: float = 0.0,
    decay_every: int = 1,
    decay_factor: float = 1.0,
    val_losses: Sequence[float] = (),
) -> float:
    """η(step) for update number ``step``, which counts from 0; lr is η, min_lr η_min.

    ``schedule`` is "constant", "cosine", "step" or "plateau"; ``val_losses`` are those so far, for
    "plateau". The settings of a run give all of it by themselves: ``TrainConfig.learning_rate``.
    """
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    after = step - warmup
    if schedule == "cosine":
        share = min(after / max(steps - warmup, 1), 1.0)
        half_range = 0.5 * (lr - min_lr)
        return min_lr + half_range * (1.0 + math.cos(math.pi * share))
    if schedule == "step":
        return lr * decay_factor ** (after // decay_every)
    if schedule == "plateau":
        return lr * decay_factor ** plateau(val_losses)["plateaus"]
    return lr


def plateau(val_losses: Sequence[float]) -> dict[str, float]:
    """All that "plateau" needs of the losses so far: how many there are, the best, and
    ``plateaus``, how many were no better than the best before them.
    """
    worse = sum(loss >= min(val_losses[:i]) for i, loss in enumerate(val_losses) if i)
    best = min(val_losses, default=0.0)
    return {"evaluations": len(val_losses), "best_val_loss": best, "plateaus": worse}
