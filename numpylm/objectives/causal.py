"""Causal language modelling: predict each token from those before it.

    loss = −(1 / n) Σ_t log P(x_{t+1} | x_1 … x_t)      nats per token; perplexity = exp(loss)

The chain rule makes n times this the exact −log probability of the text after its first token, so
a model that minimises it learns the distribution of the language. The targets are the ids shifted
by one, which the data loader does: the target of position t is the token at t + 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.cross_entropy import CROSS_ENTROPY, IGNORE
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.parameters import Array


class CausalLMCache(NamedTuple):
    model: Any
    loss: Any
    kind: type  # of the model's configuration
    implementation: str  # which backward belongs to it


def causal_lm_forward(
    p: Any,
    ids: Array,
    targets: Array,
    *,
    config: Any,
    ignore_index: int = IGNORE,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, CausalLMCache]:
    """The loss (a scalar, nats per token) of predicting targets (B, T) from ids (B, T).

    The configuration says which model p is (``LANGUAGE_MODELS``).

    ``normalizer`` replaces the number of targets (see ``cross_entropy_forward``); ``rng`` turns
    dropout on.
    """
    model_forward, _ = LANGUAGE_MODELS[type(config)]
    logits, c_model = model_forward(p, ids, config=config, mask=mask, rng=rng)
    cross_entropy_forward, _ = CROSS_ENTROPY[config.implementation]
    loss, c_loss = cross_entropy_forward(
        logits, targets, ignore_index=ignore_index, normalizer=normalizer
    )
    return loss, CausalLMCache(c_model, c_loss, type(config), config.implementation)


def causal_lm_backward(p: Any, dp: Any, dloss: Array, cache: CausalLMCache) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    _, cross_entropy_backward = CROSS_ENTROPY[cache.implementation]
    dlogits = cross_entropy_backward(dloss, cache.loss)
    _, model_backward = LANGUAGE_MODELS[cache.kind]
    model_backward(p, dp, dlogits, cache.model)
