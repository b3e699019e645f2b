"""§2.3 The floors of masked language modelling against counts done by hand."""

import numpy as np
import pytest

from numpylm.baselines.neighbours import NeighbourModel, masked_baselines


def test_the_best_token_between_two_others_by_hand():
    """1 2 3 1 2 4 1 5 3: after 1 come 2 (twice) and 5; before 3 come 2 and 5."""
    model = NeighbourModel(np.array([1, 2, 3, 1, 2, 4, 1, 5, 3]), k=0.01)
    # c(1,2)(c(2,3)+k)/c(2) = 2 · 1.01 / 2 = 1.01; c(1,5)(c(5,3)+k)/c(5) = 1 · 1.01 / 1 = 1.01
    assert model.guess(1, 3) == 2
    # right 4: 2 · 1.01 / 2 against 1 · 0.01 / 1
    assert model.guess(1, 4) == 2
    # right 9 was never seen: 2 · 0.01 / 2 against 1 · 0.01 / 1, a tie that the first met wins
    assert model.guess(1, 9) == 2
    # left 9 was never seen: the most frequent before 1 are 3 and 4, once each
    assert model.guess(9, 1) == 3
    # neither: the unigram
    assert model.guess(9, 9) == 1
    # nothing follows 3 but 1
    assert model.guess(3, 4) == 1


def test_rare_tokens_win_by_what_follows_them():
    """After 0: 1 three times, 2 once; before 3: only 2."""
    model = NeighbourModel(np.array([0, 1, 4, 0, 1, 4, 0, 1, 4, 0, 2, 3]))
    assert model.guess(0, 3) == 2  # 1 · 1.01 / 1 against 3 · 0.01 / 3
    assert model.guess(0, 4) == 1


def test_a_guess_equals_the_formula_over_all_tokens(rng):
    stream = rng.integers(0, 6, 400)
    model = NeighbourModel(stream, k=0.5)
    pairs = np.zeros((6, 6))
    np.add.at(pairs, (stream[:-1], stream[1:]), 1.0)
    counts = np.bincount(stream, minlength=6)
    for left in range(6):
        for right in range(6):
            scores = pairs[left] * (pairs[:, right] + 0.5) / counts
            assert scores[model.guess(left, right)] == pytest.approx(scores.max())


def test_accuracies_are_over_the_masked_tokens_alone():
    stream = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 2])
    mask = 9
    corrupted = np.array([[0, mask, 2, 0], [mask, 1, 2, mask]])
    targets = np.array([[-1, 1, -1, -1], [0, -1, -1, 2]])
    found = masked_baselines(stream, corrupted, targets, -1)
    # unigram is 2: right once of three. Neighbours: (0, 2) -> 1; (start, 1) -> 0; (2, end) -> after
    # 2 come 0 (twice) and 2: 2 · k / 3 for 0, 1 · k / 4 for 2 -> 0, which is wrong
    assert found == {"unigram": pytest.approx(1 / 3), "neighbours": pytest.approx(2 / 3)}
