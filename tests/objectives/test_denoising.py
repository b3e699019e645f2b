"""§2.1 Denoising: nothing is lost, and the drawn proportions are those asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.objectives.denoising import corrupt_spans, delete_tokens

SENTINELS = np.arange(1000, 1200)


def restore(source, target):
    """Put each span of the target back in the place of its sentinel."""
    spans, current = {}, None
    for token in target.tolist():
        if token >= 1000:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [t for token in source.tolist() for t in (spans[token] if token >= 1000 else [token])]


@given(st.integers(2, 300), st.floats(0.01, 0.9), st.floats(1.0, 6.0), st.integers(0, 10**6))
def test_source_and_target_together_hold_the_text(n, rate, mean_length, seed):
    ids = np.arange(n)
    rng = np.random.default_rng(seed)
    sentinels = np.arange(1000, 1000 + n + 1)
    source, target = corrupt_spans(
        ids, rng, sentinels=sentinels, rate=rate, mean_length=mean_length
    )
    assert restore(source, target) == ids.tolist()
    marks = target[target >= 1000]
    assert marks.tolist() == list(range(1000, 1000 + len(marks)))
    assert (source >= 1000).sum() == len(marks) - 1


def test_the_drawn_proportions(rng):
    lengths, share = [], []
    for _ in range(300):
        _, target = corrupt_spans(np.arange(200), rng, sentinels=SENTINELS)
        lengths += np.diff(np.flatnonzero(target >= 1000) - 1).tolist()
        share.append((target < 1000).mean() * len(target) / 200)
    assert np.mean(share) == pytest.approx(0.15)
    assert np.mean(np.array(lengths) - 1) == pytest.approx(3.0)
    assert max(lengths) > 6  # spans differ in length


def test_spans_begin_everywhere(rng):
    gone = np.zeros(20)
    for _ in range(2000):
        source, _ = corrupt_spans(np.arange(20), rng, sentinels=SENTINELS, mean_length=1.5)
        gone += ~np.isin(np.arange(20), source)
    assert (gone > 0.5 * gone.mean()).all()
    assert (gone < 1.5 * gone.mean()).all()


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 10**6))
def test_deletion_keeps_the_order_and_leaves_something(n, rate, seed):
    source, target = delete_tokens(np.arange(n), np.random.default_rng(seed), rate=rate)
    np.testing.assert_array_equal(target, np.arange(n))
    assert 0 < len(source) < n
    assert (np.diff(source) > 0).all()


def test_deletion_takes_its_share(rng):
    left = [len(delete_tokens(np.arange(100), rng, rate=0.3)[0]) for _ in range(500)]
    assert np.mean(left) == pytest.approx(70, abs=1)


def test_bad_settings_are_named(rng):
    ids = np.arange(30)
    with pytest.raises(ValueError, match=r"rate 1.0 is not in \(0, 1\)"):
        delete_tokens(ids, rng, rate=1.0)
    with pytest.raises(ValueError, match="rate 0 is not"):
        corrupt_spans(ids, rng, sentinels=SENTINELS, rate=0)
    with pytest.raises(ValueError, match="mean_length 0.5 is below 1"):
        corrupt_spans(ids, rng, sentinels=SENTINELS, mean_length=0.5)
    with pytest.raises(ValueError, match="5 spans need 6 sentinels, there are 2"):
        corrupt_spans(ids, rng, sentinels=SENTINELS[:2], rate=0.5)
