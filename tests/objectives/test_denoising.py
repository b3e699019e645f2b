"""§2.1 Denoising: nothing is lost, and the drawn proportions are those asked for."""

import numpy as np
import pytest

from numpylm.objectives.denoising import corrupt_spans, delete_tokens

SENTINELS = np.arange(1000, 1200)


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
    for corrupt in (delete_tokens, lambda one, rng: corrupt_spans(one, rng, sentinels=SENTINELS)):
        with pytest.raises(ValueError, match="1 tokens are too few: one has to leave"):
            corrupt(ids[:1], rng)
