"""§6.2 The controls: intervals that cover, and a floor that is known."""

import numpy as np
import pytest

from numpylm.scaling.fit.fitting import fit
from numpylm.scaling.fit.synthetic import ZipfMarkov, coverage, synthetic_losses
from numpylm.scaling.laws.forms import FORMS
from tests.scaling.conftest import CHINCHILLA, KAPLAN, grid, losses


def test_the_noise_is_that_of_the_logarithm(rng):
    x = np.tile(grid()[0], (200, 1))
    y = synthetic_losses("kaplan", KAPLAN, x, 0.01, rng)
    ratio = np.log(y / losses("kaplan", KAPLAN, x))
    assert ratio.std() == pytest.approx(0.01, rel=0.03)
    assert abs(ratio.mean()) < 5e-4


@pytest.mark.slow
@pytest.mark.parametrize(("form", "true"), [("kaplan", KAPLAN), ("chinchilla", CHINCHILLA)])
def test_intervals_cover_the_truth(form, true):
    """Nominally 95 %, of squares; Huber's are wider. The ledger has those of a thousand sets."""
    x, _ = grid()
    found = coverage(form, true, x, loss="mse", simulations=40, samples=200, seed=10)
    assert found.pop("failed") == 0.0
    # the constants of a set hang together: 40 sets have a standard error of 3 to 4 points
    assert 0.85 <= np.mean(list(found.values())) <= 0.995, found


def test_coverage_of_predictions_counts_the_law_and_a_new_run():
    """A new run has noise of its own, so the interval of the law alone would hold it too rarely."""
    x, _ = grid()
    found = coverage("kaplan", KAPLAN, x, target=10.0 * x[-1], loss="mse", noise=0.01,
                     simulations=40, samples=100)  # fmt: skip
    assert 0.85 <= found["law"] <= 1.0
    assert 0.85 <= found["new run"] <= 1.0


def test_coverage_sees_intervals_that_are_too_narrow(monkeypatch):
    """Resamples that hardly differ from the data: the control must notice."""
    from numpylm.scaling.fit import intervals

    def barely(groups, samples, rng):
        return 1.0 + 0.01 * rng.standard_normal((samples, len(groups)))

    monkeypatch.setattr(intervals, "resampled", barely)
    x, _ = grid(sizes=4)
    found = coverage("kaplan", KAPLAN, x, simulations=6, samples=20)
    assert max(found[name] for name in KAPLAN) <= 0.5


def test_the_entropy_rate_is_that_of_zipf():
    """Every history has the same probabilities in another order, so h is their entropy."""
    language = ZipfMarkov(vocab_size=6, order=2)
    zipf = np.arange(1, 7) ** -1.2
    zipf /= zipf.sum()
    assert language.floor() == pytest.approx(-(zipf * np.log(zipf)).sum())
    assert language.cross_entropy(language.transitions) == pytest.approx(language.floor())
    assert language.floor() < language.floor(1) < language.floor(0) <= np.log(6)


def test_the_stationary_distribution_is_what_a_long_text_has():
    language = ZipfMarkov(vocab_size=4, order=2)
    ids = language.sample(30_000)
    counts = np.bincount(4 * ids[:-1] + ids[1:], minlength=16) / (len(ids) - 1)
    np.testing.assert_allclose(counts, language.stationary(), atol=0.01)
    np.testing.assert_array_equal(ids[:50], language.sample(50))
    assert (ids[:50] != language.sample(50, seed=1)).any()
    frequency = -np.log(language.transitions[4 * ids[:-2] + ids[1:-1], ids[2:]]).mean()
    assert frequency == pytest.approx(language.floor(), abs=0.015)


def counting_loss(language, d, history, rng):
    """The exact loss of a model that counted what follows ``history`` tokens in d tokens."""
    v = language.vocab_size
    seen = rng.multinomial(rng.multinomial(d, language.stationary()), language.transitions)
    merged = seen.reshape(-1, v**history, v).sum(axis=0) + 1.0 / v  # add-k keeps it above zero
    q = merged / merged.sum(axis=1, keepdims=True)
    return language.cross_entropy(np.tile(q, (v ** (language.order - history), 1)))


@pytest.mark.parametrize("history", [1, 2])
def test_the_floor_of_the_law_is_the_floor_of_the_language(history, rng):
    """E of L(D) = E + B/D^β, fitted to counting models, is the entropy that they can reach."""
    language = ZipfMarkov(6, order=2)
    tokens = np.geomspace(2_000, 200_000, 9).astype(int)
    y = [np.mean([counting_loss(language, d, history, rng) for _ in range(20)]) for d in tokens]
    found = fit(FORMS["d-offset"], tokens[:, None].astype(float), np.array(y)).constants
    assert found["E"] == pytest.approx(language.floor(history), abs=0.001)
    assert found["alpha"] == pytest.approx(1.0, abs=0.1)  # V^h (V − 1) free numbers cost that / 2D


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"vocab_size": 1}, "1 tokens"), ({"vocab_size": 100, "order": 4}, "histories of 4"),
     ({"vocab_size": 5, "exponent": -1.0}, "exponent -1.0")],
)  # fmt: skip
def test_what_is_no_language_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ZipfMarkov(**settings)
    with pytest.raises(ValueError, match="history 3 is not between 0 and order 2"):
        ZipfMarkov(5).floor(3)
