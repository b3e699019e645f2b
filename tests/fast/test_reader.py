"""A reader serves many texts, one after the other or by turns."""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest

from numpylm.fast.generation.reader import Reader
from numpylm.generation.sampling import generate
from numpylm.parallel.blas_threads import _blas
from tests.fast.test_tensor_parallel import CONTEXT, model, text

THREADS = [1, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="no fork"))]


@pytest.mark.parametrize("threads", THREADS)
def test_texts_that_are_written_by_turns_do_not_mix(threads):
    p, config = model()
    with Reader(p, config, threads) as read:
        both = [generate(read, np.array([3, 1]), 20, rng=np.random.default_rng(s)) for s in (0, 1)]
        mixed = list(chain(*zip(*both, strict=True)))
    assert mixed[::2] == text(p, config, seed=0)
    assert mixed[1::2] == text(p, config, seed=1)
    assert mixed[::2] != mixed[1::2]


@pytest.mark.parametrize("threads", THREADS)
def test_each_token_is_read_once_up_to_the_context(threads, monkeypatch):
    p, config = model()
    with Reader(p, config, threads) as read:
        asked, answer = [], read.read
        monkeypatch.setattr(
            read, "read", lambda ids, n: asked.append((len(ids), n)) or answer(ids, n)
        )
        list(generate(read, np.array([3, 1, 4]), CONTEXT, rng=np.random.default_rng(0)))
    once = [(3, 0), *((1, n) for n in range(3, CONTEXT))]
    assert asked == once + [(CONTEXT, 0)] * (CONTEXT - len(once))


@pytest.mark.parametrize("threads", THREADS)
def test_what_else_is_read_between_two_tokens_does_no_harm(threads):
    p, config = model()
    with Reader(p, config, threads) as read:
        written = []
        for token in generate(read, np.array([3, 1]), 20, rng=np.random.default_rng(0)):
            written.append(token)
            read([5, 6, 7], 0)
    assert written == text(p, config)


@pytest.mark.parametrize("threads", THREADS)
def test_python_threads_may_share_a_reader(threads):
    p, config = model()
    with Reader(p, config, threads) as read, ThreadPoolExecutor(3) as pool:

        def write(seed):
            rng = np.random.default_rng(seed)
            return list(generate(read, np.array([3, 1]), 20, rng=rng))

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            texts = list(pool.map(write, range(12)))
        finally:
            sys.setswitchinterval(before)
    assert texts == [text(p, config, seed=seed) for seed in range(12)]


@pytest.mark.parametrize("threads", THREADS)
def test_a_list_that_did_not_grow_has_the_same_answer(threads):
    p, config = model()
    with Reader(p, config, threads) as read:
        ids = [3, 1, 4]
        first = read.after(ids)
        np.testing.assert_array_equal(read.after(ids), first)
        ids.append(1)
        np.testing.assert_allclose(read.after(ids), Reader(p, config)(ids, 0), atol=1e-12)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("ids", "n", "message"),
    [
        ([17], 2, "span 17 to 17, the vocabulary has 17"),
        ([3, -1], 2, "span -1 to 3, the vocabulary has 17"),
        ([10**30], 2, "the vocabulary has 17"),
        ([], 2, "token ids are none"),
        ([3], 3, "position 3 does not follow the 2 that were read"),
        ([3], -1, "position -1 does not follow"),
        ([3] * 11, 2, "11 tokens after 2 exceed the context 12"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_reader_stays(threads, ids, n, message):
    p, config = model()
    with Reader(p, config, threads) as read:
        read([3, 1], 0)
        with pytest.raises(ValueError, match=message):
            read(ids, n)
        np.testing.assert_allclose(read([4], 2), Reader(p, config)([3, 1, 4], 0), atol=1e-12)


@pytest.mark.parametrize("threads", THREADS)
def test_a_closed_reader_says_so(threads):
    p, config = model()
    with Reader(p, config, threads) as read:
        read([3, 1], 0)
    with pytest.raises(ValueError, match="this reader is closed"):
        read([2], 2)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process does it all")
def test_blas_has_one_thread_while_there_are_several_processes():
    p, config = model()

    def limits():
        return [library["num_threads"] for library in _blas().info()]

    before = limits()
    with Reader(p, config, 1):
        assert limits() == before
    with Reader(p, config, 2):
        assert limits() == [1] * len(before)
    assert limits() == before
