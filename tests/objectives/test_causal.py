import itertools
import math

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.softmax import softmax_forward
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves, view

SMALL = {"vocab_size": 11, "context": 7, "n_layers": 2, "n_heads": 2, "d_model": 8, "d_ff": 10}
OTHER = {"norm": "post", "activation": "relu", "positions": "sinusoidal", "tied": False}
both = pytest.mark.parametrize("choices", [{}, OTHER], ids=["pre, tied", "post, untied"])


def model(**choices):
    config = GPTConfig(**{**SMALL, **choices})
    theta, p = jittered(gpt_init(0, config)[1], 1)
    return config, theta, p


@pytest.fixture
def batch(rng):
    return rng.integers(0, 11, (3, 7)), rng.integers(0, 11, (3, 7))


def gradient(config, theta, p, ids, targets, **settings):
    loss, cache = causal_lm_forward(p, ids, targets, config=config, **settings)
    grad = np.zeros_like(theta)
    causal_lm_backward(p, view(p, grad), 1.0, cache)
    return loss, grad


def test_the_loss_is_the_mean_log_probability_of_the_targets(batch):
    config, _, p = model()
    ids, targets = batch
    targets[1, 4:] = -1
    probabilities, _ = softmax_forward(gpt_forward(p, ids, config=config)[0])
    expected = [
        -math.log(probabilities[b, t, targets[b, t]])
        for b, t in np.ndindex(3, 7)
        if targets[b, t] >= 0
    ]
    loss, _ = causal_lm_forward(p, ids, targets, config=config)
    assert loss == pytest.approx(sum(expected) / 18, rel=1e-12)


def test_the_probabilities_of_all_continuations_add_up_to_one():
    config, _, p = model(vocab_size=3, context=4)
    texts = np.array([(0, *rest) for rest in itertools.product(range(3), repeat=4)])
    total = 0.0
    for text in texts:
        loss, _ = causal_lm_forward(p, text[None, :-1], text[None, 1:], config=config)
        total += math.exp(-4 * loss)
    assert total == pytest.approx(1.0, rel=1e-12)


@both
def test_the_loss_at_initialisation_is_log_v(rng, choices):
    config = GPTConfig(vocab_size=500, context=32, d_model=64, d_ff=128, **choices)
    _, p = gpt_init(0, config)
    ids, targets = rng.integers(0, 500, (2, 8, 32))
    loss, _ = causal_lm_forward(p, ids, targets, config=config)
    assert loss.dtype == np.float32
    assert loss == pytest.approx(math.log(500), rel=0.05)


@both
def test_every_parameter_but_the_key_biases_has_a_gradient(batch, choices):
    config, theta, p = model(**choices)
    _, grad = gradient(config, theta, p, *batch)
    for name, g in leaves(view(p, grad)):
        if name.endswith("key.bias"):
            np.testing.assert_allclose(g, 0.0, atol=1e-14)  # softmax does not see it
        else:
            assert np.linalg.norm(g) > 1e-4, name


def test_ignored_positions_and_their_targets_have_no_influence(batch):
    config, theta, p = model()
    ids, targets = batch
    targets[:, 4:] = -1
    loss, grad = gradient(config, theta, p, ids, targets)
    short_loss, short_grad = gradient(config, theta, p, ids[:, :4], targets[:, :4])
    assert loss == pytest.approx(short_loss, rel=1e-12)
    np.testing.assert_allclose(grad, short_grad, atol=1e-12)


def test_the_upstream_gradient_scales_the_gradient(batch):
    config, theta, p = model()
    _, grad = gradient(config, theta, p, *batch)
    _, cache = causal_lm_forward(p, *batch, config=config)
    scaled = np.zeros_like(theta)
    causal_lm_backward(p, view(p, scaled), -3.0, cache)
    np.testing.assert_allclose(scaled, -3 * grad, rtol=1e-9, atol=1e-14)


@both
def test_one_batch_can_be_learned_by_heart(rng, choices):
    config = GPTConfig(
        vocab_size=20, context=12, n_layers=2, n_heads=2, d_model=32, d_ff=64, **choices
    )
    theta, p = gpt_init(0, config)
    text = rng.integers(0, 20, (4, 13))
    text[:, 0] = np.arange(4)  # the first word tells the texts apart
    optimizer = Optimizer("adamw", theta, None)
    for _ in range(150):
        loss, grad = gradient(config, theta, p, text[:, :-1], text[:, 1:])
        optimizer.update(grad, 5e-3)
    assert loss < 0.05
    greedy = gpt_forward(p, text[:, :-1], config=config)[0].argmax(axis=-1)
    np.testing.assert_array_equal(greedy, text[:, 1:])
