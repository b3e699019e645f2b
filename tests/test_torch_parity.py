"""PyTorch's autograd and AdamW against ours, in float64."""

import itertools
import warnings

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim.adam import decay_of_matrices
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves, view

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own, at import
    torch = pytest.importorskip("torch")
    from tests.golden import make
    from tests.torch_reference import torch_adamw, torch_logits, torch_loss, torch_parameters

CONFIGS = [
    GPTConfig(
        vocab_size=13, context=9, n_layers=2, n_heads=3, d_model=12, d_ff=20,
        norm=norm, tied=tied, positions=positions, activation=activation, bias=bias,
        alibi_scale=3.0,
    )
    for norm, tied, positions, activation, bias in itertools.product(
        ("pre", "post"),
        (True, False),
        ("learned", "sinusoidal", "alibi"),
        ("gelu", "relu"),
        (True, False),
    )
]  # fmt: skip


def name(config):
    return " ".join(
        [config.norm, "tied" if config.tied else "untied", config.positions, config.activation]
        + ["no bias"] * (not config.bias)
    )


def case(config):
    rng = np.random.default_rng(0)
    theta, p = jittered(gpt_init(0, config)[1], rng, size=0.3)
    ids, targets = rng.integers(0, 10, (2, 4, 7))
    targets[1, 5:] = -1
    return theta, p, ids, targets


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_logits_loss_and_every_gradient(config):
    theta, p, ids, targets = case(config)
    loss, cache = causal_lm_forward(p, ids, targets, config=config)
    logits, _ = gpt_forward(p, ids, config=config)
    grad = np.zeros_like(theta)
    causal_lm_backward(p, view(p, grad), 1.0, cache)

    t = torch_parameters(p)
    their_ids, their_targets = torch.tensor(ids), torch.tensor(targets)
    their_logits = torch_logits(t, their_ids, config)
    their_loss = torch_loss(t, their_ids, their_targets, config)
    their_loss.backward()
    assert relative(logits, their_logits.detach().numpy()) <= 1e-10
    assert relative(loss, their_loss.item()) <= 1e-10
    for array, g in leaves(view(p, grad)):
        theirs = t[array].grad.numpy()
        if array.endswith("key.bias"):  # exactly zero: on both sides only rounding is left
            assert max(np.abs(g).max(), np.abs(theirs).max()) < 1e-14
        else:
            assert relative(g, theirs) <= 1e-10, array


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]], ids=name)
def test_ten_steps_of_adamw(config):
    theta, p, ids, targets = case(config)
    t = torch_parameters(p)
    theirs = torch_adamw(t, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    ours = Optimizer("adamw", theta, decay_of_matrices(p, 0.1), betas=(0.9, 0.95))
    for _ in range(10):
        loss, cache = causal_lm_forward(p, ids, targets, config=config)
        grad = np.zeros_like(theta)
        causal_lm_backward(p, view(p, grad), 1.0, cache)
        ours.update(grad, 1e-3)
        theirs.zero_grad()
        their_loss = torch_loss(t, torch.tensor(ids), torch.tensor(targets), config)
        their_loss.backward()
        theirs.step()
        assert relative(loss, their_loss.item()) <= 1e-9
    for array, a in leaves(p):
        if not array.endswith("key.bias"):  # Adam turns the rounding of a zero into a full step
            assert relative(a, t[array].detach().numpy()) <= 1e-9, array


@pytest.mark.parametrize("name", make.CONFIGS)
def test_the_golden_files_are_what_pytorch_computes(name):
    fresh = make.golden(make.CONFIGS[name])
    with np.load(make.FOLDER / f"{name}.npz", allow_pickle=False) as kept:
        assert set(kept) == set(fresh)
        for array in ("theta", "logits", "losses", "gradient"):
            np.testing.assert_allclose(kept[array], fresh[array], rtol=1e-9, atol=1e-12)
