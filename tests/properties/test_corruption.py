"""§2.1, §2.3 Corruption: nothing is lost, special tokens are left alone, the shares are right."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.denoising import corrupt_spans, delete_tokens
from numpylm.objectives.masked import mask_tokens
from tests.properties.strategies import SEEDS, effort

ORDINARY, MASK = np.arange(3, 40), 0  # 0 to 2 are special
RATES = st.floats(0.01, 1.0)
FIRST_SENTINEL = 1000


def within(found: int, n: int, share: float) -> bool:
    """A binomial count no farther than 6 standard deviations from its mean (1 in 10⁹)."""
    return abs(found - n * share) <= 6 * math.sqrt(n * share * (1 - share)) + 1


@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), SEEDS, RATES)
def test_masking_changes_only_what_it_asks_for(data, shape, seed, rate):
    ids = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 8)))
    starts = data.draw(st.none() | hnp.arrays(bool, shape))
    rng = np.random.default_rng(seed)
    kept = ids.copy()
    corrupted, targets = mask_tokens(
        ids, rng, mask_id=MASK, ordinary=ORDINARY, rate=rate, word_starts=starts
    )
    np.testing.assert_array_equal(ids, kept)
    chosen, may = targets != IGNORE, np.isin(ids, ORDINARY)
    assert not chosen[~may].any()
    assert chosen.any() == may.any()
    np.testing.assert_array_equal(targets[chosen], ids[chosen])
    np.testing.assert_array_equal(corrupted[~chosen], ids[~chosen])
    assert np.isin(corrupted[chosen], [MASK, *ORDINARY]).all()
    if rate == 1.0:
        np.testing.assert_array_equal(chosen, may)
    if starts is not None:  # a word is chosen as a whole; what precedes the first belongs to it
        words = np.maximum(np.cumsum(starts, axis=1), 1)
        for row, word in np.argwhere(np.ones_like(starts)):
            part = (words[row] == words[row, word]) & may[row]
            assert chosen[row, part].all() or not chosen[row, part].any()


@effort(0.3)
@given(SEEDS, st.floats(0.02, 0.9))
def test_the_shares_are_those_of_bert(seed, rate):
    rng = np.random.default_rng(seed)
    ids = rng.choice(ORDINARY, (100, 100))
    corrupted, targets = mask_tokens(ids, rng, mask_id=MASK, ordinary=ORDINARY, rate=rate)
    chosen = targets != IGNORE
    n = int(chosen.sum())
    masked, same = (int(x[chosen].sum()) for x in (corrupted == MASK, corrupted == ids))
    assert within(n, ids.size, rate)
    assert within(masked, n, 0.8)
    assert within(same, n, 0.1 + 0.1 / len(ORDINARY))  # a random word may be the same


def restore(source, target):
    """Put each span of the target back in the place of its sentinel."""
    spans, current = {}, None
    for token in target.tolist():
        if token >= FIRST_SENTINEL:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [t for s in source.tolist() for t in (spans[s] if s >= FIRST_SENTINEL else [s])]


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.floats(1.0, 6.0), SEEDS)
def test_source_and_target_together_hold_the_text(n, rate, mean_length, seed):
    ids, sentinels = np.arange(n), np.arange(FIRST_SENTINEL, FIRST_SENTINEL + n + 1)
    rng = np.random.default_rng(seed)
    source, target = corrupt_spans(
        ids, rng, sentinels=sentinels, rate=rate, mean_length=mean_length
    )
    assert restore(source, target) == ids.tolist()
    marks = target[target >= FIRST_SENTINEL]
    assert marks.tolist() == list(range(FIRST_SENTINEL, FIRST_SENTINEL + len(marks)))
    assert source[source >= FIRST_SENTINEL].tolist() == marks[:-1].tolist()
    assert target[0] == marks[0]
    assert target[-1] == marks[-1]
    gone = len(target) - len(marks)
    assert gone == min(max(round(rate * n), 1), n - 1)
    assert len(marks) - 1 == max(min(round(gone / mean_length), gone, n - gone), 1)
    places = np.flatnonzero(source >= FIRST_SENTINEL)
    assert (np.diff(places) > 1).all()  # between two spans something stays


@given(st.integers(2, 200), st.floats(0.01, 0.99), SEEDS)
def test_deletion_keeps_the_order_and_leaves_something(n, rate, seed):
    source, target = delete_tokens(np.arange(n), np.random.default_rng(seed), rate=rate)
    np.testing.assert_array_equal(target, np.arange(n))
    assert 0 < len(source) < n
    assert (np.diff(source) > 0).all()
    assert abs(len(source) - n * (1 - rate)) <= 6 * math.sqrt(n * rate * (1 - rate)) + 2


@pytest.mark.parametrize("corrupt", ["mask", "spans", "delete"])
@effort(0.3)
@given(seed=SEEDS)
def test_a_generator_in_one_state_gives_one_corruption(corrupt, seed):
    ids = np.arange(3, 40)
    functions = {
        "mask": lambda rng: mask_tokens(ids[None], rng, mask_id=MASK, ordinary=ORDINARY),
        "spans": lambda rng: corrupt_spans(ids, rng, sentinels=np.arange(1000, 1040)),
        "delete": lambda rng: delete_tokens(ids, rng, rate=0.5),
    }
    rng = np.random.default_rng(seed)
    first = functions[corrupt](rng)
    again = functions[corrupt](np.random.default_rng(seed))
    others = [functions[corrupt](rng) for _ in range(9)]
    assert [a.tolist() for a in first] == [a.tolist() for a in again]
    assert any([a.tolist() for a in first] != [a.tolist() for a in other] for other in others)
