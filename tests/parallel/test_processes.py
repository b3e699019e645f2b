"""The shards of a batch in processes: the same numbers, and nothing that outlives its owner."""

import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim import chunks
from numpylm.optim.clipping import global_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.parallel.shared_memory import shared, shared_zeros
from numpylm.parallel.workers import Process
from numpylm.training import data_parallel as parallel_module
from numpylm.training.data_parallel import DataParallel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere shards have threads")
CONFIG = GPTConfig(vocab_size=11, context=7, n_layers=2, n_heads=2, d_model=8, d_ff=10, dropout=0.3)
PAIR = causal_lm_forward, causal_lm_backward


@pytest.fixture
def model():
    return shared(*gpt_init(0, CONFIG))


@pytest.fixture
def batch(rng):
    ids, targets = rng.integers(0, 11, (2, 5, 7))
    return {"ids": ids, "targets": targets}


def count(batch):
    return batch["targets"].size


def ended(pid):
    """Has the process ended? One that nobody asked about yet still has its number."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_until(true, seconds=20.0):
    limit = time.monotonic() + seconds
    while not true() and time.monotonic() < limit:
        time.sleep(0.01)
    assert true()


def test_shared_parameters_are_the_same_numbers_in_memory_that_a_copy_shares(model):
    theta, p = model
    original, _ = gpt_init(0, CONFIG)
    np.testing.assert_array_equal(theta, original)
    theta[:] = 2.0
    assert (p.embedding.tokens.weight == 2.0).all()
    numbers = shared_zeros(3, np.float64)
    if (pid := os.fork()) == 0:
        numbers[1] = 7.0
        os._exit(0)
    os.waitpid(pid, 0)
    np.testing.assert_array_equal(numbers, [0.0, 7.0, 0.0])


def test_processes_and_threads_give_the_same_bits(model, batch):
    theta, p = model
    own, own_p = gpt_init(0, CONFIG)
    with (
        DataParallel(PAIR, theta, p, count, n_shards=3, shared=True, config=CONFIG) as processes,
        DataParallel(PAIR, own, own_p, count, n_shards=3, config=CONFIG) as threads,
    ):
        for step in range(3):  # each sees what the update before has changed
            results = [side.gradient([batch, batch], [1, step]) for side in (processes, threads)]
            assert results[0][0] == results[1][0]
            np.testing.assert_array_equal(results[0][1], results[1][1])
            for vector in (theta, own):
                vector -= 0.1 * results[0][1]
        assert [len(side.processes) for side in (processes, threads)] == [2, 0]
        assert 0.0 < processes.processes[0].seconds < processes.processor_seconds()


def test_an_optimiser_that_processes_cannot_share_is_refused(model):
    """Each would update its own copy of the moments, and nobody would see it."""
    theta, p = model
    own = Optimizer("adam", theta, None)
    with pytest.raises(ValueError, match="the state of adam is not"):
        DataParallel(PAIR, theta, p, count, n_shards=2, shared=True, optimizer=own, config=CONFIG)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_update_that_is_shared_out_has_the_same_bits(batch, name, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 100)
    ends = []
    for n_shards, shared_out in ((3, 1), (3, 10**9)):
        monkeypatch.setattr(parallel_module, "SHARED_OUT", shared_out)
        theta, p = shared(*gpt_init(0, CONFIG))
        frozen = np.arange(theta.size) % 7 == 0
        decay = np.where(frozen, 0.0, 0.1).astype(theta.dtype)
        own = Optimizer(name, theta, decay, momentum=0.9, zeros=shared_zeros)
        before = theta.copy()
        with DataParallel(
            PAIR,
            theta,
            p,
            count,
            n_shards=n_shards,
            shared=True,
            optimizer=own,
            frozen=frozen,
            config=CONFIG,
        ) as parallel:
            for step in range(3):
                _, gradient = parallel.gradient([batch], [1, step])
                assert not gradient[frozen].any()
                assert gradient[~frozen].any()
                assert parallel.norm == global_norm(gradient)
                parallel.update(0.01, 0.5)
            assert parallel.processes
        assert own.step == 3
        assert (theta != before)[~frozen].mean() > 0.9
        np.testing.assert_array_equal(theta[frozen], before[frozen])
        ends.append([theta, *own.state.values()])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shards_have_processes_of_their_own(model, batch):
    def forward(*arguments, **settings):
        _, cache = causal_lm_forward(*arguments, **settings)
        return float(os.getpid()), cache

    with DataParallel(
        (forward, causal_lm_backward), *model, count, n_shards=3, shared=True, config=CONFIG
    ) as parallel:
        total, _ = parallel.gradient([batch], [0])
        assert total == os.getpid() + sum(process.pid for process in parallel.processes)


def test_an_error_reaches_the_caller_and_the_next_batch_is_computed(model, batch):
    wrong = batch["ids"].copy()
    with DataParallel(PAIR, *model, count, n_shards=3, shared=True, config=CONFIG) as parallel:
        loss, gradient = parallel.gradient([batch], [0])
        expected = gradient.copy()
        for row in (0, 2, -1):  # here, and in the two other processes
            ids = wrong.copy()
            ids[row] = 11
            with pytest.raises(ValueError, match="token ids span"):
                parallel.gradient([batch | {"ids": ids}], [0])
            assert parallel.gradient([batch], [0])[0] == loss
        np.testing.assert_array_equal(parallel.gradient([batch], [0])[1], expected)


def test_numpy_s_errstate_goes_along(model, batch):
    def forward(*arguments, **settings):
        np.float32(1e38) * np.float32(1e38)
        return causal_lm_forward(*arguments, **settings)

    with DataParallel(
        (forward, causal_lm_backward), *model, count, n_shards=2, shared=True, config=CONFIG
    ) as parallel:
        with np.errstate(over="ignore"):
            parallel.gradient([batch], [0])
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            parallel.gradient([batch], [0])


def test_a_process_that_cannot_be_started_is_said(model, batch, monkeypatch):
    def no_fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    with (
        DataParallel(PAIR, *model, count, n_shards=2, shared=True, config=CONFIG) as parallel,
        pytest.raises(ValueError, match=r"no process can be started: .*; use --threads 1"),
    ):
        parallel.gradient([batch], [0])


def test_a_killed_process_is_said(model, batch):
    with DataParallel(PAIR, *model, count, n_shards=2, shared=True, config=CONFIG) as parallel:
        parallel.gradient([batch], [0])
        os.kill(parallel.processes[0].pid, signal.SIGKILL)
        wait_until(lambda: ended(parallel.processes[0].pid))
        with pytest.raises(ValueError, match="a process that shared the work was killed"):
            parallel.gradient([batch], [0])


def test_processes_end_with_the_block_and_do_not_hear_ctrl_c(model, batch):
    with DataParallel(PAIR, *model, count, n_shards=3, shared=True, config=CONFIG) as parallel:
        loss, _ = parallel.gradient([batch], [0])
        pids = [process.pid for process in parallel.processes]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert parallel.gradient([batch], [0])[0] == loss
    assert all(ended(pid) for pid in pids)


def test_the_garbage_of_this_process_is_not_collected_in_another():
    process = Process(gc.get_freeze_count)
    process.start()
    assert process.answer()[1] > 1000
    process.close()


ORPHAN = """
import fcntl, os, sys, time
from tests.parallel.test_processes import *
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
for closed in sys.argv[2:]:
    os.close(int(closed))
model = shared(*gpt_init(0, CONFIG))
parallel = DataParallel(PAIR, *model, count, n_shards=3, shared=True, config=CONFIG)
parallel.gradient([{"ids": np.zeros((4, 7), int), "targets": np.zeros((4, 7), int)}], [0])
print(*(process.pid for process in parallel.processes), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("closed", [[], ["0", "2"]])  # then connections take their numbers
def test_processes_end_with_one_that_is_killed_and_hold_none_of_its_files(tmp_path, closed):
    import fcntl

    command = [sys.executable, "-c", ORPHAN, str(tmp_path), *closed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGSTOP)  # busy, as it were
        parent.kill()
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no process of a dead training holds it
    os.close(lock)
    os.kill(pids[0], signal.SIGCONT)
    wait_until(lambda: all(ended(pid) for pid in pids))
