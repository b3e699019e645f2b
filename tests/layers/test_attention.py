import math

import numpy as np
import pytest

from numpylm.layers.attention import (
    attention_backward,
    attention_forward,
    attention_weights,
    causal_mask,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def qkv(n_queries=5, n_keys=7, seed=0):
    return normal(2, n_queries, 4, seed=seed), normal(2, n_keys, 4), normal(2, n_keys, 6, seed=1)


def test_the_formula_written_with_loops():
    q, k, v = qkv()
    y, _ = attention_forward(q, k, v)
    for b, t in np.ndindex(2, 5):
        scores = [sum(q[b, t] * k[b, s]) / math.sqrt(4) for s in range(7)]
        weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
        expected = sum(weights[s] * v[b, s] for s in range(7))
        np.testing.assert_allclose(y[b, t], expected, rtol=1e-10)


def test_equal_scores_give_the_mean_of_the_values():
    _, k, v = qkv()
    y, _ = attention_forward(np.zeros((2, 5, 4)), k, v)
    np.testing.assert_allclose(y, np.broadcast_to(v.mean(axis=1)[:, None], y.shape), rtol=1e-12)


def test_the_scale_keeps_scores_at_unit_variance():
    q, k, v = (normal(1, 200, 256, seed=i) for i in range(3))
    _, cache = attention_forward(q, k, v)
    scores = np.log(cache.weights)  # up to a constant for each row
    assert (scores - scores.mean(axis=-1, keepdims=True)).std() == pytest.approx(1.0, rel=0.05)


def test_causal_masks_by_hand():
    np.testing.assert_array_equal(causal_mask(3, 3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(causal_mask(2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]])  # the last two
    with pytest.raises(ValueError, match="read-only"):
        causal_mask(3, 3)[0, 0] = False


def test_the_last_query_alone_sees_what_it_saw_among_the_others():
    q, k, v = qkv(7, 7)
    y, _ = attention_forward(q, k, v, causal=True)
    last, _ = attention_forward(q[:, -2:], k, v, causal=True)
    np.testing.assert_allclose(last, y[:, -2:], rtol=1e-12)


def test_hidden_keys_might_as_well_be_absent():
    q, k, v = qkv()
    mask = np.arange(7) < 4
    y, _ = attention_forward(q, k, v, mask=mask)
    short, _ = attention_forward(q, k[:, :4], v[:, :4])
    np.testing.assert_allclose(y, short, rtol=1e-12)


def test_a_mask_adds_to_causal():
    q, k, _ = qkv(7, 7)
    mask = normal(2, 7, 7) > -0.5
    weights = attention_weights(q, k, causal=True, mask=mask)
    assert not weights[~(mask & causal_mask(7, 7))].any()
    assert weights[mask & causal_mask(7, 7)].all()


def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient():
    q, k, v = qkv()
    mask = np.ones((2, 5, 7), bool)
    mask[1, 3] = False
    y, cache = attention_forward(q, k, v, mask=mask)
    assert not y[1, 3].any()
    assert not cache.weights[1, 3].any()
    dy = np.zeros_like(y)
    dy[1, 3] = 1.0
    assert not any(d.any() for d in attention_backward(dy, cache))


def test_permuted_keys_and_values_change_nothing():
    q, k, v = qkv()
    order = np.random.default_rng(3).permutation(7)
    y, _ = attention_forward(q, k, v)
    permuted, _ = attention_forward(q, k[:, order], v[:, order])
    np.testing.assert_allclose(permuted, y, rtol=1e-12)


def test_dropout_acts_on_the_weights_and_keeps_the_picture():
    q, k, v = qkv()
    y, cache = attention_forward(q, k, v, dropout=0.5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(cache.weights, attention_weights(q, k))
    dropped = cache.dropped / cache.weights
    assert set(np.round(dropped, 12).ravel()) == {0.0, 2.0}
    np.testing.assert_allclose(y, cache.dropped @ v, rtol=1e-12)
    off, _ = attention_forward(q, k, v, dropout=0.5, rng=None)
    np.testing.assert_array_equal(off, attention_forward(q, k, v)[0])


def test_shapes_that_do_not_fit_are_rejected():
    q, k, v = qkv()
    with pytest.raises(ValueError, match="queries have 3 features, keys 4"):
        attention_forward(q[..., :3], k, v)
    with pytest.raises(ValueError, match="there are 7 keys but 6 values"):
        attention_forward(q, k, v[:, :6])


@pytest.mark.parametrize("shape", [(6,), (5, 6), (3, 5, 7), (2, 2, 5, 7)])
def test_masks_that_do_not_fit_are_rejected(shape):
    with pytest.raises(ValueError, match=r"a mask of shape .* does not fit scores \(2, 5, 7\)"):
        attention_weights(*qkv()[:2], mask=np.ones(shape, bool))


def test_a_mask_must_be_boolean():
    with pytest.raises(ValueError, match="the mask holds int64; it must be boolean"):
        attention_weights(*qkv()[:2], mask=np.ones(7, np.int64))
