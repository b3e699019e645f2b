"""Causal language modelling: predict each token from those before it.

    loss = −(1 / n) Σ_t log P(x_{t+1} | x_1 … x_t)      nats per token; perplexity = exp(loss)

The chain rule makes n times this the exact −log probability of the text after its first token, so
a model that minimises it learns the distribution of the language. The targets are the ids shifted
by one, which the data loader does: the target of position t is the token at t + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from numpylm.layers.blocked_cross_entropy import (
    blocked_cross_entropy_backward,
    blocked_cross_entropy_forward,
)
from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward
from numpylm.models.gpt import GPT, GPTConfig, gpt_backward, gpt_forward
from numpylm.parameters import Array

BLOCKED_FROM = 1 << 18  # logits; fewer stay near the processor as they are


def causal_lm_forward(
    p: GPT,
    ids: Array,
    targets: Array,
    *,
    config: GPTConfig,
    ignore_index: int = IGNORE,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
    blocked_from: int = BLOCKED_FROM,
) -> tuple[Array, tuple]:
    """The loss (a scalar, nats per token) of predicting targets (B, T) from ids (B, T).

    ``normalizer`` replaces the number of targets (see ``cross_entropy_forward``); ``rng`` turns
    dropout on. From ``blocked_from`` logits on, the loss is computed block by block and in their
    memory.
    """
    logits, c_model = gpt_forward(p, ids, config=config, mask=mask, rng=rng)
    blocked = logits.size >= blocked_from
    loss_forward: Callable[..., Any] = cross_entropy_forward
    if blocked:
        loss_forward = partial(blocked_cross_entropy_forward, overwrite=True)
    loss, c_loss = loss_forward(logits, targets, ignore_index=ignore_index, normalizer=normalizer)
    return loss, (c_model, blocked, c_loss)


def causal_lm_backward(p: GPT, dp: GPT, dloss: Array, cache: tuple) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    c_model, blocked, c_loss = cache
    loss_backward = blocked_cross_entropy_backward if blocked else cross_entropy_backward
    dlogits = loss_backward(dloss, c_loss)
    gpt_backward(p, dp, dlogits, c_model)
