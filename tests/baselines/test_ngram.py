"""§1.1 n-gram models: probabilities that sum to one, and the published floors."""

import numpy as np
import pytest

from numpylm.baselines.ngram import ngram_losses, train_ngram

V = 4


def test_add_k_by_hand():
    model = train_ngram(np.array([0, 1, 0, 1, 0, 2]), 2, 3, add_k=1.0)
    # After 0 came 1, 1, 2: P(1 | 0) = (2 + 1) / (3 + 3), P(0 | 0) = 1 / 6.
    np.testing.assert_allclose(model.probabilities(np.array([0, 1])), [3 / 6])
    np.testing.assert_allclose(model.probabilities(np.array([0, 0])), [1 / 6])


def test_witten_bell_by_hand():
    model = train_ngram(np.array([0, 1, 0, 1, 0, 2]), 2, 3)
    unigram = (2 + 3 * (1 / 3)) / (6 + 3)  # 1 occurs twice in six tokens of three kinds
    bigram = (2 + 2 * unigram) / (3 + 2)  # after 0: 1 twice of three, two kinds
    np.testing.assert_allclose(model.probabilities(np.array([0, 1])), [bigram])


def test_an_unseen_history_falls_back():
    model = train_ngram(np.array([0, 1, 0, 1]), 3, 4)
    shorter = train_ngram(np.array([0, 1, 0, 1]), 2, 4)
    stream = np.array([3, 0, 1])  # "3 0" was never seen
    np.testing.assert_allclose(model.probabilities(stream), shorter.probabilities(stream))


def test_a_stream_shorter_than_the_history():
    train, stream = np.array([0, 1, 0, 1]), np.array([0, 1])
    bigram = train_ngram(train, 2, 3).probabilities(stream)
    np.testing.assert_array_equal(train_ngram(train, 4, 3).probabilities(stream), bigram)
    np.testing.assert_allclose(train_ngram(train, 4, 3, add_k=1.0).probabilities(stream), [1 / 3])


def test_more_history_helps_on_text_with_structure():
    rng = np.random.default_rng(0)
    stream = np.cumsum(rng.integers(1, 3, 5000)) % 7  # the next is the last plus 1 or 2
    losses = ngram_losses(stream[:4000], stream[4000:], 7)
    assert losses["unigram"] == pytest.approx(np.log(7), abs=0.01)
    assert losses["bigram"] == pytest.approx(np.log(2), abs=0.02)
    assert losses["trigram"] == pytest.approx(np.log(2), abs=0.05)


def test_published_floors_on_tinyshakespeare(shakespeare):
    """add-0.1 unigram and bigram on nanoGPT's split: 3.3473 and 2.4838 nats per character."""
    symbols = sorted(set(shakespeare))
    assert len(symbols) == 65
    stream = np.searchsorted(symbols, list(shakespeare))
    train, valid = stream[:1_003_854], stream[1_003_854:]
    for order, published in ((1, 3.3473), (2, 2.4838)):
        assert train_ngram(train, order, 65, add_k=0.1).loss(valid) == pytest.approx(
            published, abs=1e-4
        )


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="2 tokens cannot make 3-grams"):
        train_ngram(np.array([0, 1]), 3, 2)
    with pytest.raises(ValueError, match="0-grams"):
        train_ngram(np.array([0, 1]), 0, 2)
    with pytest.raises(ValueError, match="k > 0, not -1"):
        train_ngram(np.array([0, 1]), 1, 2, add_k=-1)
    with pytest.raises(ValueError, match="do not fit 63 bits"):
        train_ngram(np.array([0, 1, 2]), 3, 3_000_000)


def test_ids_outside_the_vocabulary_are_refused():
    """Their keys would be those of other n-grams: [0, 2] in base 2 is [1, 0]."""
    with pytest.raises(ValueError, match="ids from 0 to 2 do not fit a vocabulary of 2"):
        train_ngram(np.array([0, 2]), 2, 2)
    model = train_ngram(np.array([0, 1, 0]), 2, 2)
    with pytest.raises(ValueError, match="ids from -1 to 1 do not fit a vocabulary of 2"):
        model.probabilities(np.array([1, -1]))


def test_a_loss_needs_two_tokens():
    with pytest.raises(ValueError, match="1 tokens: nothing to predict"):
        train_ngram(np.array([0, 1, 0]), 2, 2).loss(np.array([1]))


def test_a_huge_vocabulary_has_no_trigram():
    assert set(ngram_losses(np.array([0, 1, 2, 3]), np.array([0, 1]), 3_000_000)) == (
        {"unigram", "bigram"}
    )
