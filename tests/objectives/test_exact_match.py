"""§6.6 The probability of a whole answer against a loop, and where its gradient vanishes."""

import math

import numpy as np
import pytest

from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward
from numpylm.objectives.exact_match import exact_match_backward, exact_match_forward


def test_it_is_the_product_of_the_probabilities(rng):
    logits, targets = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    targets[1, :2] = IGNORE
    targets[2] = IGNORE  # an answer of no token is right
    wanted = []
    for row, answer in zip(logits, targets, strict=True):
        right = 1.0
        for z, y in zip(row, answer, strict=True):
            right *= 1.0 if y == IGNORE else math.exp(z[y]) / sum(math.exp(v) for v in z)
        wanted.append(right)
    assert wanted[2] == 1.0
    assert exact_match_forward(logits, targets)[0] == pytest.approx(1 - np.mean(wanted))


def test_an_answer_of_one_token_is_its_probability(rng):
    logits, targets = rng.standard_normal((1, 1, 5)), np.array([[2]])
    surprise, _ = cross_entropy_forward(logits, targets)
    assert exact_match_forward(logits, targets)[0] == pytest.approx(1 - math.exp(-surprise))


def test_its_gradient_is_that_of_the_loss_times_the_probability(rng):
    logits, targets = rng.standard_normal((1, 6, 5)), rng.integers(0, 5, (1, 6))
    loss, c_loss = cross_entropy_forward(logits, targets)
    wrong, c_wrong = exact_match_forward(logits, targets)
    summed = cross_entropy_backward(np.ones(()), c_loss) * targets.size
    assert np.allclose(exact_match_backward(np.ones(()), c_wrong), (1 - wrong) * summed)
    assert 1 - wrong == pytest.approx(math.exp(-6 * loss))


def test_float32_stays_and_bad_targets_are_named(rng):
    logits = rng.standard_normal((2, 3, 5)).astype(np.float32)
    loss, cache = exact_match_forward(logits, np.zeros((2, 3), int))
    assert loss.dtype == exact_match_backward(loss, cache).dtype == np.float32
    with pytest.raises(ValueError, match="targets span 0 to 5, the vocabulary has 5"):
        exact_match_forward(logits, np.array([[0, 1, 5], [0, 0, 0]]))
    with pytest.raises(ValueError, match="do not match logits"):
        exact_match_forward(logits, np.zeros((2, 4), int))
    with pytest.raises(ValueError, match="no token to predict"):
        exact_match_forward(logits, np.full((2, 3), IGNORE))
