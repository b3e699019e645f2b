"""§3.3 The losses of the downstream tasks on an encoder (``models/heads.py``).

    classification    −(1 / B) Σ log P(label | text)                              nats per text
    labelling         −(1 / n) Σ log P(label_t | words)                           nats per word
    answering         −(1 / 2B) Σ [log P(start | …) + log P(end | …)]             nats per end

In answering the softmax runs over the positions of the story: an answer cannot be in the question.
Source: Devlin et al. 2019, arXiv:1810.04805, §4.1 to §4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numpylm.layers.cross_entropy import (
    CrossEntropyCache,
    cross_entropy_backward,
    cross_entropy_forward,
)
from numpylm.models.heads import (
    Classifier,
    ClassifierCache,
    ClassifierConfig,
    classifier_backward,
    classifier_forward,
)
from numpylm.parameters import Array


class HeadLossCache(NamedTuple):
    model: ClassifierCache
    loss: CrossEntropyCache


def classification_forward(
    p: Classifier,
    ids: Array,
    labels: Array,
    *,
    config: ClassifierConfig,
    segments: Array | None = None,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, HeadLossCache]:
    """The loss (a scalar) of labels (B,) for a pooled model, (B, T) for one that labels tokens.

    Positions with the label −1 are not counted.
    """
    logits, c_model = classifier_forward(p, ids, segments, config=config, mask=mask, rng=rng)
    loss, c_loss = cross_entropy_forward(logits, labels, normalizer=normalizer)
    return loss, HeadLossCache(c_model, c_loss)


def classification_backward(
    p: Classifier, dp: Classifier, dloss: Array, cache: HeadLossCache
) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    classifier_backward(p, dp, cross_entropy_backward(dloss, cache.loss), cache.model)


def span_logits(logits: Array, story: Array) -> Array:
    """(B, T, 2) -> (B, 2, T): start and end scores, −∞ outside the story, (B, T) booleans."""
    return np.where(story[:, None], logits.swapaxes(1, 2), -np.inf).astype(logits.dtype)


def answering_forward(
    p: Classifier,
    ids: Array,
    spans: Array,
    story: Array,
    *,
    config: ClassifierConfig,
    segments: Array | None = None,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, HeadLossCache]:
    """The loss (a scalar) of spans (B, 2), the positions of the first and the last token.

    story (B, T) is True where an answer may be; every row needs such a position.
    """
    logits, c_model = classifier_forward(p, ids, segments, config=config, mask=mask, rng=rng)
    loss, c_loss = cross_entropy_forward(span_logits(logits, story), spans, normalizer=normalizer)
    return loss, HeadLossCache(c_model, c_loss)


def answering_backward(p: Classifier, dp: Classifier, dloss: Array, cache: HeadLossCache) -> None:
    """Adds dloss · ∂loss/∂θ into dp. Outside the story the probability, so the gradient, is 0."""
    dlogits = cross_entropy_backward(dloss, cache.loss).swapaxes(1, 2)
    classifier_backward(p, dp, dlogits, cache.model)
