"""In blocks as at once: loss and gradient of the plain cross-entropy, and no third array."""

import tracemalloc

import numpy as np
import pytest

from numpylm.fast import cross_entropy as module
from numpylm.fast.cross_entropy import (
    blocked_cross_entropy_backward,
    blocked_cross_entropy_forward,
)
from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward


def example(rng, rows=23, vocab_size=11, ignored=0.3):
    logits = 3 * rng.standard_normal((1, rows, vocab_size))
    targets = rng.integers(0, vocab_size, (1, rows))
    targets[rng.random((1, rows)) < ignored] = IGNORE
    return logits, targets


@pytest.mark.parametrize("rows_of_a_block", [1, 4, 23, 100])
@pytest.mark.parametrize("normalizer", [None, 40.0])
@pytest.mark.parametrize("dloss", [1.0, -0.7])
def test_what_the_plain_form_gives(rng, monkeypatch, rows_of_a_block, normalizer, dloss):
    monkeypatch.setattr(module, "BLOCK", 11 * rows_of_a_block)
    logits, targets = example(rng)
    before = logits.copy()
    loss, cache = cross_entropy_forward(logits, targets, normalizer=normalizer)
    found, gradient = blocked_cross_entropy_forward(logits, targets, normalizer=normalizer)
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_allclose(found, loss, rtol=1e-13)
    np.testing.assert_allclose(
        blocked_cross_entropy_backward(dloss, gradient),
        cross_entropy_backward(dloss, cache),
        rtol=1e-12,
        atol=1e-15,
    )


def test_in_training_nothing_is_copied(rng):
    logits, targets = example(rng, rows=500, vocab_size=999)
    tracemalloc.start()
    _, cache = blocked_cross_entropy_forward(logits, targets, overwrite=True)
    dlogits = blocked_cross_entropy_backward(np.float32(1.0), cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.shares_memory(dlogits, logits)
    assert peak < 0.5 * logits.nbytes  # the plain pair takes two more arrays


def test_large_logits_overflow_nowhere():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], np.float32)
    loss, cache = blocked_cross_entropy_forward(logits, np.array([1, 2]))
    assert loss == pytest.approx((2e4 + np.log(3)) / 2, rel=1e-6)
    np.testing.assert_allclose(cache.sum(axis=-1), 0, atol=1e-7)


def test_what_cannot_be_is_refused(rng):
    logits, targets = example(rng, ignored=1.0)
    with pytest.raises(ValueError, match="no token to predict"):
        blocked_cross_entropy_forward(logits, targets)
    with pytest.raises(ValueError, match="targets span 11 to 11, the vocabulary has 11"):
        blocked_cross_entropy_forward(logits, np.full_like(targets, 11))
    with pytest.raises(ValueError, match="do not match"):
        blocked_cross_entropy_forward(logits, targets[:, :-1])
