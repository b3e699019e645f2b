import numpy as np
import pytest

from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init


def test_the_formula_written_with_loops(rng):
    p = Linear(rng.standard_normal((4, 3)), rng.standard_normal(3))
    x = rng.standard_normal((2, 5, 4))
    y, _ = linear_forward(p, x)
    for b, t, j in np.ndindex(2, 5, 3):
        expected = p.bias[j] + sum(x[b, t, i] * p.weight[i, j] for i in range(4))
        assert y[b, t, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3, 5)])
def test_any_leading_axes(rng, leading):
    p = linear_init(rng, 4, 3)
    y, cache = linear_forward(p, np.ones((*leading, 4), np.float32))
    dx = linear_backward(p, linear_init(rng, 4, 3), np.ones_like(y), cache)
    assert y.shape == (*leading, 3)
    assert dx.shape == (*leading, 4)


def test_without_bias_zero_maps_to_zero(rng):
    p = linear_init(rng, 4, 3, bias=False)
    assert p.bias is None
    assert not linear_forward(p, np.zeros((2, 4), np.float32))[0].any()


def test_the_initial_scale(rng):
    p = linear_init(rng, 200, 300, std=0.05)
    assert p.weight.dtype == p.bias.dtype == np.float32
    assert p.weight.std() == pytest.approx(0.05, rel=0.02)
    assert linear_init(rng, 400, 200).weight.std() == pytest.approx(1 / 20, rel=0.02)
    assert linear_init(rng, 400, 200, scale=0.5).weight.std() == pytest.approx(1 / 40, rel=0.02)
    assert not p.bias.any()


def test_features_must_match(rng):
    with pytest.raises(ValueError, match=r"x has 5 features, the weight \(4, 3\) takes 4"):
        linear_forward(linear_init(rng, 4, 3), np.zeros((2, 5)))
