"""§5.3 Shards and micro-batches: loss and gradient are those of one batch in one piece."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.training.data_parallel import DataParallel
from tests.properties.strategies import OBJECTIVES, assert_close, effort, learners, ragged

each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)


def rows_of(batch, start, stop):
    return {name: a[start:stop] for name, a in batch.items()}


def split(batch, cuts):
    """The batch as micro-batches."""
    n = len(next(iter(batch.values())))
    edges = sorted({0, n, *(cut for cut in cuts if cut < n)})
    return [rows_of(batch, a, b) for a, b in itertools.pairwise(edges)]


@each_objective
@effort(0.4)
@given(data=st.data(), n_shards=st.integers(1, 5), cuts=st.sets(st.integers(1, 3)))
def test_sharded_and_accumulated_equal_serial(objective, data, n_shards, cuts):
    """Shards without a sequence or without a target included; the buffers are used twice."""
    config, theta, p = data.draw(learners(objective))
    _, batch = data.draw(ragged(objective))
    loss, gradient = objective.loss_and_gradient(theta, p, batch, config)
    functions = objective.forward, objective.backward
    with DataParallel(
        functions, theta, p, objective.count, n_shards=n_shards, config=config
    ) as parallel:
        for micro_batches in ([batch], split(batch, cuts)):
            found_loss, found = parallel.gradient(micro_batches, [0])
            assert found_loss == pytest.approx(loss, rel=1e-10)
            assert_close(found, gradient)
        parts = split(batch, cuts)
        losses = parallel.losses(parts, sum(objective.count(part) for part in parts))
    assert sum(losses) == pytest.approx(loss, rel=1e-10)
