"""SwiGLU against plain loops."""

import math

import numpy as np

from numpylm.layers.gated_feed_forward import (
    gated_feed_forward_forward,
    gated_feed_forward_init,
    silu_forward,
)
from numpylm.parameters import pack


def test_silu_is_its_formula_also_far_out():
    z = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(silu_forward(z)[0], [v / (1 + math.exp(-v)) for v in z])
    far = np.array([-1e4, 1e4], np.float32)
    np.testing.assert_array_equal(silu_forward(far)[0], [0.0, 1e4])


def test_a_gate_and_a_proposal_are_multiplied(rng):
    _, p = pack(gated_feed_forward_init(rng, 3, 5), np.float64)
    x = rng.standard_normal((2, 3))
    y, _ = gated_feed_forward_forward(p, x)
    for row, found in zip(x, y, strict=True):
        hidden = []
        for j in range(5):
            z = sum(row[i] * p.gate.weight[i, j] for i in range(3))
            up = sum(row[i] * p.up.weight[i, j] for i in range(3))
            hidden.append(z / (1 + math.exp(-z)) * up)
        expected = [sum(h * p.down.weight[j, i] for j, h in enumerate(hidden)) for i in range(3)]
        np.testing.assert_allclose(found, expected)
    assert p.gate.bias is p.up.bias is p.down.bias is None
