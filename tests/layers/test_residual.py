import numpy as np
import pytest

from numpylm.layers.layer_norm import LayerNorm, layer_norm_forward
from numpylm.layers.residual import (
    enter_backward,
    enter_forward,
    leave_backward,
    leave_forward,
)


def residual(p, x, sublayer, *, norm, **dropout):
    """A sublayer with what stands before and behind it."""
    h, _ = enter_forward(p, x, norm=norm)
    return leave_forward(p, x, sublayer(h), norm=norm, **dropout)[0]


def double(x):
    return 2.0 * x


@pytest.fixture
def case(rng):
    return LayerNorm(*rng.standard_normal((2, 4))), rng.standard_normal((3, 4))


def test_pre_norm_adds_the_sublayer_of_the_normalised_x(case):
    p, x = case
    y = residual(p, x, double, norm="pre")
    np.testing.assert_allclose(y, x + 2 * layer_norm_forward(p, x)[0], rtol=1e-12)


def test_post_norm_normalises_the_sum(case):
    p, x = case
    y = residual(p, x, double, norm="post")
    np.testing.assert_allclose(y, layer_norm_forward(p, x + 2 * x)[0], rtol=1e-12)


def test_in_pre_norm_a_silent_sublayer_is_the_identity_both_ways(case):
    p, x = case
    h, c_enter = enter_forward(p, x, norm="pre")
    y, c_leave = leave_forward(p, x, np.zeros_like(h), norm="pre")
    dp = LayerNorm(np.zeros(4), np.zeros(4))
    dx, df = leave_backward(p, dp, x, c_leave)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(df, x)
    np.testing.assert_array_equal(dx + enter_backward(p, dp, 0.0 * df, c_enter), x)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_dropout_acts_on_the_sublayer_alone(case, norm):
    p, x = case
    rng = np.random.default_rng(1)
    y = residual(p, x, np.zeros_like, norm=norm, dropout=0.9, rng=rng)
    np.testing.assert_array_equal(y, residual(p, x, np.zeros_like, norm=norm))


def test_dropout_reaches_the_sublayer(case):
    p, x = case
    rng = np.random.default_rng(1)
    y = residual(p, x, double, norm="pre", dropout=0.5, rng=rng)
    change = (y - x) / (2 * layer_norm_forward(p, x)[0])
    assert set(np.round(change, 12).ravel()) == {0.0, 2.0}


def test_another_norm_is_rejected(case):
    with pytest.raises(ValueError, match=r'norm is .middle.; it must be "pre" or "post"'):
        enter_forward(*case, norm="middle")
