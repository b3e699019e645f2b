import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.attention import attention_forward
from numpylm.layers.linear import linear_forward
from numpylm.layers.multi_head import (
    merge_heads,
    multi_head_forward,
    multi_head_init,
    split_heads,
)


@pytest.fixture
def p(rng):
    return jittered(multi_head_init(rng, 6), rng)[1]


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 5, 6))


@pytest.fixture
def memory(rng):
    return rng.standard_normal((2, 7, 6))


@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_heads_are_attentions_on_slices_of_the_columns(p, x, memory, n_heads):
    y, _ = multi_head_forward(p, x, memory, n_heads=n_heads)
    q, k, v = (
        linear_forward(part, source)[0]
        for part, source in ((p.query, x), (p.key, memory), (p.value, memory))
    )
    width = 6 // n_heads
    columns = [slice(h * width, (h + 1) * width) for h in range(n_heads)]
    heads = [attention_forward(q[..., c], k[..., c], v[..., c])[0] for c in columns]
    expected, _ = linear_forward(p.output, np.concatenate(heads, axis=-1))
    np.testing.assert_allclose(y, expected, rtol=1e-10)


def test_self_attention_is_attention_to_oneself(p, x):
    np.testing.assert_array_equal(
        multi_head_forward(p, x, n_heads=2, causal=True)[0],
        multi_head_forward(p, x, x, n_heads=2, causal=True)[0],
    )


def test_a_padding_mask_hides_keys_and_a_pair_mask_hides_pairs(p, x, memory):
    padding = np.arange(7) < np.array([[4], [7]])
    y, cache = multi_head_forward(p, x, memory, n_heads=2, mask=padding)
    short, _ = multi_head_forward(p, x[:1], memory[:1, :4], n_heads=2)
    np.testing.assert_allclose(y[:1], short, rtol=1e-10)
    assert cache.attention.weights.shape == (2, 2, 5, 7)
    pairs = np.broadcast_to(padding[:, None], (2, 5, 7))
    np.testing.assert_array_equal(multi_head_forward(p, x, memory, n_heads=2, mask=pairs)[0], y)


def test_split_and_merge_are_inverse(x):
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 2)
    np.testing.assert_array_equal(heads[1, 2, 4], x[1, 4, 4:6])
    np.testing.assert_array_equal(merge_heads(heads), x)


def test_the_output_matrix_has_its_own_scale(rng):
    p = multi_head_init(rng, 200, std=0.02, output_scale=0.25, bias=False)
    assert p.output.weight.std() == pytest.approx(0.005, rel=0.03)
    assert p.query.weight.std() == pytest.approx(0.02, rel=0.03)
    assert p.query.bias is p.output.bias is None


@pytest.mark.parametrize("n_heads", [0, 4, 5])
def test_heads_must_divide_the_width(p, x, n_heads):
    with pytest.raises(ValueError, match=f"d_model 6 is not divisible by n_heads {n_heads}"):
        multi_head_forward(p, x, n_heads=n_heads)


@pytest.mark.parametrize("shape", [(5,), (2, 6), (5, 5), (2, 1, 5), (2, 3, 5, 5)])
def test_masks_that_do_not_fit_are_rejected(p, x, shape):
    with pytest.raises(ValueError, match=r"neither \(B, S\) = \(2, 5\) nor .* = \(2, 5, 5\)"):
        multi_head_forward(p, x, n_heads=2, mask=np.ones(shape, bool))
