import math

import numpy as np
import pytest

from numpylm.layers.softmax import softmax_backward, softmax_forward


def test_known_numbers():
    y, _ = softmax_forward(np.array([0.0, math.log(2), math.log(5)]))
    np.testing.assert_allclose(y, [1 / 8, 2 / 8, 5 / 8], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_scores_do_not_overflow(dtype):
    y, _ = softmax_forward(np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4]], dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [[0.5, 0.0, 0.5], [1 / 3] * 3], rtol=1e-6)


def test_hidden_scores_get_no_weight_and_a_row_of_them_is_zero(rng):
    x = np.array([[0.0, -np.inf, 0.0], [-np.inf] * 3])
    y, cache = softmax_forward(x)
    np.testing.assert_array_equal(y, [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    dx = softmax_backward(rng.standard_normal((2, 3)), cache)
    assert not dx[0, 1]
    assert not dx[1].any()


def test_the_backward_is_the_jacobian_written_with_loops(rng):
    y, cache = softmax_forward(rng.standard_normal((2, 4)))
    dy = rng.standard_normal((2, 4))
    dx = softmax_backward(dy, cache)
    for row in range(2):
        for i in range(4):
            expected = sum(dy[row, j] * y[row, j] * ((i == j) - y[row, i]) for j in range(4))
            assert dx[row, i] == pytest.approx(expected, rel=1e-10)


def test_a_constant_upstream_gives_no_gradient(rng):
    _, cache = softmax_forward(rng.standard_normal((3, 6)))
    np.testing.assert_allclose(softmax_backward(np.ones((3, 6)), cache), 0.0, atol=1e-15)


def test_the_forward_leaves_its_input_as_it_is(rng):
    x = rng.standard_normal((2, 3))
    kept = x.copy()
    softmax_forward(x)
    np.testing.assert_array_equal(x, kept)
