import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.linear import linear_backward, linear_forward, linear_init
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parallel import allocator
from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parameters import pack, view
from numpylm.training.data_parallel import DataParallel

CONFIG = GPTConfig(vocab_size=11, context=7, n_layers=2, n_heads=2, d_model=8, d_ff=10, dropout=0.3)
PAIR = causal_lm_forward, causal_lm_backward


@pytest.fixture
def model(rng):
    return jittered(gpt_init(0, CONFIG)[1], rng)


@pytest.fixture
def batch(rng):
    ids, targets = rng.integers(0, 11, (2, 5, 7))
    targets[0] = -1  # a shard may have nothing to predict
    targets[3, 2:] = -1
    return {"ids": ids, "targets": targets}


def count(batch):
    return np.count_nonzero(batch["targets"] != -1)


def rows(batch, part):
    return {name: a[part] for name, a in batch.items()}


def serial(theta, p, batch, **settings):
    loss, cache = causal_lm_forward(p, **batch, config=CONFIG, **settings)
    grad = np.zeros_like(theta)
    causal_lm_backward(p, view(p, grad), 1.0, cache)
    return loss, grad


def test_a_seed_repeats_bit_for_bit_and_another_drops_other_units(model, batch):
    with DataParallel(PAIR, *model, count, n_shards=2, config=CONFIG) as parallel:
        first, again, other = (
            parallel.gradient([batch], seed)[1].copy() for seed in ([1, 5], [1, 5], [1, 6])
        )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_evaluation_losses_know_no_dropout(model, batch):
    halves = [rows(batch, slice(3)), rows(batch, slice(3, None))]
    expected = [float(serial(*model, half, normalizer=9)[0]) for half in halves]
    for n_shards in (1, 2):
        with DataParallel(PAIR, *model, count, n_shards=n_shards, config=CONFIG) as parallel:
            assert parallel.losses(halves, 9) == pytest.approx(expected, rel=1e-12)
    losses = parallel.losses([batch], count(batch))
    assert losses == pytest.approx([float(serial(*model, batch)[0])], rel=1e-12)


def test_a_matrix_that_is_not_used_has_no_gradient(rng):
    """Neither in a later batch, for which the vector is used again, nor in a part without rows."""

    def forward(p, x, used, normalizer, rng):
        which = int(used.max())
        y, cache = linear_forward(p[which], x)
        return y.sum(), (which, y, cache)

    def backward(p, dp, dloss, cache):
        which, y, c = cache
        linear_backward(p[which], dp[which], np.ones_like(y), c)

    theta, p = pack([linear_init(rng, 3, 2), linear_init(rng, 3, 2)])
    with DataParallel((forward, backward), theta, p, len, n_shards=2) as parallel:
        for which in (0, 1, 0):
            for rows in (4, 1):
                x = rng.standard_normal((rows, 3), np.float32)
                batch = {"x": x, "used": np.full(rows, which)}
                _, g = parallel.gradient([batch, batch], seed=[0])
                expected = np.zeros((2, 8), np.float32)
                expected[which] = 2 * np.append(np.repeat(x.sum(axis=0), 2), [rows, rows])
                np.testing.assert_allclose(g, expected.ravel(), rtol=1e-5)


def test_shards_run_at_the_same_time(model, batch):
    both_are_here = threading.Barrier(2, timeout=20)

    def forward(*arguments, **settings):
        both_are_here.wait()
        return causal_lm_forward(*arguments, **settings)

    with DataParallel(
        (forward, causal_lm_backward), *model, count, n_shards=2, config=CONFIG
    ) as parallel:
        parallel.gradient([batch], [0])


def test_an_error_in_a_thread_reaches_the_caller(model, batch):
    with (
        DataParallel(PAIR, *model, count, n_shards=2, config=CONFIG) as parallel,
        pytest.raises(ValueError, match="token ids span"),
    ):
        parallel.gradient([batch | {"ids": batch["ids"] + 11}], [0])


def test_settings_of_training_are_not_those_of_evaluation(model, batch):
    told = []

    def forward(p, *, smoothing=None, normalizer, rng=None, **arguments):
        told.append((smoothing, normalizer, rng is not None))
        return causal_lm_forward(p, normalizer=normalizer, **arguments)

    pair = (forward, causal_lm_backward)
    training = {"smoothing": 0.1}
    with DataParallel(
        pair, *model, count, n_shards=1, training=training, config=CONFIG
    ) as parallel:
        parallel.gradient([batch], [0])
        parallel.losses([batch], 3)
    assert told == [(0.1, count(batch), True), (None, 3, False)]


def test_blas_is_held_at_one_thread():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"), one_blas_thread():
        pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        assert [pool["num_threads"] for pool in pools] == [1] * len(pools)


def test_the_last_one_gives_blas_its_threads_back():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads():
        info = threadpoolctl.threadpool_info()
        return {pool["num_threads"] for pool in info if pool["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before, first, second = threads(), one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() <= {1}  # none where BLAS knows no threads
        second.__exit__(None, None, None)
        assert threads() == before


@pytest.mark.parametrize(("accepted", "result"), [(1, True), (0, False)])
def test_malloc_is_asked_where_there_is_glibc(monkeypatch, accepted, result):
    calls = []
    mallopt = SimpleNamespace(mallopt=lambda *setting: calls.append(setting) or accepted)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator, "libc", lambda: mallopt)
    assert keep_freed_pages() is result
    assert {(-1, -1), (-4, 0)} <= set(calls)  # M_TRIM_THRESHOLD, M_MMAP_MAX: return nothing
    assert {option for option, _ in calls} == {-1, -2, -4, -8}  # numbers from glibc's malloc.h


@pytest.mark.parametrize(
    ("platform", "library"), [("darwin", None), ("win32", None), ("linux", SimpleNamespace())]
)
def test_elsewhere_malloc_is_left_alone(monkeypatch, platform, library):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(allocator, "libc", lambda: library)
    assert keep_freed_pages() is False
