"""Grouped queries beside multi-head attention, loops over heads, windows and what came before."""

import numpy as np
import pytest

from numpylm.layers.attention import attention_forward
from numpylm.layers.grouped_query import grouped_query_forward, grouped_query_init
from numpylm.layers.multi_head import KeysValues
from numpylm.layers.rms_norm import rms_norm_forward
from numpylm.layers.rotary import rotary_forward
from numpylm.parameters import pack

D, HEADS, D_HEAD, T = 7, 6, 4, 9


def made(rng, n_kv_heads, **choices):
    p = grouped_query_init(rng, D, n_heads=HEADS, n_kv_heads=n_kv_heads, d_head=D_HEAD, **choices)
    theta, p = pack(p, np.float64)
    theta += 0.3 * rng.standard_normal(theta.size)
    return p, rng.standard_normal((2, T, D))


def columns(linear, x, head):
    y = x @ linear.weight + (0 if linear.bias is None else linear.bias)
    return y[..., head * D_HEAD : (head + 1) * D_HEAD]


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("choices", [{}, {"bias": True, "norm": True}])
def test_each_head_of_queries_meets_the_keys_of_its_group(rng, n_kv_heads, choices):
    p, x = made(rng, n_kv_heads, **choices)
    y, cache = grouped_query_forward(p, x, n_heads=HEADS, n_kv_heads=n_kv_heads, eps=1e-3)
    heads = []
    for h in range(HEADS):
        g = h // (HEADS // n_kv_heads)
        q, k = columns(p.query, x, h), columns(p.key, x, g)
        if choices:
            q, _ = rms_norm_forward(p.query_norm, q, eps=1e-3)
            k, _ = rms_norm_forward(p.key_norm, k, eps=1e-3)
        q, k = rotary_forward(q)[0], rotary_forward(k)[0]
        heads.append(attention_forward(q, k, columns(p.value, x, g), causal=True)[0])
    np.testing.assert_allclose(y, np.concatenate(heads, axis=-1) @ p.output.weight, rtol=1e-10)
    assert cache.seen.keys.shape == (2, n_kv_heads, T, D_HEAD)


def test_a_window_hides_what_is_far(rng):
    p, x = made(rng, 3)
    settings = {"n_heads": HEADS, "n_kv_heads": 3}
    _, cache = grouped_query_forward(p, x, window=4, **settings)
    seen = cache.attention.weights[0, 0] > 0
    i, j = np.indices((T, T))
    np.testing.assert_array_equal(seen, (j <= i) & (i - j < 4))
    wide, _ = grouped_query_forward(p, x, window=T, **settings)
    np.testing.assert_array_equal(wide, grouped_query_forward(p, x, **settings)[0])


@pytest.mark.parametrize("window", [None, 3])
def test_what_came_before_gives_the_rows_of_the_whole(rng, window):
    p, x = made(rng, 2, norm=True)
    settings = {"n_heads": HEADS, "n_kv_heads": 2, "window": window}
    whole, _ = grouped_query_forward(p, x, **settings)
    past: KeysValues | None = None
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        y, cache = grouped_query_forward(p, x[:, start:stop], past=past, **settings)
        np.testing.assert_allclose(y, whole[:, start:stop], rtol=1e-10)
        past = cache.seen


def test_padding_changes_nothing_before_it(rng):
    p, x = made(rng, 3)
    settings = {"n_heads": HEADS, "n_kv_heads": 3}
    mask = np.arange(T) < np.array([[T], [5]])
    y, _ = grouped_query_forward(p, x, mask=mask, window=4, **settings)
    short, _ = grouped_query_forward(p, x[1:, :5], window=4, **settings)
    np.testing.assert_allclose(y[1, :5], short[0], rtol=1e-10)


def test_heads_that_cannot_share_are_refused(rng):
    p, x = made(rng, 3)
    with pytest.raises(ValueError, match="6 heads of queries cannot share 4 of keys equally"):
        grouped_query_forward(p, x, n_heads=6, n_kv_heads=4)
