import math

import numpy as np
import pytest

from numpylm.layers.layer_norm import LayerNorm, layer_norm_forward, layer_norm_init


def test_the_formula_written_with_loops(rng):
    p = LayerNorm(rng.standard_normal(6), rng.standard_normal(6))
    x = rng.standard_normal((2, 3, 6))
    y, _ = layer_norm_forward(p, x, eps=1e-3)
    for b, t in np.ndindex(2, 3):
        row = x[b, t]
        mean = sum(row) / 6
        variance = sum((value - mean) ** 2 for value in row) / 6  # biased: divided by D
        for d in range(6):
            xhat = (row[d] - mean) / math.sqrt(variance + 1e-3)
            assert y[b, t, d] == pytest.approx(p.gamma[d] * xhat + p.beta[d], rel=1e-10)


def test_a_large_mean_does_not_cancel_in_float32(rng):
    x = rng.standard_normal((8, 512))
    y, _ = layer_norm_forward(layer_norm_init(512), (3000 + x).astype(np.float32))
    expected, _ = layer_norm_forward(layer_norm_init(512), x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=2e-3)  # E[x²] − μ² would be off by 30 %


def test_a_constant_row_gives_beta():
    p = LayerNorm(np.full(4, 2.0), np.arange(4.0))
    y, _ = layer_norm_forward(p, np.full((3, 4), 7.0))
    np.testing.assert_array_equal(y, np.tile(np.arange(4.0), (3, 1)))


def test_without_bias_there_is_no_beta():
    assert layer_norm_init(4, bias=False).beta is None


def test_features_must_match():
    with pytest.raises(ValueError, match=r"x \(2, 5\) does not end in the 4 features of gamma"):
        layer_norm_forward(layer_norm_init(4), np.zeros((2, 5)))
