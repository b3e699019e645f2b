"""Rotary positions against plain loops, and what they promise."""

import math

import numpy as np
import pytest

from numpylm.layers.rotary import Llama3Scaling, rotary_angles, rotary_forward


def pair_of(i, d, pairing):
    return (i, i + d // 2) if pairing == "halves" else (2 * i, 2 * i + 1)


@pytest.mark.parametrize("pairing", ["halves", "interleaved"])
def test_pairs_of_columns_are_turned(rng, pairing):
    x = rng.standard_normal((2, 3, 6))
    y, _ = rotary_forward(x, first=4, base=100.0, pairing=pairing)
    for b in range(2):
        for t in range(3):
            for i in range(3):
                angle = (4 + t) * 100.0 ** (-2 * i / 6)
                m, n = pair_of(i, 6, pairing)
                u, v = x[b, t, m], x[b, t, n]
                assert y[b, t, m] == pytest.approx(u * math.cos(angle) - v * math.sin(angle))
                assert y[b, t, n] == pytest.approx(u * math.sin(angle) + v * math.cos(angle))


def test_the_pairings_are_the_same_but_for_the_order_of_the_columns(rng):
    x = rng.standard_normal((3, 8))
    order = np.arange(8).reshape(2, 4).T.ravel()  # 0, 4, 1, 5, …: halves laid interleaved
    halves, _ = rotary_forward(x)
    interleaved, _ = rotary_forward(x[:, order], pairing="interleaved")
    np.testing.assert_allclose(interleaved, halves[:, order], rtol=1e-14)
    assert not np.allclose(rotary_forward(x, pairing="interleaved")[0], halves)


def test_scores_know_the_distance_alone(rng):
    q, k = (np.broadcast_to(rng.standard_normal(8), (10, 8)) for _ in range(2))
    scores = rotary_forward(q)[0] @ rotary_forward(k)[0].T
    for distance in range(-9, 10):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-10)


def test_the_last_column_of_an_odd_head_stays(rng):
    x = rng.standard_normal((4, 5))
    y, _ = rotary_forward(x)
    np.testing.assert_array_equal(y[:, 4], x[:, 4])
    assert not np.allclose(y[1:, :4], x[1:, :4])


def test_scaling_slows_down_the_slow_angles_only():
    """The three cases of Llama 3's published code, angle by angle."""
    theta = 500000.0 ** (-2.0 * np.arange(64) / 128)
    found = Llama3Scaling(factor=8.0, context=8192)(theta)
    for t, f in zip(theta, found, strict=True):
        wavelength = 2 * math.pi / t
        if wavelength < 8192 / 4:
            expected = t
        elif wavelength > 8192 / 1:
            expected = t / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * t / 8 + smooth * t
        assert f == pytest.approx(expected, rel=1e-12)
    assert (found[:10] == theta[:10]).all()
    np.testing.assert_allclose(found[-10:], theta[-10:] / 8)


def test_tables_have_the_dtype_that_is_asked_for():
    """A float64 table would make a float32 model slow in silence."""
    x = np.ones((2, 4), np.float32)
    assert rotary_forward(x)[0].dtype == np.float32
    assert all(a.dtype == np.float32 for a in rotary_angles(0, 3, 4, np.float32))


def test_another_pairing_is_refused():
    with pytest.raises(ValueError, match="pairing is 'pairs'; it must be one of halves, interl"):
        rotary_forward(np.zeros((2, 4)), pairing="pairs")
