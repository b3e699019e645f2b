"""§4.1 Softmax: rows are distributions that a shift of the scores does not change."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.layers.attention import attention_backward, attention_forward, attention_weights
from numpylm.layers.softmax import softmax_backward, softmax_forward
from tests.properties.strategies import LENGTHS, SEEDS, masks

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# Eighths up to 1e4: float32 holds them, and the sum of two of them, exactly.
EIGHTHS = st.integers(-80_000, 80_000).map(lambda n: n / 8)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=EIGHTHS)
EPS = {np.float32: 2.0**-24, np.float64: 2.0**-53}


@both_dtypes
@given(ROWS)
def test_a_row_is_the_distribution_of_exact_arithmetic(dtype, x):
    y, _ = softmax_forward(x.astype(dtype))
    assert y.dtype == dtype
    assert y.min() >= 0.0
    # n terms and a division round once each, and so does an exponential, about twice.
    tolerance = (x.shape[1] + 8) * EPS[dtype]
    np.testing.assert_allclose(y.sum(axis=-1), 1.0, rtol=0, atol=tolerance)
    for row, found in zip(x, y, strict=True):
        powers = [math.exp(score - max(row)) for score in row]
        expected = [power / math.fsum(powers) for power in powers]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-37)
        assert found[np.argmax(row)] == found.max()


@both_dtypes
@given(ROWS, EIGHTHS)
def test_a_shift_of_all_scores_changes_no_bit(dtype, x, shift):
    """The differences to the largest score are exact, and nothing else is used."""
    shifted = (x + shift).astype(dtype)
    np.testing.assert_array_equal(softmax_forward(shifted)[0], softmax_forward(x.astype(dtype))[0])


@both_dtypes
@given(st.data(), ROWS)
def test_hidden_scores_get_nothing_and_a_row_of_them_is_zero(dtype, data, x):
    visible = data.draw(masks(*x.shape))
    y, _ = softmax_forward(np.where(visible, x, -np.inf).astype(dtype))
    assert not y[~visible].any()
    blind = ~visible.any(axis=-1)
    assert not y[blind].any()
    np.testing.assert_allclose(y[~blind].sum(axis=-1), 1.0, rtol=0, atol=16 * EPS[dtype])
    for row, shown, found in zip(x, visible, y, strict=True):
        if shown.any():  # the same as if they were absent
            alone, _ = softmax_forward(row[shown].astype(dtype))
            np.testing.assert_allclose(found[shown], alone, rtol=16 * EPS[dtype])


@given(st.data(), SEEDS, ROWS)
def test_a_row_of_the_gradient_sums_to_zero(data, seed, x):
    """As a shift changes nothing; and what was hidden has none."""
    visible = data.draw(masks(*x.shape))
    _, cache = softmax_forward(np.where(visible, x, -np.inf))
    dy = np.random.default_rng(seed).standard_normal(x.shape)
    dx = softmax_backward(dy, cache)
    np.testing.assert_allclose(dx.sum(axis=-1), 0.0, atol=1e-14)
    assert not dx[~visible].any()


@both_dtypes
@given(st.data(), SEEDS, LENGTHS, LENGTHS, st.booleans())
def test_attention_at_scores_of_1e4_under_any_mask(dtype, data, seed, n_queries, n_keys, causal):
    """Finite, rows that sum to one, and for a blind query zeros and no gradient."""
    rng = np.random.default_rng(seed)
    n_keys = max(n_keys, n_queries)
    q, k, v = (
        (scale * rng.standard_normal((2, n, 4))).astype(dtype)
        for scale, n in ((100, n_queries), (100, n_keys), (1, n_keys))
    )
    mask = data.draw(masks(2, n_queries, n_keys))
    options = {"causal": causal, "mask": mask}
    weights = attention_weights(q, k, **options)
    visible = mask & np.tri(n_queries, n_keys, n_keys - n_queries, bool) if causal else mask
    assert not weights[~visible].any()
    sees = visible.any(axis=-1)
    np.testing.assert_allclose(weights.sum(axis=-1), sees, rtol=0, atol=16 * EPS[dtype])
    y, cache = attention_forward(q, k, v, **options)
    assert not y[~sees].any()
    largest = np.abs(v).max(axis=(1, 2), keepdims=True)
    assert (np.abs(y) <= largest * (1 + 16 * EPS[dtype])).all()  # a mean of values
    gradients = attention_backward(rng.standard_normal(y.shape).astype(dtype), cache)
    assert all(np.isfinite(d).all() and d.dtype == dtype for d in gradients)
    assert not gradients[0][~sees].any()
