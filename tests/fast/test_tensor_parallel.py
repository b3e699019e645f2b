"""Tensor parallelism: the numbers of one process, and nothing that outlives its owner."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from numpylm.fast.generation import tensor_parallel
from numpylm.fast.generation.folded_weights import fold_decoder
from numpylm.fast.generation.reader import Reader
from numpylm.fast.generation.tensor_parallel import ProcessGroup, part_of
from numpylm.generation.sampling import generate
from numpylm.gradcheck.example_inputs import jittered
from numpylm.layers.input_embedding import POSITIONS
from numpylm.models.gpt import GPTConfig, gpt_forward, gpt_init
from tests.parallel.test_processes import ended, wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process does it all")
V, CONTEXT = 17, 12
SIZES = {"n_layers": 3, "n_heads": 4, "d_model": 16, "d_ff": 21, "vocab_size": V}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def model(dtype=np.float64, **settings):
    """Away from the start, where biases are 0 and every γ is 1."""
    config = GPTConfig(context=CONTEXT, **SIZES, **settings)
    _, p = jittered(gpt_init(0, config)[1], 1, size=0.2, dtype=dtype)
    return p, config


def text(p, config, n_tokens=20, seed=0, threads=1, **settings):
    rng = np.random.default_rng(seed)
    with Reader(p, config, threads) as read:
        return list(generate(read, np.array([3, 1]), n_tokens, rng=rng, **settings))


@pytest.fixture
def groups(monkeypatch):
    """The process groups that a test makes."""
    made = []
    close = ProcessGroup.close

    def closed(group):
        made.append(SimpleNamespace(processes=[*group.processes], tries=group.tries))
        close(group)

    monkeypatch.setattr(ProcessGroup, "close", closed)
    return made


@linux
@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    ("bias", "tied", "activation"),
    [(True, True, "gelu"), (True, False, "relu"), (False, False, "gelu")],
)
def test_the_logits_are_those_of_one_forward(threads, positions, norm, bias, tied, activation):
    p, config = model(
        positions=positions, norm=norm, bias=bias, tied=tied, activation=activation, alibi_scale=3.0
    )
    ids = np.random.default_rng(2).integers(0, V, CONTEXT)
    expected, _ = gpt_forward(p, ids[None], config=config)
    with Reader(p, config, threads) as read:
        for start, end in ((0, 5), (5, 6), (6, 7), (7, 10), (10, 11), (11, 12)):
            logits = read(ids[start:end].tolist(), start)
            np.testing.assert_allclose(logits, expected[0, end - 1], atol=1e-12)
        again = read(ids[:3].tolist(), 0)  # another text, from the start
        np.testing.assert_allclose(again, expected[0, 2], atol=1e-12)
        np.testing.assert_allclose(logits, expected[0, -1], atol=1e-12)  # still what it was


@linux
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype):
    p, config = model(dtype)
    with Reader(p, config) as alone, Reader(p, config, 2) as together:
        one, two = alone([4, 2, 7], 0), together([4, 2, 7], 0)
    assert one.dtype == two.dtype == dtype
    np.testing.assert_allclose(one, two, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_parts_are_the_columns_of_the_whole_each_once(size):
    p, config = model()
    whole, parts = fold_decoder(p, config), [part_of(p, config, i, size) for i in range(size)]
    assert [head for part in parts for head in part.heads] == [0, 1, 2, 3]
    for i, layer in enumerate(whole.layers):
        hidden = [part.layers[i].hidden for part in parts]
        np.testing.assert_allclose(np.hstack([h.weight for h in hidden]), layer.hidden.weight)
        np.testing.assert_allclose(np.hstack([h.bias for h in hidden]), layer.hidden.bias)
        rows = np.vstack([part.layers[i].output.weight for part in parts])
        np.testing.assert_allclose(rows, layer.output.weight)
        assert [part.layers[i].feed_output.bias is None for part in parts] == [
            rank > 0 for rank in range(size)
        ]
    columns = np.hstack([part.output.weight for part in parts])
    np.testing.assert_array_equal(columns, whole.output.weight)
    largest, smallest = (f(part.output.weight.shape[1] for part in parts) for f in (max, min))
    assert largest - smallest <= 1


@linux
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_text_is_that_of_one_process_also_beyond_the_context(temperature, groups):
    p, config = model()
    alone = text(p, config, temperature=temperature)
    for threads in (2, 4):
        assert text(p, config, temperature=temperature, threads=threads) == alone
    assert len(set(alone)) > 2 or temperature == 0.0
    assert [len(group.processes) for group in groups] == [1, 3]
    assert all(ended(process.pid) for group in groups for process in group.processes)


@linux
def test_a_reader_that_takes_its_time_is_waited_for(monkeypatch):
    monkeypatch.setattr(tensor_parallel, "PATIENCE", 0.01)
    p, config = model()
    slowly, rng = [], np.random.default_rng(0)
    with Reader(p, config, 2) as read:
        for token in generate(read, np.array([3, 1]), 5, rng=rng):
            slowly.append(token)
            time.sleep(0.05)  # the others fall asleep, and look around
    assert slowly == text(p, config, 5)


@linux
def test_one_processor_is_enough(groups):
    p, config = model()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert text(p, config, threads=3) == text(p, config)
        assert os.sched_getaffinity(0) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
    assert groups[0].tries == 0


@linux
def test_the_others_stay_off_the_processor_of_the_first():
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        pytest.skip("there is one processor")
    p, config = model()
    with Reader(p, config, 2) as read:
        other = read.group.processes[0].pid
        assert len(os.sched_getaffinity(other)) == len(allowed) - 1
        assert os.sched_getaffinity(0) == allowed

        def moves(here):
            """This process goes somewhere, a text begins, and where is the other one?"""
            os.sched_setaffinity(0, {here})
            os.sched_setaffinity(0, allowed)
            read([1], 0)
            return here not in os.sched_getaffinity(other)

        for here in allowed:
            wait_until(lambda here=here: moves(here))  # the system may move this one on


@linux
@pytest.mark.parametrize("end", ["close", "del", "with"])
def test_the_processes_serve_every_text_and_end_with_the_reader(end, groups):
    p, config = model()
    read = Reader(p, config, 3)
    for seed in (0, 1):
        new = generate(read, np.array([3, 1]), 20, rng=np.random.default_rng(seed))
        assert list(new) == text(p, config, seed=seed)
    del new
    assert not groups
    if end == "close":
        read.close()
        read.close()
    elif end == "with":
        with read:
            pass
    else:
        del read
    assert len(groups) == 1
    assert all(ended(process.pid) for process in groups[0].processes)


@linux
def test_a_process_that_is_killed_is_reported(monkeypatch):
    monkeypatch.setattr(tensor_parallel, "LOOKS", 100)
    p, config = model()
    with Reader(p, config, 3) as read:
        read([1, 2], 0)
        os.kill(read.group.processes[1].pid, signal.SIGKILL)
        with pytest.raises(ValueError, match="a process that shared the work was killed"):
            read([3], 2)


@linux
def test_what_another_process_raises_is_raised_here(monkeypatch):
    p, config = model()

    def fails(group, *arguments):
        if group.rank:
            raise MemoryError("no room")
        return answer(group, *arguments)

    answer = ProcessGroup._answer
    monkeypatch.setattr(ProcessGroup, "_answer", fails)
    with pytest.raises(MemoryError, match="no room"), Reader(p, config, 2) as read:
        read([1], 0)


@linux
def test_an_error_here_ends_the_others(groups):
    p, config = model()
    with pytest.raises(ValueError, match="span 17 to 17"), Reader(p, config, 2) as read:
        read([V], 0)
    assert ended(groups[0].processes[0].pid)


@linux
def test_when_no_process_can_be_had_those_before_it_end(monkeypatch, groups):
    p, config = model()
    fork, calls = os.fork, []

    def once():
        calls.append(1)
        if len(calls) == 2:
            raise BlockingIOError("too many")
        return fork()

    monkeypatch.setattr(os, "fork", once)
    with pytest.raises(ValueError, match="no process can be started: too many; use --threads 1"):
        text(p, config, threads=3)
    assert [ended(process.pid) for process in groups[0].processes] == [True]


@linux
def test_an_interrupted_answer_is_the_last_and_ends_the_others(monkeypatch, groups):
    p, config = model()
    with Reader(p, config, 2) as read:
        read([1, 2], 0)
        with monkeypatch.context() as patch:

            def interrupted(*arguments):
                raise KeyboardInterrupt

            patch.setattr(read.group, "total", interrupted)
            with pytest.raises(KeyboardInterrupt):
                read([3], 2)
        with pytest.raises(ValueError, match="an answer of this reader was interrupted"):
            read([3], 2)
        assert [ended(process.pid) for process in groups[0].processes] == [True]


@linux
def test_a_text_longer_than_the_context_is_refused_alike():
    p, config = model()
    for threads in (1, 2):
        with Reader(p, config, threads) as read:
            read([1, 2], 0)
            with pytest.raises(ValueError, match="11 tokens after 2 exceed the context 12"):
                read([1] * 11, 2)


@linux
def test_a_copy_of_this_process_neither_asks_the_others_nor_ends_them():
    p, config = model()
    with Reader(p, config, 2) as read:
        pieces = generate(read, np.array([3, 1]), 20, rng=np.random.default_rng(0))
        written = [next(pieces)]
        pid = os.fork()
        if pid == 0:
            refused = 1
            try:
                next(pieces)
            except ValueError as error:
                refused = 0 if "another process" in str(error) else 2
            read.close()
            os._exit(refused)
        assert os.waitpid(pid, 0)[1] == 0
        written += pieces
    assert written == text(p, config)


@linux
def test_nobody_has_to_hear_that_a_process_has_ended(groups):
    p, config = model()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert text(p, config, threads=3) == text(p, config)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert all(ended(process.pid) for process in groups[0].processes)


@linux
def test_without_semaphores_one_line_says_so(monkeypatch):
    p, config = model()

    def none(context, value):
        raise OSError("no semaphores")

    monkeypatch.setattr("multiprocessing.context.BaseContext.Semaphore", none)
    with pytest.raises(ValueError, match="no process can be started: no semaphores; use --thr"):
        text(p, config, threads=2)


@linux
def test_an_interrupted_start_leaves_the_processors_free(monkeypatch, groups):
    p, config = model()
    allowed = os.sched_getaffinity(0)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(tensor_parallel, "part_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        text(p, config, threads=2)
    assert os.sched_getaffinity(0) == allowed
    assert ended(groups[0].processes[0].pid)


@pytest.mark.parametrize("threads", [0, -1, 5])
def test_threads_that_have_no_head_are_refused(threads):
    p, config = model()
    with pytest.raises(ValueError, match=f"threads is {threads}; it must be 1 to 4, one a head"):
        text(p, config, threads=threads)


def test_elsewhere_one_process_does_it_all(monkeypatch, groups):
    p, config = model()
    expected = text(p, config)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert text(p, config, threads=2) == expected
    assert not groups


ORPHAN = """
import sys, time
from tests.fast.test_tensor_parallel import *
p, config = model()
read = Reader(p, config, 3)
read([1, 2, 3], 0)
print(*(process.pid for process in read.group.processes), flush=True)
time.sleep(60)
"""


@linux
def test_processes_end_with_one_that_is_killed():
    command = [sys.executable, "-c", ORPHAN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGINT)  # Ctrl-C is for the first process
        parent.kill()
    wait_until(lambda: all(ended(pid) for pid in pids))
