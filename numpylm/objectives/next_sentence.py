"""Next-sentence prediction: does B follow A in the text, or is it from another document?

    [CLS] A [SEP] B [SEP]        segments 0 0 … 0 1 … 1
    loss = −(1 / B) Σ log P(is_next | pooled [CLS])          nats per pair

Half of the pairs are real neighbours, the others take B from another document, so the model has to
learn what belongs together. BERT trains the sum of this and of the masked tokens.
Source: Devlin et al. 2019, arXiv:1810.04805, §3.1 (task 2) and appendix A.1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numpylm.layers.cross_entropy import (
    CrossEntropyCache,
    cross_entropy_backward,
    cross_entropy_forward,
)
from numpylm.layers.linear import linear_backward, linear_forward
from numpylm.models.bert import (
    BERT,
    BERTCache,
    BERTConfig,
    PoolerCache,
    bert_backward,
    bert_forward,
    pooler_backward,
    pooler_forward,
)
from numpylm.objectives.masked import (
    MaskedLossCache,
    masked_loss_backward,
    masked_loss_forward,
)
from numpylm.parameters import Array


class PairLossCache(NamedTuple):
    pooler: PoolerCache
    linear: Array
    loss: CrossEntropyCache


class NextSentenceCache(NamedTuple):
    model: BERTCache
    pair: PairLossCache


class BERTPretrainingCache(NamedTuple):
    model: BERTCache
    masked: MaskedLossCache
    pair: PairLossCache


def next_sentence_forward(
    p: BERT,
    ids: Array,
    segments: Array,
    labels: Array,
    *,
    config: BERTConfig,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, NextSentenceCache]:
    """The loss (a scalar, nats per pair); ids and segments (B, T), labels (B,), 1 = B follows A."""
    h, c_model = bert_forward(p, ids, segments, config=config, mask=mask, rng=rng)
    loss, c_head = pair_loss_forward(p, h, labels, normalizer=normalizer)
    return loss, NextSentenceCache(c_model, c_head)


def next_sentence_backward(p: BERT, dp: BERT, dloss: Array, cache: NextSentenceCache) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    dh = pair_loss_backward(p, dp, dloss, cache.pair)
    bert_backward(p, dp, dh, cache.model)


def bert_pretraining_forward(
    p: BERT,
    ids: Array,
    segments: Array,
    targets: Array,
    labels: Array,
    *,
    config: BERTConfig,
    normalizer: Array | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, BERTPretrainingCache]:
    """Masked-token loss plus next-sentence loss of the same forward pass, as BERT trains.

    ``normalizer`` (2,) replaces the numbers of masked tokens and of pairs.
    """
    n_masked, n_pairs = (None, None) if normalizer is None else normalizer
    h, c_model = bert_forward(p, ids, segments, config=config, mask=mask, rng=rng)
    masked, c_masked = masked_loss_forward(p, h, targets, normalizer=n_masked)
    pair, c_pair = pair_loss_forward(p, h, labels, normalizer=n_pairs)
    return masked + pair, BERTPretrainingCache(c_model, c_masked, c_pair)


def bert_pretraining_backward(p: BERT, dp: BERT, dloss: Array, cache: BERTPretrainingCache) -> None:
    """Both heads read h, so its gradient is their sum."""
    dh = masked_loss_backward(p, dp, dloss, cache.masked)
    dh = dh + pair_loss_backward(p, dp, dloss, cache.pair)
    bert_backward(p, dp, dh, cache.model)


def pair_loss_forward(
    p: BERT, h: Array, labels: Array, *, normalizer: float | None = None
) -> tuple[Array, PairLossCache]:
    """The loss of labels (B,) on hidden vectors h (B, T, D)."""
    pooled, c_pooler = pooler_forward(p.pooler, h)
    logits, c_linear = linear_forward(p.next_sentence_head, pooled)
    loss, c_loss = cross_entropy_forward(logits, labels, normalizer=normalizer)
    return loss, PairLossCache(c_pooler, c_linear, c_loss)


def pair_loss_backward(p: BERT, dp: BERT, dloss: Array, cache: PairLossCache) -> Array:
    """Returns dh, zero but at [CLS]."""
    dlogits = cross_entropy_backward(dloss, cache.loss)
    dpooled = linear_backward(p.next_sentence_head, dp.next_sentence_head, dlogits, cache.linear)
    return pooler_backward(p.pooler, dp.pooler, dpooled, cache.pooler)
