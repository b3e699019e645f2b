import math

import numpy as np
import pytest

from numpylm.layers.feed_forward import FeedForward, feed_forward_forward, feed_forward_init
from numpylm.layers.linear import Linear


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu(x):
    return max(0.0, x)


@pytest.mark.parametrize("activation", [relu, gelu])
def test_the_formula_written_with_loops(rng, activation):
    w1, b1, w2, b2 = (rng.standard_normal(s) for s in [(3, 5), 5, (5, 3), 3])
    x = rng.standard_normal((2, 4, 3))
    p = FeedForward(Linear(w1, b1), Linear(w2, b2))
    y, _ = feed_forward_forward(p, x, activation=activation.__name__)
    for b, t in np.ndindex(2, 4):
        hidden = [activation(x[b, t] @ w1[:, f] + b1[f]) for f in range(5)]
        np.testing.assert_allclose(y[b, t], hidden @ w2 + b2, rtol=1e-10)


def test_the_output_matrix_has_its_own_scale(rng):
    p = feed_forward_init(rng, 100, 400, std=0.02, output_scale=0.25)
    assert p.hidden.weight.shape == (100, 400)
    assert p.hidden.weight.std() == pytest.approx(0.02, rel=0.03)
    assert p.output.weight.std() == pytest.approx(0.005, rel=0.03)


def test_unknown_activations_are_rejected(rng):
    with pytest.raises(
        ValueError, match=r"activation 'swish' is none of \['gelu', 'gelu \(fast\)', 'relu'\]"
    ):
        feed_forward_forward(feed_forward_init(rng, 2, 3), np.zeros((1, 2)), activation="swish")
