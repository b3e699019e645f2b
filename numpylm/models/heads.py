"""A pre-trained encoder with a new, small output layer for a downstream task.

    sequence classification    logits = pooled W + b,  pooled = tanh(h[:, 0] W_p + b_p)    (B, C)
    token labelling            logits = h W + b                                         (B, T, C)
    extractive answering       the same with C = 2: scores of being the first and the last token

The trunk is BERT without its pre-training heads. Source: Devlin et al. 2019, arXiv:1810.04805, §4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.models.bert import (
    BERT,
    BERTCache,
    BERTConfig,
    PoolerCache,
    bert_backward,
    bert_forward,
    bert_init,
    pooler_backward,
    pooler_forward,
)
from numpylm.models.config import require_positive
from numpylm.parameters import Array, pack


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(BERTConfig):
    """The trunk's shape, the number of classes, and whether the whole sequence has one class."""

    n_labels: int
    pooled: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "n_labels")
        super().__post_init__()


@dataclass
class Classifier:
    trunk: BERT
    head: Linear  # (D, n_labels)


class ClassifierCache(NamedTuple):
    trunk: BERTCache
    pooler: PoolerCache | None
    dropout: Array | None
    head: Array


def classifier_init(seed: int, config: ClassifierConfig) -> tuple[Array, Classifier]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    _, trunk = bert_init(seed, config)
    pooler = trunk.pooler if config.pooled else None
    trunk = BERT(trunk.embedding, trunk.encoder, pooler, None, None)
    head = linear_init(np.random.default_rng([seed, 1]), config.d_model, config.n_labels, std=0.02)
    return pack(Classifier(trunk, head))


def classifier_forward(
    p: Classifier,
    ids: Array,
    segments: Array | None = None,
    *,
    config: ClassifierConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, ClassifierCache]:
    """Logits (B, C) if config.pooled, else (B, T, C), of integer ids (B, T) that begin with [CLS].

    segments (B, T) and mask (B, T) as in ``bert_forward``.
    """
    x, c_trunk = bert_forward(p.trunk, ids, segments, config=config, mask=mask, rng=rng)
    c_pooler = None
    if config.pooled:
        x, c_pooler = pooler_forward(p.trunk.pooler, x)
    x, c_dropout = dropout_forward(x, rate=config.dropout, rng=rng)
    logits, c_head = linear_forward(p.head, x)
    return logits, ClassifierCache(c_trunk, c_pooler, c_dropout, c_head)


def classifier_backward(
    p: Classifier, dp: Classifier, dlogits: Array, cache: ClassifierCache
) -> None:
    """The forward read upwards."""
    dx = linear_backward(p.head, dp.head, dlogits, cache.head)
    dx = dropout_backward(dx, cache.dropout)
    if cache.pooler is not None:
        dx = pooler_backward(p.trunk.pooler, dp.trunk.pooler, dx, cache.pooler)
    bert_backward(p.trunk, dp.trunk, dx, cache.trunk)
