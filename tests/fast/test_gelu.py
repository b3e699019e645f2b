"""GELU in blocks: the formula, also where its input is overwritten."""

import numpy as np
import pytest

from numpylm.fast.gelu import fast_gelu_backward, fast_gelu_forward
from numpylm.layers.activations import gelu_backward, gelu_forward

X = np.linspace(-6, 6, 1201)


@pytest.mark.parametrize("block", [1, 7, 1201, 5000])
def test_gelu_in_blocks_is_gelu(block):
    y, cache = gelu_forward(X)
    blocked, slope = fast_gelu_forward(X, block=block)
    np.testing.assert_allclose(blocked, y, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(
        fast_gelu_backward(X, slope), gelu_backward(X, cache), rtol=1e-9, atol=1e-13
    )


def test_gelu_over_its_input_is_gelu():
    x, dy = X.copy(), np.cos(X)
    y, slope = fast_gelu_forward(x, block=100, overwrite=True)
    dx = fast_gelu_backward(dy, slope, overwrite=True)
    assert slope is x
    assert dx is dy
    expected, cache = fast_gelu_forward(X, block=100)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(slope, cache)
    np.testing.assert_array_equal(dx, fast_gelu_backward(np.cos(X), cache))


def test_gelu_over_an_input_that_is_a_view():
    columns = X[:1200].reshape(40, 30).T
    y, slope = fast_gelu_forward(columns.copy(order="K"), block=100, overwrite=True)
    expected, cache = fast_gelu_forward(columns, block=100)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(slope, cache)


def test_far_from_zero_it_is_0_or_x():
    y, _ = fast_gelu_forward(np.array([-1e4, 1e4], np.float32))
    np.testing.assert_array_equal(y, [0.0, 1e4])
