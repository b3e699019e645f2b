"""§5.3 The training loop serves what the book does not train yet, without a change to it.

Batches drawn with the current parameters, a second frozen tree, adapters on frozen weights, a rate
for each parameter, an update of matrices: each in a few lines, against its closed form.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from numpylm.parameters import leaves, pack, view
from numpylm.training.loop import OneProcess, training_loop

RATE, STEPS = 0.1, 4


def squares_forward(p, target, *, rng=None, normalizer=None, base=0.0, reference=None, pull=0.0):
    """½‖w + base − target‖², and ½ pull ‖w − reference‖² if there is a reference."""
    rest = p["w"] + base - target
    away = 0.0 if reference is None else p["w"] - reference["w"]
    return 0.5 * np.sum(rest**2) + 0.5 * pull * np.sum(away**2), rest + pull * away


def squares_backward(p, dp, dloss, cache):
    dw = dloss * cache
    dp["w"] += dw if len(dw) == len(dp["w"]) else dw.sum(axis=0)  # one row may serve all


PAIR = squares_forward, squares_backward


def descent(theta, rates=1.0):
    """An optimiser of one's own: θ ← θ − η · rates · g."""

    def update(grad, lr, scale=1.0):
        theta[...] -= lr * scale * rates * grad

    return SimpleNamespace(update=update)


def train(model, batches):
    return list(training_loop(model, batches, lambda step: RATE, range(STEPS)))


@pytest.fixture
def start():
    return pack({"w": np.array([[3.0, -1.0], [2.0, 5.0]])})


def test_batches_that_need_the_current_parameters(start):
    """As a policy draws its own samples: each batch asks for half of what the weights are now."""
    theta, p = start
    first = theta.copy()
    train(
        OneProcess(PAIR, theta, p, optimizer=descent(theta)), lambda step: [{"target": p["w"] / 2}]
    )
    np.testing.assert_allclose(theta, first * (1 - RATE / 2) ** STEPS)


def test_a_second_frozen_tree(start):
    """As a reference model holds a policy back."""
    theta, p = start
    first, reference = theta.copy(), {"w": p["w"].copy()}
    model = OneProcess(PAIR, theta, p, optimizer=descent(theta), reference=reference, pull=3.0)
    train(model, lambda step: [{"target": 0.0}])
    fixed = 0.75 * first  # where w + 3 (w − first) = 0
    np.testing.assert_allclose(theta, fixed + (first - fixed) * (1 - 4 * RATE) ** STEPS)
    np.testing.assert_array_equal(reference["w"].ravel(), first)


def test_adapters_on_frozen_weights_without_gradients_or_moments():
    """Theta holds the adapter alone, the weights come as a setting."""
    base = np.array([[3.0, -1.0], [2.0, 5.0]])
    theta, p = pack({"w": np.zeros((1, 2))})
    model = OneProcess(PAIR, theta, p, optimizer=descent(theta), base=base)
    train(model, lambda step: [{"target": 0.0}])
    assert model.grad.size == theta.size == 2 < base.size
    still = -base.mean(axis=0)  # the gradient sums over the rows that share the adapter
    np.testing.assert_allclose(theta, still * (1 - (1 - 2 * RATE) ** STEPS))


def test_a_rate_for_each_parameter(start):
    theta, p = start
    first, rates = theta.copy(), np.array([0.0, 1.0, 2.0, 4.0])
    train(OneProcess(PAIR, theta, p, optimizer=descent(theta, rates)), lambda s: [{"target": 0.0}])
    np.testing.assert_allclose(theta, first * (1 - RATE * rates) ** STEPS)


def test_an_update_that_needs_matrices(start):
    """As Muon's: the step is the gradient with all singular values set to 1."""
    theta, p = start

    def update(grad, lr, scale=1.0):
        for matrix, g in zip(leaves(p), leaves(view(p, grad)), strict=True):
            u, _, vt = np.linalg.svd(g[1])
            matrix[1][...] -= lr * u @ vt

    first = np.linalg.svd(p["w"])
    model = OneProcess(PAIR, theta, p, optimizer=SimpleNamespace(update=update))
    train(model, lambda step: [{"target": 0.0}])
    expected = first.U @ np.diag(first.S - RATE * STEPS) @ first.Vh
    np.testing.assert_allclose(p["w"], expected, atol=1e-12)


def test_several_batches_without_a_count_are_refused(start):
    theta, p = start
    with pytest.raises(ValueError, match=r"2 batches in one update need count\(batch\)"):
        OneProcess(PAIR, theta, p).gradient([{"target": 0.0}] * 2, [0])
