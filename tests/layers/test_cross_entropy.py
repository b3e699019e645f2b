import math

import numpy as np
import pytest

from numpylm.layers.cross_entropy import IGNORE, cross_entropy_backward, cross_entropy_forward
from numpylm.layers.softmax import softmax_forward


@pytest.fixture
def logits(rng):
    return rng.standard_normal((2, 4, 5))


@pytest.fixture
def targets():
    return np.array([[4, 0, 3, 3], [1, 4, 0, 2]])


def test_the_formula_written_with_loops(logits, targets):
    loss, _ = cross_entropy_forward(logits, targets)
    total = 0.0
    for b, t in np.ndindex(2, 4):
        exps = [math.exp(score) for score in logits[b, t]]
        total -= math.log(exps[targets[b, t]] / sum(exps))
    assert loss.shape == ()
    assert loss == pytest.approx(total / 8, rel=1e-12)


def test_the_gradient_is_probability_minus_one_hot(logits, targets):
    _, cache = cross_entropy_forward(logits, targets)
    expected = (softmax_forward(logits)[0] - np.eye(5)[targets]) / 8
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache), expected, rtol=1e-10)
    for dloss in (3.0, np.float32(3.0), np.array(3.0)):
        np.testing.assert_allclose(cross_entropy_backward(dloss, cache), 3 * expected, rtol=1e-10)


def test_equal_logits_cost_log_v():
    loss, _ = cross_entropy_forward(np.zeros((3, 7)), np.array([0, 3, 6]))
    assert loss == pytest.approx(math.log(7), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_cost_their_difference(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype)
    loss, cache = cross_entropy_forward(logits, np.array([0, 1]))
    assert loss.dtype == dtype
    assert loss == pytest.approx((0 + 2e4) / 2, rel=1e-6)  # a naive log softmax gives inf
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache), [[0, 0, 0], [0.5, -0.5, 0]])


@pytest.mark.parametrize("ignore_index", [IGNORE, -100, 3])
def test_ignored_targets_count_nowhere(logits, targets, ignore_index):
    ignored = np.array([[0, 1, 0, 0], [1, 0, 0, 1]], bool)
    targets = np.where(ignored, ignore_index, np.where(targets == 3, 1, targets))
    loss, cache = cross_entropy_forward(logits, targets, ignore_index=ignore_index)
    assert loss == cross_entropy_forward(logits[~ignored], targets[~ignored])[0]
    dlogits = cross_entropy_backward(1.0, cache)
    assert not dlogits[ignored].any()
    assert dlogits[~ignored].all()


def test_with_a_normalizer_shards_add_up(logits, targets):
    targets[0, :2] = IGNORE
    loss, cache = cross_entropy_forward(logits, targets)
    parts = [cross_entropy_forward(logits[i], targets[i], normalizer=6) for i in range(2)]
    assert sum(part for part, _ in parts) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(
        np.stack([cross_entropy_backward(1.0, c) for _, c in parts]),
        cross_entropy_backward(1.0, cache),
        rtol=1e-12,
    )


def test_one_target_is_enough(logits, targets):
    alone = np.full((2, 4), IGNORE)
    alone[1, 2] = targets[1, 2]
    loss, _ = cross_entropy_forward(logits, alone)
    assert loss == pytest.approx(
        -np.log(softmax_forward(logits)[0][1, 2, targets[1, 2]]), rel=1e-12
    )


def test_a_shard_without_targets_costs_nothing(logits):
    targets = np.full((2, 4), IGNORE)
    loss, cache = cross_entropy_forward(logits, targets, normalizer=10)
    assert loss == 0.0
    assert not cross_entropy_backward(1.0, cache).any()


def test_nothing_to_predict_is_rejected(logits):
    with pytest.raises(ValueError, match="every target is the ignore index -1"):
        cross_entropy_forward(logits, np.full((2, 4), IGNORE))


@pytest.mark.parametrize(("wrong", "span"), [(5, "0 to 5"), (-2, "-2 to 4")])
def test_targets_outside_the_vocabulary_are_rejected(logits, targets, wrong, span):
    targets[0, 2] = wrong
    with pytest.raises(ValueError, match=f"targets span {span}, the vocabulary has 5"):
        cross_entropy_forward(logits, targets)


def test_shapes_must_match(logits, targets):
    with pytest.raises(ValueError, match=r"targets \(2, 3\) do not match logits \(2, 4, 5\)"):
        cross_entropy_forward(logits, targets[:, :3])


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_is_the_formula_with_loops(logits, targets, smoothing):
    targets[1, 2] = IGNORE
    loss, cache = cross_entropy_forward(logits, targets, label_smoothing=smoothing)
    total, dlogits = 0.0, np.zeros_like(logits)
    for b, t in np.ndindex(2, 4):
        if targets[b, t] == IGNORE:
            continue
        exps = [math.exp(score) for score in logits[b, t]]
        for j in range(5):
            wanted = (1 - smoothing) * (j == targets[b, t]) + smoothing / 5
            total -= wanted * math.log(exps[j] / sum(exps))
            dlogits[b, t, j] = 2.0 * (exps[j] / sum(exps) - wanted) / 7
    assert loss == pytest.approx(total / 7, rel=1e-12)
    np.testing.assert_allclose(cross_entropy_backward(2.0, cache), dlogits, rtol=1e-9, atol=1e-15)


def test_no_smoothing_is_the_plain_loss_bit_for_bit(logits, targets):
    logits = logits.astype(np.float32)
    (plain, c_plain), (zero, c_zero) = (
        cross_entropy_forward(logits, targets, **kwargs) for kwargs in ({}, {"label_smoothing": 0})
    )
    assert plain == zero
    np.testing.assert_array_equal(
        cross_entropy_backward(1.0, c_plain), cross_entropy_backward(1.0, c_zero)
    )


def test_a_smoothed_loss_has_a_floor_at_its_own_distribution():
    """No model can be better than to give the smoothed distribution itself."""
    wanted = np.full((1, 4), 0.2 / 4)
    wanted[0, 2] += 0.8
    loss, cache = cross_entropy_forward(np.log(wanted), np.array([2]), label_smoothing=0.2)
    assert loss == pytest.approx(-(wanted * np.log(wanted)).sum(), rel=1e-12)
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache), 0.0, atol=1e-15)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5, math.nan])
def test_a_smoothing_that_is_no_share_is_rejected(logits, targets, smoothing):
    with pytest.raises(ValueError, match=rf"label_smoothing {smoothing} is not in \[0, 1\)"):
        cross_entropy_forward(logits, targets, label_smoothing=smoothing)
