import math

import numpy as np
import pytest

from numpylm.gradcheck import check_gradients
from numpylm.layers.linear import Linear
from numpylm.layers.recurrent import (
    Recurrent,
    recurrent_backward,
    recurrent_forward,
    recurrent_init,
)
from numpylm.parameters import pack


@pytest.fixture
def layer(rng):
    weights = Linear(rng.standard_normal((3, 5)), rng.standard_normal(5))
    return Recurrent(weights, 0.5 * rng.standard_normal((5, 5)))


def test_the_formula_written_with_loops(layer, rng):
    x = rng.standard_normal((2, 4, 3))
    y, _ = recurrent_forward(layer, x)
    for b in range(2):
        h = [0.0] * 5
        for t in range(4):
            a = [
                sum(x[b, t, i] * layer.input.weight[i, j] for i in range(3))
                + layer.input.bias[j]
                + sum(h[i] * layer.recurrent[i, j] for i in range(5))
                for j in range(5)
            ]
            h = [math.tanh(value) for value in a]
            np.testing.assert_allclose(y[b, t], h, rtol=1e-10)


def test_the_gradient_entry_by_entry(layer, rng):
    x = rng.standard_normal((2, 6, 3))
    check_gradients(recurrent_forward, recurrent_backward, layer, x, mode="coordinates")


def test_a_state_depends_on_the_past_alone(layer, rng):
    x = rng.standard_normal((1, 6, 3))
    changed = x.copy()
    changed[:, 4:] += 1.0
    before, after = recurrent_forward(layer, x)[0], recurrent_forward(layer, changed)[0]
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).all()


@pytest.mark.parametrize(("gain", "grows"), [(0.5, False), (2.0, True)])
def test_without_the_nonlinearity_the_gradient_is_a_power_of_the_matrix(rng, gain, grows):
    """At x = 0 tanh is the identity, and the gradient of a distance n is W_hⁿ transposed."""
    p = recurrent_init(rng, 4, 64, gain=gain)
    p.input.weight[:] = 0.1 * rng.standard_normal((4, 64))
    _, dp = pack(p)
    y, cache = recurrent_forward(p, np.zeros((1, 12, 4), np.float32))
    dy = np.zeros_like(y)
    dy[0, -1] = rng.standard_normal(64)
    dx = recurrent_backward(p, dp, dy, cache)
    power = np.linalg.matrix_power(p.recurrent, 11)
    np.testing.assert_allclose(dx[0, 0], p.input.weight @ (power @ dy[0, -1]), rtol=1e-3, atol=1e-5)
    norms = np.linalg.norm(dx[0], axis=-1)
    assert (norms[0] > 10 * norms[-1]) if grows else (norms[0] < norms[-1] / 10)


def test_float32_stays(rng):
    y, _ = recurrent_forward(recurrent_init(rng, 3, 5), np.zeros((1, 2, 3), np.float32))
    assert y.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3), r"x \(2, 3\) must be \(batch, length ≥ 1, features\)"),
        ((2, 0, 3), r"x \(2, 0, 3\) must be"),
        ((2, 4, 4), "x has 4 features"),
    ],
)
def test_bad_input_is_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        recurrent_forward(layer, np.zeros(shape))


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan])
def test_a_gain_that_is_not_positive_is_refused(rng, gain):
    with pytest.raises(ValueError, match=f"gain is {gain}"):
        recurrent_init(rng, 3, 5, gain=gain)
