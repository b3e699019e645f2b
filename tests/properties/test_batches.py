"""§5.1 Batches: shifted by one, each token as often as promised, a function of (seed, step)."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from numpylm.data.batches import BPTTColumns, LengthBuckets, RandomWindows, evaluation_windows
from numpylm.data.special import pad_rows

SIZES, STREAMS, SEEDS = st.integers(1, 9), st.integers(2, 200), st.integers(0, 2**40)


@given(SIZES, SIZES, STREAMS)
def test_bptt_covers_each_column_exactly_once(batch_size, length, n):
    n = max(n, 2 * batch_size)
    batches = BPTTColumns(np.arange(n), batch_size, length)
    for number in (0, 3):  # of the pass
        steps = range(number * batches.chunks_per_epoch, (number + 1) * batches.chunks_per_epoch)
        chunks = [batches.batch(step) for step in steps]
        ids = np.concatenate([x for x, _ in chunks], axis=1)
        targets = np.concatenate([y for _, y in chunks], axis=1)
        height = n // batch_size
        columns = np.arange(height * batch_size).reshape(batch_size, height)
        np.testing.assert_array_equal(ids, columns[:, :-1])
        np.testing.assert_array_equal(targets, ids + 1)
        assert all(x.shape[1] == length for x, _ in chunks[:-1])
        assert 1 <= chunks[-1][0].shape[1] <= length


@given(SIZES, SIZES, STREAMS, SEEDS)
def test_a_pass_visits_every_window_once(batch_size, length, n, seed):
    n = max(n, length + 1)
    batches = RandomWindows(np.arange(n), batch_size, length, seed)
    count = batches.windows_per_pass
    pairs = [batches.batch(step) for step in range(-(-2 * count // batch_size))]
    ids, targets = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    np.testing.assert_array_equal(targets, ids + 1)
    np.testing.assert_array_equal(np.diff(ids, axis=1), 1)
    for number in (0, 1):  # of the pass: no token twice, and what is left out are the two ends
        seen = np.sort(ids[number * count : (number + 1) * count].ravel())
        np.testing.assert_array_equal(np.diff(seen), 1)
        assert seen[-1] < n - 1
    assert count * length >= n - 2 * length or count == 1


@given(SIZES, STREAMS)
def test_evaluation_windows_cover_all_they_can(length, n):
    if n < length + 1:
        with pytest.raises(ValueError, match=f"has {n} tokens"):
            evaluation_windows(np.arange(n), length)
        return
    ids, targets = evaluation_windows(np.arange(n), length)
    assert ids.shape == ((n - 1) // length, length)
    np.testing.assert_array_equal(ids.ravel(), np.arange(ids.size))
    np.testing.assert_array_equal(targets, ids + 1)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=300), SIZES, SEEDS)
def test_buckets_visit_each_example_once_a_pass(lengths, batch_size, seed):
    buckets = LengthBuckets(np.array(lengths), batch_size, seed)
    per_pass = buckets.batches_per_epoch
    for number in (0, 1, 5):
        steps = range(number * per_pass, (number + 1) * per_pass)
        batches = [buckets.batch(step) for step in steps]
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
        sizes = sorted((len(batch) for batch in batches), reverse=True)
        assert sizes[:-1] == [batch_size] * (len(batches) - 1)
    if len(lengths) <= 50 * batch_size:  # one pool: no two batches overlap but at their ends
        spans = sorted((min(b), max(b)) for b in ([lengths[i] for i in b] for b in batches))
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@given(st.data(), SIZES, SIZES, STREAMS, SEEDS)
def test_a_batch_is_a_function_of_seed_and_step(data, batch_size, length, n, seed):
    """In whatever order they are asked for: nothing needs to be remembered to resume."""
    n = max(n, length + 1, 2 * batch_size)
    order = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
    makers = [
        lambda: RandomWindows(np.arange(n), batch_size, length, seed),
        lambda: BPTTColumns(np.arange(n), batch_size, length),
        lambda: LengthBuckets(np.arange(n) % 7, batch_size, seed),
    ]
    for make in makers:
        in_order = make()
        expected = {step: np.array(in_order.batch(step)) for step in range(max(order) + 1)}
        for step in order:
            np.testing.assert_array_equal(np.array(make().batch(step)), expected[step])


@given(SEEDS, SEEDS)
def test_another_seed_draws_others(seed, other):
    assume(seed != other)
    first, second = (
        RandomWindows(np.arange(500), 8, 5, s).batch(0)[0].tolist() for s in (seed, other)
    )
    assert first != second


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5))
def test_padded_rows_begin_with_their_own(rows):
    table = pad_rows([np.array(row, np.int64) for row in rows], fill=-7)
    assert table.shape == (len(rows), max(map(len, rows)))
    assert [[i for i in row if i != -7] for row in table.tolist()] == rows
    assert all((row[len(own) :] == -7).all() for row, own in zip(table, rows, strict=True))
