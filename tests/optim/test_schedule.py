"""§5.3 The course of the learning rate."""

import pytest

from numpylm.training.train_config import TrainConfig

COSINE = TrainConfig(steps=2000, warmup=100, lr=1e-3, min_lr=1e-4)


def test_warm_up_is_linear():
    rates = [COSINE.learning_rate(t) for t in range(100)]
    assert rates[0] == pytest.approx(1e-3 / 101)
    assert rates[99] == pytest.approx(1e-3 * 100 / 101)
    assert rates[50] - rates[49] == pytest.approx(rates[1] - rates[0])


def test_cosine_starts_at_lr_halves_in_the_middle_and_ends_at_min_lr():
    assert COSINE.learning_rate(100) == pytest.approx(1e-3)
    assert COSINE.learning_rate(1050) == pytest.approx((1e-3 + 1e-4) / 2)
    assert COSINE.learning_rate(2000) == pytest.approx(1e-4)
    assert COSINE.learning_rate(9999) == pytest.approx(1e-4)


def test_constant_and_step():
    constant = TrainConfig(schedule="constant", warmup=0, lr=0.5)
    assert constant.learning_rate(0) == constant.learning_rate(10**6) == 0.5
    step = TrainConfig(schedule="step", warmup=0, lr=8.0, decay_every=10, decay_factor=0.5)
    assert [step.learning_rate(t) for t in (0, 9, 10, 19, 20)] == [8, 8, 4, 4, 2]


def test_warm_up_may_be_the_whole_run():
    assert TrainConfig(steps=5, warmup=5, lr=1e-3).learning_rate(5) == pytest.approx(1e-3)


def test_plateau_decays_after_each_evaluation_that_is_no_better_than_the_best():
    c = TrainConfig(schedule="plateau", warmup=0, lr=8.0, decay_factor=0.25)
    rates = {
        (): 8.0,
        (5.0,): 8.0,
        (5.0, 4.0): 8.0,
        (5.0, 4.0, 4.0): 2.0,  # as good is no better
        (5.0, 4.0, 4.5): 2.0,
        (5.0, 4.0, 4.5, 4.2): 0.5,  # better than the last one only
        (5.0, 4.0, 4.5, 3.9): 2.0,  # better: stays where it is
        (5.0, 4.0, 4.5, 3.9, 4.0, 4.1): 0.125,
    }
    for losses, rate in rates.items():
        assert [c.learning_rate(t, list(losses)) for t in (0, 1000)] == [rate, rate]


def test_plateau_warms_up_like_the_others():
    c = TrainConfig(schedule="plateau", warmup=3, lr=8.0)
    assert [c.learning_rate(t, [1.0, 2.0]) for t in range(3)] == [2.0, 4.0, 6.0]
    assert c.learning_rate(3, [1.0, 2.0]) == 8.0 * c.decay_factor
