import math

import numpy as np
import pytest

from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.optim.adam import adam_update, decay_of_matrices
from numpylm.optim.chunks import CHUNK, chunks
from numpylm.optim.clipping import clip_factor, global_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves, view


def sgd_by_hand(theta, grads, lr, momentum):
    u = 0.0
    for g in grads:
        u = momentum * u + g
        theta = theta - lr * u
    return theta


def adamw_by_hand(theta, grads, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        theta = theta - lr * decay * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - lr * m_hat / (math.sqrt(v_hat) + eps)
    return theta


@pytest.fixture
def theta(rng):
    return rng.standard_normal(6)


@pytest.fixture
def grads(rng):
    return rng.standard_normal((10, 6)) * 10.0 ** np.arange(-3, 3)  # of very different sizes


def ten_steps(optimizer, grads, lr=0.01):
    for g in grads:
        optimizer.update(g, lr)
    return optimizer.theta


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_the_scalar_loop(theta, grads, momentum):
    expected = [sgd_by_hand(theta[i], grads[:, i], 0.01, momentum) for i in range(6)]
    got = ten_steps(Optimizer("sgd", theta.copy(), None, momentum=momentum), grads)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_adamw_equals_the_scalar_loop(theta, grads, betas):
    decay = np.array([0.1, 0.0, 0.1, 0.0, 0.5, 0.5])
    expected = [adamw_by_hand(theta[i], grads[:, i], 0.01, decay[i], *betas) for i in range(6)]
    got = ten_steps(Optimizer("adamw", theta.copy(), decay, betas=betas), grads)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_adam_is_adamw_without_decay(theta, grads):
    expected = [adamw_by_hand(theta[i], grads[:, i], 0.01, 0.0) for i in range(6)]
    for optimizer in (
        Optimizer("adam", theta.copy(), np.ones(6)),
        Optimizer("adamw", theta.copy(), None),
    ):
        np.testing.assert_allclose(ten_steps(optimizer, grads), expected, rtol=1e-12)


def test_an_update_by_itself_has_the_defaults_of_the_paper(theta, grads):
    expected = [adamw_by_hand(theta[i], grads[:, i], 0.01, 0.0) for i in range(6)]
    m, v = np.zeros((2, 6))
    for t, g in enumerate(grads, start=1):
        adam_update(theta, g, m, v, step=t, lr=0.01)
    np.testing.assert_allclose(theta, expected, rtol=1e-12)


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate(theta, grads):
    optimizer = Optimizer("adam", theta.copy(), None)
    optimizer.update(grads[0], 0.01)  # t = 1: both bias corrections cancel
    np.testing.assert_allclose(optimizer.theta, theta - 0.01 * np.sign(grads[0]), rtol=1e-4)
    assert optimizer.step == 1


def test_scale_multiplies_the_gradient_and_leaves_it_alone(theta, grads):
    scaled, plain = (Optimizer("sgd", theta.copy(), None) for _ in range(2))
    kept = grads[0].copy()
    scaled.update(grads[0], 0.1, scale=0.25)
    plain.update(0.25 * kept, 0.1)
    np.testing.assert_array_equal(scaled.theta, plain.theta)
    np.testing.assert_array_equal(grads[0], kept)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_chunks_and_their_order_change_no_bit(rng, name):
    n = 3 * CHUNK + 5
    theta, grads = rng.standard_normal(n), rng.standard_normal((3, n))
    alone = np.concatenate(
        [ten_steps(Optimizer(name, theta[s].copy(), np.full(n, 0.1)[s]), grads[:, s])
         for s in (slice(0, 100), slice(100, None))]
    )  # fmt: skip
    parts = Optimizer(name, theta.copy(), np.full(n, 0.1))
    for step, g in enumerate(grads, start=1):
        for part in (slice(2, 4), slice(0, 2)):
            parts.update_chunks(part, g, step, 0.01, 1.0)
    np.testing.assert_array_equal(parts.theta, alone)


def test_steps_continue_from_a_saved_state(theta, grads):
    whole = ten_steps(Optimizer("adamw", theta.copy(), np.full(6, 0.1)), grads)
    first = Optimizer("adamw", theta.copy(), np.full(6, 0.1))
    ten_steps(first, grads[:4])
    state = {name: vector.copy() for name, vector in first.state.items()}
    second = Optimizer("adamw", first.theta.copy(), np.full(6, 0.1), step=first.step, state=state)
    np.testing.assert_array_equal(ten_steps(second, grads[4:]), whole)


def test_sgd_without_momentum_keeps_no_vector(rng):
    assert Optimizer("sgd", rng.standard_normal(4), None).state == {}


def test_float32_stays_float32(rng):
    theta = rng.standard_normal(4).astype(np.float32)
    for name in ("sgd", "adam", "adamw"):
        optimizer = Optimizer(name, theta.copy(), np.full(4, 0.1, np.float32), momentum=0.9)
        optimizer.update(theta, 0.01, scale=0.5)
        assert optimizer.theta.dtype == np.float32
        assert {vector.dtype for vector in optimizer.state.values()} == {np.dtype(np.float32)}


def test_only_matrices_decay():
    _, p = gpt_init(0, GPTConfig(vocab_size=5, context=3, n_layers=1, n_heads=1, d_model=4, d_ff=6))
    decay = decay_of_matrices(p, 0.1)
    assert decay.dtype == np.float32
    for name, d in leaves(view(p, decay)):
        assert (d == np.float32(0.1 if name.endswith("weight") else 0.0)).all(), name


def test_the_norm_is_over_all_chunks(rng):
    grad = rng.standard_normal(2 * CHUNK + 5).astype(np.float32)
    assert global_norm(grad) == pytest.approx(np.linalg.norm(grad.astype(np.float64)), rel=1e-6)
    assert global_norm(np.zeros(3)) == 0.0


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_chunks_cover_the_vector_once(size):
    covered = np.zeros(size, int)
    for s in chunks(size):
        covered[s] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("norm", "max_norm", "factor"),
    [(0.5, 1.0, 1.0), (1.0, 1.0, 1.0), (4.0, 1.0, 0.25), (9, None, 1)],
)
def test_clipping_limits_the_norm(norm, max_norm, factor):
    assert clip_factor(norm, max_norm) == factor


def test_unknown_names_are_rejected(theta):
    with pytest.raises(ValueError, match=r'optimizer .lion. is none of "sgd", "adam", "adamw"'):
        Optimizer("lion", theta, None)
