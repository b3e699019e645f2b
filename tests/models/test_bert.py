"""§2.2 BERT: segments, [CLS], pooler, and both losses reach the shared trunk."""

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.bert import (
    BERTConfig,
    bert_forward,
    bert_init,
    masked_head_forward,
    pooler_forward,
)
from numpylm.objectives.masked import masked_lm_backward, masked_lm_forward
from numpylm.objectives.next_sentence import next_sentence_backward, next_sentence_forward
from numpylm.parameters import leaves, view

CONFIG = BERTConfig(
    vocab_size=11, context=9, n_layers=2, n_heads=2, d_model=8, d_ff=10, dropout=0.0
)
IDS = np.array([[1, 4, 7, 4, 2], [1, 5, 3, 2, 0]])
SEGMENTS = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]])


@pytest.fixture
def p():
    return jittered(bert_init(0, CONFIG)[1], 1, size=0.3)[1]


def test_missing_segments_are_segment_zero(p):
    y, _ = bert_forward(p, IDS, config=CONFIG)
    same, _ = bert_forward(p, IDS, np.zeros_like(IDS), config=CONFIG)
    other, _ = bert_forward(p, IDS, SEGMENTS, config=CONFIG)
    np.testing.assert_array_equal(y, same)
    assert (y != other).any()


def test_the_pooler_reads_cls_alone(p):
    h = np.random.default_rng(0).standard_normal((2, 5, 8))
    pooled, _ = pooler_forward(p.pooler, h)
    np.testing.assert_allclose(pooled, np.tanh(h[:, 0] @ p.pooler.weight + p.pooler.bias))


def test_the_masked_head_is_tied_to_the_tokens(p):
    h = np.random.default_rng(0).standard_normal((3, 8))
    before, _ = masked_head_forward(p, h)
    p.embedding.tokens.weight[6] += 1.0
    after, _ = masked_head_forward(p, h)
    assert np.flatnonzero((before != after).any(axis=0)).tolist() == [6]


@pytest.mark.parametrize("loss", ["masked", "next"])
def test_each_loss_alone_reaches_the_trunk(p, loss):
    """In a public BERT neither reached the embeddings (tokens, positions, segments)."""
    dp = view(p, np.zeros(sum(a.size for _, a in leaves(p))))
    if loss == "masked":
        targets = np.where(IDS == 4, 4, -1)
        _, cache = masked_lm_forward(p, IDS, targets, config=CONFIG, segments=SEGMENTS)
        masked_lm_backward(p, dp, 1.0, cache)
    else:
        labels = np.array([0, 1])
        _, cache = next_sentence_forward(p, IDS, SEGMENTS, labels, config=CONFIG)
        next_sentence_backward(p, dp, 1.0, cache)
    for name, gradient in leaves(dp):
        if name.startswith(("embedding", "encoder")) and not name.endswith("key.bias"):
            assert np.abs(gradient).max() > 1e-6, name


def test_what_does_not_fit_is_named(p):
    with pytest.raises(ValueError, match=r"length ≤ context 9"):
        bert_forward(p, np.zeros((1, 10), np.int64), config=CONFIG)
    with pytest.raises(ValueError, match="token ids span 0 to 2, the vocabulary has 2"):
        bert_forward(p, IDS, 2 * SEGMENTS, config=CONFIG)
    with pytest.raises(ValueError, match="n_segments is 0"):
        BERTConfig(vocab_size=3, n_segments=0)
