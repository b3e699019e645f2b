import numpy as np
import pytest

from numpylm.layers.dropout import dropout_backward, dropout_forward


@pytest.mark.parametrize(("rate", "seed"), [(0.5, None), (0.0, 1)])
def test_without_randomness_or_rate_nothing_changes(rate, seed):
    x = np.arange(6.0)
    y, cache = dropout_forward(x, rate=rate, rng=seed and np.random.default_rng(seed))
    assert y is x
    assert dropout_backward(x, cache) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_numbers_are_zeroed_at_the_rate_and_the_mean_is_kept(rng, rate):
    n = 200_000
    y, _ = dropout_forward(np.ones(n), rate=rate, rng=rng)
    assert np.mean(y == 0.0) == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / n))
    assert y.mean() == pytest.approx(1.0, abs=5 * np.sqrt(rate / (1 - rate) / n))
    np.testing.assert_allclose(y[y != 0.0], 1 / (1 - rate), rtol=1e-12)


def test_the_same_seed_drops_the_same_numbers_in_both_dtypes():
    masks = [
        dropout_forward(np.ones(100, dtype), rate=0.5, rng=np.random.default_rng(3))[0]
        for dtype in (np.float32, np.float64)
    ]
    assert masks[0].dtype == np.float32
    np.testing.assert_array_equal(*masks)


def test_what_was_zeroed_gets_no_gradient(rng):
    y, keep = dropout_forward(np.ones((3, 4)), rate=0.5, rng=rng)
    np.testing.assert_array_equal(dropout_backward(np.full((3, 4), 2.0), keep), 2.0 * y)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_outside_0_to_1_is_rejected(rate):
    with pytest.raises(ValueError, match=rf"dropout rate {rate} is not in \[0, 1\)"):
        dropout_forward(np.ones(2), rate=rate, rng=None)
