"""§2.3 Masked tokens: the proportions of BERT, drawn anew, never a special token."""

import numpy as np
import pytest

from numpylm.objectives.masked import mask_tokens

ORDINARY = np.arange(5, 100)  # 0 to 4 are special: padding, [CLS], [SEP], [MASK], [UNK]
MASK = 3


@pytest.fixture
def ids(rng):
    ids = rng.integers(5, 100, (500, 80))
    ids[:, 0], ids[:, 40], ids[:, 70:] = 1, 2, 0
    return ids


def test_the_drawn_proportions(ids, rng):
    corrupted, targets = mask_tokens(ids, rng, mask_id=MASK, ordinary=ORDINARY)
    chosen = targets >= 0
    ordinary = ids >= 5
    assert not chosen[~ordinary].any()
    np.testing.assert_array_equal(targets[chosen], ids[chosen])
    np.testing.assert_array_equal(corrupted[~chosen], ids[~chosen])
    assert chosen.sum() / ordinary.sum() == pytest.approx(0.15, abs=0.006)
    masked = corrupted[chosen] == MASK
    kept = corrupted[chosen] == ids[chosen]
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    assert kept.mean() == pytest.approx(0.1 + 0.1 / len(ORDINARY), abs=0.015)
    replaced = corrupted[chosen][~masked & ~kept]
    assert np.isin(replaced, ORDINARY).all()
    assert len(np.unique(replaced)) > 80


def test_another_draw_each_time_the_same_for_a_seed(ids):
    def draw(seed):
        return mask_tokens(ids, np.random.default_rng(seed), mask_id=MASK, ordinary=ORDINARY)

    np.testing.assert_array_equal(draw(1)[0], draw(1)[0])
    assert (draw(1)[1] != draw(2)[1]).any()


def test_whole_words_are_chosen_together(ids, rng):
    starts = rng.random(ids.shape) < 0.5
    starts[:, 0] = True
    _, targets = mask_tokens(ids, rng, mask_id=MASK, ordinary=ORDINARY, word_starts=starts)
    words = np.cumsum(starts, axis=1)
    chosen, ordinary = targets >= 0, ids >= 5
    for row in range(len(ids)):
        for word in range(1, words[row].max() + 1):
            part = (words[row] == word) & ordinary[row]
            assert chosen[row, part].all() or not chosen[row, part].any()
    assert chosen.sum() / ordinary.sum() == pytest.approx(0.15, abs=0.01)


def test_at_least_one_token_is_chosen(rng):
    ids = np.array([[1, 7, 2]])
    for _ in range(50):
        _, targets = mask_tokens(ids, rng, mask_id=MASK, ordinary=ORDINARY, rate=0.01)
        assert targets.tolist() == [[-1, 7, -1]]
    _, targets = mask_tokens(np.array([[1, 2]]), rng, mask_id=MASK, ordinary=ORDINARY)
    assert (targets == -1).all()


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_a_rate_must_be_a_share(ids, rng, rate):
    with pytest.raises(ValueError, match=r"is not in \(0, 1\]"):
        mask_tokens(ids, rng, mask_id=MASK, ordinary=ORDINARY, rate=rate)
