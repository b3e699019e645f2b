"""§5.1 Batches: shifted by one, covering the stream exactly once, a function of (seed, step)."""

import numpy as np
import pytest

from numpylm.data.batches import BPTTColumns, LengthBuckets, RandomWindows


def test_the_last_short_chunk_is_kept():
    batches = BPTTColumns(np.arange(22), batch_size=2, length=4)  # columns of 11: 10 targets
    assert [batches.batch(i)[0].shape for i in range(3)] == [(2, 4), (2, 4), (2, 2)]


def test_the_textbooks_batches():
    """§5.1: batch 128, length 35."""
    ids, targets = BPTTColumns(np.arange(128 * 100), 128, 35).batch(0)
    assert ids.shape == targets.shape == (128, 35)
    assert targets[3, 0] == ids[3, 0] + 1 == 301


def test_windows_are_consecutive_and_shifted():
    batches = RandomWindows(np.arange(50), batch_size=8, length=6, seed=3)
    ids, targets = batches.batch(4)
    assert ids.shape == (8, 6)
    np.testing.assert_array_equal(targets, ids + 1)
    np.testing.assert_array_equal(np.diff(ids, axis=1), 1)
    np.testing.assert_array_equal(batches.batch(4)[0], ids)
    assert (batches.batch(5)[0] != ids).any()


def test_passes_differ_in_offset_and_order():
    batches = RandomWindows(np.arange(1000), batch_size=98, length=10, seed=0)
    assert batches.windows_per_pass == 98
    first, second = (batches.batch(step)[0][:, 0] for step in (0, 1))
    assert first.min() % 10 != second.min() % 10
    assert (np.argsort(first) != np.argsort(second)).any()
    assert (np.diff(first) < 0).any()


def test_windows_reach_both_ends():
    batches = RandomWindows(np.arange(8), batch_size=200, length=6, seed=0)
    ids, targets = batches.batch(0)
    assert ids.min() == 0
    assert targets.max() == 7


def test_too_short_streams_are_refused():
    with pytest.raises(ValueError, match="has 6 tokens, a context of 6 needs 7"):
        RandomWindows(np.arange(6), 2, 6, 0)
    with pytest.raises(ValueError, match="3 training tokens cannot fill 2 columns"):
        BPTTColumns(np.arange(3), 2, 1)


def a_pass(buckets, number=0):
    n = buckets.batches_per_epoch
    return [buckets.batch(step) for step in range(number * n, (number + 1) * n)]


def test_a_bucket_holds_similar_lengths(rng):
    lengths = rng.integers(1, 100, 4000)
    batches = a_pass(LengthBuckets(lengths, 8, 0))
    spreads = [np.ptp(lengths[batch]) for batch in batches]
    assert np.mean(spreads) < 3  # of 8 random ones it is 78: 400 in a pool share 99 lengths
    assert max(spreads) < 12
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.15  # short and long ones in turn


def test_buckets_are_a_function_of_seed_and_step(rng):
    lengths = rng.integers(1, 50, 200)
    first = a_pass(LengthBuckets(lengths, 4, 1))
    again = LengthBuckets(lengths.copy(), 4, 1)
    assert again.batch(60) != first[10]  # a step of the next pass, asked for before this one
    assert [again.batch(step) for step in (10, 3)] == [first[10], first[3]]
    assert a_pass(again, 1) != first
    assert a_pass(LengthBuckets(lengths, 4, 2)) != first
    assert a_pass(LengthBuckets(lengths.astype(np.int32), 4, 1)) == first
