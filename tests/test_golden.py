"""Our model against numbers that PyTorch computed (``tests/golden/make.py``), without PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest

from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim.adam import decay_of_matrices
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves, view

FILES = sorted((Path(__file__).parent / "golden").glob("*.npz"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def golden(request):
    with np.load(request.param, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def config(golden):
    return GPTConfig(**json.loads(str(golden["config"])))


def gradient(config, theta, p, golden):
    loss, cache = causal_lm_forward(p, golden["ids"], golden["targets"], config=config)
    grad = np.zeros_like(theta)
    causal_lm_backward(p, view(p, grad), 1.0, cache)
    return loss, grad


def ten_steps(config, golden, dtype):
    theta = golden["theta"].astype(dtype)
    p = view(gpt_init(0, config)[1], theta)
    decay = decay_of_matrices(p, float(golden["weight_decay"]))
    optimizer = Optimizer("adamw", theta, decay, betas=tuple(golden["betas"].tolist()))
    losses = []
    for _ in golden["losses"]:
        loss, grad = gradient(config, theta, p, golden)
        losses.append(float(loss))
        optimizer.update(grad, float(golden["learning_rate"]))
    return losses, p


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_there_are_files():
    assert {"gpt_pre_tied", "gpt_post_untied"} <= {path.stem for path in FILES}


def test_logits_loss_and_every_gradient(golden, config):
    p = view(gpt_init(0, config)[1], golden["theta"])
    logits, _ = gpt_forward(p, golden["ids"], config=config)
    loss, grad = gradient(config, golden["theta"], p, golden)
    assert relative(logits, golden["logits"]) <= 1e-10
    assert loss == pytest.approx(golden["losses"][0], rel=1e-10)
    theirs = dict(leaves(view(p, golden["gradient"])))
    for name, g in leaves(view(p, grad)):
        if name.endswith("key.bias"):  # exactly zero: only rounding is left
            assert np.abs(g).max() < 1e-14
        else:
            assert relative(g, theirs[name]) <= 1e-10, name


def test_ten_steps_of_adamw(golden, config):
    losses, p = ten_steps(config, golden, np.float64)
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-9)
    theirs = dict(leaves(view(p, golden["theta_after"])))
    for name, a in leaves(p):
        if not name.endswith("key.bias"):  # Adam turns the rounding of a zero into a full step
            assert relative(a, theirs[name]) <= 1e-9, name


def test_float32_follows_the_same_losses(golden, config):
    losses, _ = ten_steps(config, golden, np.float32)
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-5)
