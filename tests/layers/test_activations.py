import math

import numpy as np
import pytest

from numpylm.layers.activations import (
    gelu_forward,
    relu_backward,
    relu_forward,
)

X = np.linspace(-6, 6, 1201)


def test_relu_keeps_the_positive_numbers():
    y, cache = relu_forward(np.array([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(y, [0.0, 0.0, 3.0])
    np.testing.assert_array_equal(relu_backward(np.full(3, 5.0), cache), [0.0, 0.0, 5.0])


def test_gelu_is_the_tanh_formula():
    y, _ = gelu_forward(X)
    expected = [
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in X
    ]
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)


def test_gelu_is_close_to_x_times_the_normal_distribution_function():
    exact = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in X]
    assert 1e-4 < np.abs(gelu_forward(X)[0] - exact).max() < 5e-4


@pytest.mark.parametrize("activation", [relu_forward, gelu_forward])
def test_far_from_zero_both_are_0_or_x(activation):
    np.testing.assert_array_equal(activation(np.array([-1e4, 1e4], np.float32))[0], [0.0, 1e4])
