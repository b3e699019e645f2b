"""In tiles as in one piece: outputs and gradients of plain attention, whatever is hidden."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.fast import attention as module
from numpylm.fast.attention import (
    TiledAttentionCache,
    tiled_attention_backward,
    tiled_attention_forward,
)
from numpylm.layers import multi_head
from numpylm.layers.attention import attention_backward, attention_forward

LENGTHS = st.integers(1, 9)


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(st.data(), LENGTHS, LENGTHS, st.integers(1, 10), st.booleans())
def test_what_plain_attention_gives(data, n_queries, n_keys, rows, causal):
    """For every size of tile, and also if there are more queries than keys."""
    q, k, v = normal(2, n_queries, 3), normal(2, n_keys, 3, seed=1), normal(2, n_keys, 4, seed=2)
    seed = data.draw(st.integers(0, 99))
    mask = data.draw(st.sampled_from([None, normal(2, n_queries, n_keys, seed=seed) > -0.5]))
    bias = data.draw(st.sampled_from([None, normal(n_queries, n_keys, seed=seed)]))
    options = {"causal": causal, "mask": mask, "bias": bias}
    y, cache = attention_forward(q, k, v, **options)
    dy = normal(*y.shape, seed=3)
    gradients = attention_backward(dy, cache)
    for keep in (0, 9):
        tiled, tiled_cache = tiled_attention_forward(q, k, v, rows=rows, keep=keep, **options)
        assert (tiled_cache.tiles is None) == (keep < n_keys)
        np.testing.assert_allclose(tiled, y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(tiled_cache.weights, cache.weights, rtol=1e-12)
        for found, wanted in zip(tiled_attention_backward(dy, tiled_cache), gradients, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_scores_of_1e4_in_float32():
    q, k, v = (
        scale * normal(2, 70, 4, seed=i, dtype=np.float32) for i, scale in enumerate((100, 100, 1))
    )
    y, _cache = attention_forward(q, k, v, causal=True)
    tiled, tiled_cache = tiled_attention_forward(q, k, v, causal=True, keep=0)
    assert tiled.dtype == np.float32
    np.testing.assert_allclose(tiled, y, rtol=0, atol=1e-2)
    for d in tiled_attention_backward(y, tiled_cache):
        assert np.isfinite(d).all()
        assert d.dtype == np.float32


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_multi_head_takes_tiles_for_long_sequences_without_dropout(dropout, monkeypatch):
    monkeypatch.setattr(module, "TILED_FROM", 6)
    p = multi_head.multi_head_init(np.random.default_rng(0), 8)
    x, dy = (normal(2, 6, 8, seed=seed, dtype=np.float32) for seed in (0, 1))
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2])

    def results(**options):
        y, cache = multi_head.multi_head_forward(
            p,
            x,
            n_heads=2,
            causal=True,
            mask=mask,
            dropout=dropout,
            rng=np.random.default_rng(2),
            **options,
        )
        dp = multi_head.multi_head_init(np.random.default_rng(3), 8)
        dx = multi_head.multi_head_backward(p, dp, dy, cache)
        return cache.attention, [y, dx, dp.query.weight, dp.key.weight, dp.value.weight]

    plain_cache, plain = results()
    cache, tiled = results(implementation="fast")
    assert not isinstance(plain_cache, TiledAttentionCache)
    assert isinstance(cache, TiledAttentionCache) == (dropout == 0.0)
    for found, wanted in zip(tiled, plain, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_memory_grows_with_the_length_and_not_with_its_square():
    def peak(length):
        q, k, v = (normal(1, 2, length, 4, seed=i, dtype=np.float32) for i in range(3))
        tracemalloc.start()
        y, cache = tiled_attention_forward(q, k, v, causal=True)
        tiled_attention_backward(y, cache)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    short, long = peak(1100), peak(4400)
    assert long < 5 * short  # 16 × in plain attention
    assert long < 4400 * 4400 * 4  # less than one (T, T) matrix of one of the two heads


def test_what_does_not_fit_is_refused():
    q, k, v = normal(2, 5, 4), normal(2, 7, 4), normal(2, 7, 6)
    with pytest.raises(ValueError, match="queries have 3 features, keys 4"):
        tiled_attention_forward(q[..., :3], k, v)
    with pytest.raises(ValueError, match="7 keys but 6 values"):
        tiled_attention_forward(q, k, v[:, :6])
    with pytest.raises(ValueError, match="a tile has 0 rows"):
        tiled_attention_forward(q, k, v, rows=0)
