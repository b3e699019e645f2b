"""§5.3 The learning rate η(t) of update t = 0, 1, … : linear warm-up, then one of four courses.

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

from numpylm.training.config import TrainConfig


def learning_rate(step: int, config: TrainConfig, val_losses: Sequence[float] = ()) -> float:
    """η for update number ``step``, which counts from 0; ``val_losses`` so far, for "plateau"."""
    if step < config.warmup:
        return config.lr * (step + 1) / (config.warmup + 1)
    after = step - config.warmup
    if config.schedule == "cosine":
        share = min(after / max(config.steps - config.warmup, 1), 1.0)
        half_range = 0.5 * (config.lr - config.min_lr)
        return config.min_lr + half_range * (1.0 + math.cos(math.pi * share))
    if config.schedule == "step":
        return config.lr * config.decay_factor ** (after // config.decay_every)
    if config.schedule == "plateau":
        worse = sum(loss >= min(val_losses[:i]) for i, loss in enumerate(val_losses) if i)
        return config.lr * config.decay_factor**worse
    return config.lr
