"""§3.1 RMSNorm against plain loops."""

import math

import numpy as np
import pytest

from numpylm.layers.rms_norm import RMSNorm, rms_norm_forward, rms_norm_init


def test_it_divides_by_the_root_mean_square(rng):
    p, x = RMSNorm(rng.standard_normal(5)), 3.0 + rng.standard_normal((2, 3, 5))
    y, _ = rms_norm_forward(p, x, eps=1e-3)
    for row, found in zip(x.reshape(-1, 5), y.reshape(-1, 5), strict=True):
        size = math.sqrt(sum(v * v for v in row) / 5 + 1e-3)
        np.testing.assert_allclose(found, [g * v / size for g, v in zip(p.gamma, row, strict=True)])


def test_the_mean_stays_and_the_scale_goes(rng):
    p, x = rms_norm_init(6), rng.standard_normal((4, 6)) + 2.0
    y, _ = rms_norm_forward(p, x)
    assert (y.mean(axis=-1) > 0.5).all()
    np.testing.assert_allclose(rms_norm_forward(p, 100.0 * x)[0], y, rtol=1e-4)
    assert rms_norm_forward(p, x.astype(np.float32))[0].dtype == np.float32


def test_a_row_of_zeros_is_finite():
    y, _ = rms_norm_forward(rms_norm_init(3), np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(y, 0.0)


def test_other_features_are_refused():
    with pytest.raises(ValueError, match=r"x \(2, 4\) does not end in the 3 features of gamma"):
        rms_norm_forward(rms_norm_init(3), np.zeros((2, 4)))
