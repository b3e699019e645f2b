"""§3.1 Layer norm: what it must not notice, and what it always makes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numpylm.layers.layer_norm import LayerNorm, layer_norm_backward, layer_norm_forward
from tests.properties.strategies import SEEDS, assert_close

EPS = 1e-5
WIDTHS = st.integers(2, 24)
POWERS = st.integers(-20, 20).map(lambda n: 2.0**n)
SIZES = st.floats(-3, 3).map(lambda n: 10.0**n)


def drawn(seed, d_model, size=1.0):
    rng = np.random.default_rng(seed)
    x = size * rng.standard_normal((2, 3, d_model))
    return LayerNorm(rng.standard_normal(d_model), rng.standard_normal(d_model)), x, rng


@given(SEEDS, WIDTHS, st.floats(-50, 50), st.floats(0.5, 50), st.floats(0, 1))
def test_shift_and_scale_of_a_row_do_not_matter(seed, d_model, shift, scale, eps):
    """Up to ε, which grows with the square: y(a x + c; a² ε) = y(x; ε), a negative a turns x̂."""
    p, x, _ = drawn(seed, d_model)
    y, _ = layer_norm_forward(p, x, eps=eps)
    for sign in (1, -1):
        moved, _ = layer_norm_forward(p, shift + sign * scale * x, eps=scale**2 * eps)
        np.testing.assert_allclose(sign * (moved - p.beta), y - p.beta, atol=1e-8)


@given(SEEDS, WIDTHS, POWERS)
def test_a_power_of_two_changes_no_bit(seed, d_model, scale):
    p, x, _ = drawn(seed, d_model)
    moved, _ = layer_norm_forward(p, scale * x, eps=scale**2 * EPS)
    np.testing.assert_array_equal(moved, layer_norm_forward(p, x, eps=EPS)[0])


@given(SEEDS, WIDTHS, SIZES)
def test_the_mean_is_that_of_beta_and_the_variance_that_of_gamma(seed, d_model, size):
    """With γ = 1: mean β exactly where β is constant, variance σ² / (σ² + ε)."""
    _, x, rng = drawn(seed, d_model, size)
    beta = rng.standard_normal()
    y, _ = layer_norm_forward(LayerNorm(np.ones(d_model), np.full(d_model, beta)), x, eps=EPS)
    variance = x.var(axis=-1)
    np.testing.assert_allclose(y.mean(axis=-1), beta, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), variance / (variance + EPS), rtol=1e-9)
    p, x, _ = drawn(seed, d_model, size)  # and any γ and β act on that, feature by feature
    standard, _ = layer_norm_forward(LayerNorm(np.ones(d_model), None), x, eps=EPS)
    assert_close(layer_norm_forward(p, x, eps=EPS)[0], p.gamma * standard + p.beta)


@given(SEEDS, WIDTHS, st.floats(-1e4, 1e4))
def test_a_constant_row_gives_beta(seed, d_model, value):
    p, x, _ = drawn(seed, d_model)
    x[0, 1] = value
    y, _ = layer_norm_forward(p, x)
    np.testing.assert_allclose(y[0, 1], p.beta, atol=1e-8)  # the mean rounds: |x − μ| ≤ 1e-11


@given(SEEDS, WIDTHS, SIZES)
def test_the_gradient_points_neither_along_ones_nor_along_x(seed, d_model, size):
    """A shift changes nothing, a scale only through ε: dx · x̂ = (dy γ · x̂) r ε / (σ² + ε)."""
    p, x, rng = drawn(seed, d_model, size)
    _, (xhat, rstd) = layer_norm_forward(p, x, eps=EPS)
    dy = rng.standard_normal(x.shape)
    dp = LayerNorm(np.zeros(d_model), np.zeros(d_model))
    dx = layer_norm_backward(p, dp, dy, (xhat, rstd))
    scale = rstd[..., 0] * np.abs(dy * p.gamma).sum(axis=-1)
    assert (np.abs(dx.sum(axis=-1)) <= 1e-12 * scale).all()
    expected = (dy * p.gamma * xhat).sum(axis=-1) * rstd[..., 0] ** 3 * EPS
    assert (np.abs((dx * xhat).sum(axis=-1) - expected) <= 1e-11 * scale).all()


@given(SEEDS, WIDTHS)
def test_a_row_is_normalised_by_itself_alone(seed, d_model):
    p, x, rng = drawn(seed, d_model)
    y, _ = layer_norm_forward(p, x)
    other = 100 * rng.standard_normal(x.shape)
    other[1, 2] = x[1, 2]
    np.testing.assert_array_equal(layer_norm_forward(p, other)[0][1, 2], y[1, 2])
