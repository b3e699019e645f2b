"""§2.3 Next sentence: BERT's loss is the sum of its two, and a toy task is learned."""

import numpy as np
import pytest

from numpylm.models.bert import BERTConfig, bert_init
from numpylm.objectives.masked import masked_lm_forward
from numpylm.objectives.next_sentence import (
    bert_pretraining_backward,
    bert_pretraining_forward,
    next_sentence_forward,
)
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import view

CONFIG = BERTConfig(
    vocab_size=20, context=8, n_layers=1, n_heads=2, d_model=16, d_ff=32, dropout=0.0, norm="pre"
)


def pairs(rng, count):
    """[CLS] a a [SEP] b b [SEP]: the label says whether a and b are the same half of the words."""
    first, second = rng.integers(0, 2, (2, count))
    a = 4 + 8 * first[:, None] + rng.integers(0, 8, (count, 2))
    b = 4 + 8 * second[:, None] + rng.integers(0, 8, (count, 2))
    cls, sep = np.full((count, 1), 1), np.full((count, 1), 2)
    ids = np.concatenate([cls, a, sep, b, sep], axis=1)
    segments = np.broadcast_to([0, 0, 0, 0, 1, 1, 1], ids.shape)
    targets = np.full(ids.shape, -1)
    targets[:, 1] = ids[:, 1]
    corrupted = ids.copy()
    corrupted[:, 1] = 3
    return corrupted, segments, targets, (first == second).astype(np.int64)


def test_the_sum_of_both_losses(rng):
    _, p = bert_init(0, CONFIG)
    ids, segments, targets, labels = pairs(rng, 6)
    both, _ = bert_pretraining_forward(p, ids, segments, targets, labels, config=CONFIG)
    masked, _ = masked_lm_forward(p, ids, targets, segments=segments, config=CONFIG)
    pair, _ = next_sentence_forward(p, ids, segments, labels, config=CONFIG)
    assert both == pytest.approx(masked + pair, rel=1e-6)
    assert pair == pytest.approx(np.log(2), rel=0.05)
    assert masked == pytest.approx(np.log(20), rel=0.05)


def test_what_belongs_together_can_be_learned(rng):
    theta, p = bert_init(0, CONFIG)
    gradient = np.zeros_like(theta)
    dp, optimizer = view(p, gradient), Optimizer("adam", theta, None)
    for _ in range(600):  # the first half is a plateau: neither sentence tells alone
        gradient[...] = 0.0
        _, cache = bert_pretraining_forward(p, *pairs(rng, 32), config=CONFIG)
        bert_pretraining_backward(p, dp, np.float32(1.0), cache)
        optimizer.update(gradient, lr=3e-3)
    ids, segments, targets, labels = pairs(rng, 200)
    pair, _ = next_sentence_forward(p, ids, segments, labels, config=CONFIG)
    masked, _ = masked_lm_forward(p, ids, targets, segments=segments, config=CONFIG)
    assert pair < 0.2  # of ln 2 = 0.69
    assert masked == pytest.approx(np.log(8), abs=0.15)  # the half is known, the word is not
