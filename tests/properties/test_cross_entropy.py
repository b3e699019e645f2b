"""§2.3 Cross-entropy: its bounds, its shift, and where its gradient points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward
from tests.properties.strategies import SEEDS, masks

SMOOTHINGS = st.sampled_from([0.0, 0.1, 0.5, 0.99])
SPREADS = st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4])


@st.composite
def problems(draw):
    """Logits (n, V) of any spread up to ±1e4, targets (n,) with gaps."""
    rng, spread = np.random.default_rng(draw(SEEDS)), draw(SPREADS)
    n, vocab_size = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    wanted = draw(masks(n))
    wanted[0] = True
    logits = spread * rng.uniform(-1, 1, (n, vocab_size))
    return logits, np.where(wanted, rng.integers(0, vocab_size, n), IGNORE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(problems(), SMOOTHINGS)
def test_a_loss_is_never_below_its_floor(dtype, problem, smoothing):
    """0 for one-hot targets, smoothed the entropy of the target distribution; and it is finite."""
    logits, targets = problem
    loss, _ = cross_entropy_forward(logits.astype(dtype), targets, label_smoothing=smoothing)
    vocab_size = logits.shape[-1]
    other, hit = smoothing / vocab_size, 1 - smoothing + smoothing / vocab_size
    entropy = -hit * math.log(hit) - (vocab_size - 1) * other * math.log(other or 1)
    slack = 0.0 if smoothing == 0.0 else 1e-5 if dtype == np.float32 else 1e-12
    assert loss.dtype == dtype
    assert entropy - slack * max(entropy, 1.0) <= loss < np.inf
    spread = np.ptp(logits, axis=-1).max()
    assert loss <= (spread + math.log(vocab_size)) * (1 + 1e-6) + 1e-6


@given(problems(), SMOOTHINGS)
def test_smoothing_mixes_the_loss_with_that_of_every_word(problem, smoothing):
    """loss_ε = (1 − ε) loss + ε · the mean of the losses of all V possible targets."""
    logits, targets = problem
    loss, plain = (
        cross_entropy_forward(logits, targets, label_smoothing=e)[0] for e in (smoothing, 0.0)
    )
    each = [
        cross_entropy_forward(logits, np.where(targets == IGNORE, IGNORE, word))[0]
        for word in range(logits.shape[-1])
    ]
    assert loss == pytest.approx((1 - smoothing) * plain + smoothing * np.mean(each), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(problems(), SMOOTHINGS)
def test_a_row_of_the_gradient_sums_to_zero(dtype, problem, smoothing):
    """And is at most 2 / n long in the 1-norm: the difference of two distributions."""
    logits, targets = problem
    _, cache = cross_entropy_forward(logits.astype(dtype), targets, label_smoothing=smoothing)
    dlogits = cross_entropy_backward(1.0, cache)
    assert dlogits.dtype == dtype
    n, unit = np.count_nonzero(targets != IGNORE), 2.0**-24 if dtype == np.float32 else 2.0**-53
    np.testing.assert_allclose(dlogits.sum(axis=-1), 0.0, atol=32 * unit / n)
    assert (np.abs(dlogits).sum(axis=-1) <= (2 + 64 * unit) / n).all()
    assert not dlogits[targets == IGNORE].any()


@given(problems(), SMOOTHINGS, st.floats(-1e4, 1e4))
def test_a_shift_of_all_logits_changes_nothing(problem, smoothing, shift):
    logits, targets = problem
    loss, cache = cross_entropy_forward(logits, targets, label_smoothing=smoothing)
    moved, c_moved = cross_entropy_forward(logits + shift, targets, label_smoothing=smoothing)
    assert moved == pytest.approx(loss, rel=1e-12, abs=1e-10)
    np.testing.assert_allclose(
        cross_entropy_backward(1.0, c_moved), cross_entropy_backward(1.0, cache), atol=1e-10
    )


@given(problems())
def test_a_step_against_the_gradient_lowers_the_loss_by_its_square(problem):
    """Convex, and its curvature at most 1: f − η |g|² ≤ f(x − η g) ≤ f − η (1 − η / 2) |g|²."""
    logits, targets = problem
    loss, cache = cross_entropy_forward(logits, targets)
    gradient, step = cross_entropy_backward(1.0, cache), 0.5
    lower, _ = cross_entropy_forward(logits - step * gradient, targets)
    square, slack = step * (gradient**2).sum(), 1e-12 * max(loss, 1.0)
    assert loss - square - slack <= lower <= loss - (1 - step / 2) * square + slack
