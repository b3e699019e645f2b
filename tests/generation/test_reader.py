"""A reader serves many texts, one after the other or by turns."""

import sys
from itertools import chain

import numpy as np
import pytest

from numpylm.generation.reader import Reader
from numpylm.generation.sampling import generate
from numpylm.processes import _blas
from tests.generation.test_tensor_parallel import CONTEXT, model, text

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
