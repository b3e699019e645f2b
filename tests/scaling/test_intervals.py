"""§6.2 Bootstrap, profile and conditioning against what statistics says they are."""

import dataclasses
import math
import time

import numpy as np
import pytest

from numpylm.scaling.fit import intervals
from numpylm.scaling.fit.fitting import NotConverged, fit
from numpylm.scaling.fit.intervals import (
    bootstrap,
    condition,
    distinct,
    profile,
    resampled,
)
from numpylm.scaling.fit.remarks import of_fit
from numpylm.scaling.fit.synthetic import synthetic_losses
from numpylm.scaling.laws.forms import FORMS
from tests.scaling.conftest import CHINCHILLA, KAPLAN, grid
from tests.scaling.test_fitting import MUENNIGHOFF


@pytest.fixture
def line(rng):
    """ln L = ln A − α ln N with normal noise: here every interval has a closed form."""
    n = np.geomspace(1e3, 1e6, 40)[:, None]
    y = synthetic_losses("n", {"A": 9.0, "alpha": 0.2}, n, 0.01, rng)
    found = fit(FORMS["n"], n, y, loss="mse")
    z = np.log(n[:, 0]) - np.log(n).mean()
    sigma = math.sqrt((found.residuals**2).sum() / 38)
    return found, sigma / math.sqrt((z**2).sum())


def test_the_profile_of_a_straight_line_is_the_normal_interval(line):
    found, error = line
    low, high = profile(found, "alpha").interval
    alpha = found.constants["alpha"]
    assert low == pytest.approx(alpha - 1.96 * error, abs=0.02 * error)
    assert high == pytest.approx(alpha + 1.96 * error, abs=0.02 * error)


def test_the_bootstrap_of_a_straight_line_is_near_it(line):
    found, error = line
    rows = np.arange(40)
    low, high = bootstrap(found, rows, 400).intervals()["alpha"]
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.2)


def test_runs_are_drawn_whole_from_all_runs(rng):
    groups = np.array(["a", "a", "b", "c", "c", "d", "e"])
    w = resampled(groups, 4000, rng)
    np.testing.assert_array_equal(w[:, 0], w[:, 1])
    np.testing.assert_array_equal(w[:, 3], w[:, 4])
    np.testing.assert_allclose(w[:, [0, 2, 3, 5, 6]].sum(axis=1), 5.0)
    assert w.mean() == pytest.approx(1.0, abs=0.03)
    six = resampled(np.arange(6), 20_000, rng)
    means = (six * np.arange(6.0)).sum(axis=1) / 6
    assert means.var() == pytest.approx(np.arange(6.0).var() / 6, rel=0.05)


def test_one_run_is_nothing_to_draw_from(line):
    found, _ = line
    with pytest.raises(ValueError, match="all 40 rows are one run, x: a bootstrap draws runs"):
        bootstrap(found, np.repeat("x", 40), 20)


def test_the_condition_number_is_that_of_centred_inputs():
    x, _ = grid()
    found = fit(FORMS["kaplan"], x, synthetic_losses(
        "kaplan", KAPLAN, x, 0.003, np.random.default_rng(0)))  # fmt: skip
    z = np.log(x) - np.log(x).mean(axis=0)
    _, j = found.law.log_loss(found.theta[None], z)
    j = j[:, 0].T / np.linalg.norm(j[:, 0].T, axis=0)
    s = np.linalg.svd(j, compute_uv=False)
    assert condition(found) == pytest.approx(s[0] / s[-1])
    raw = found.law.log_loss(found.law.theta(found.constants, np.zeros(2))[None], np.log(x))[1]
    raw = raw[:, 0].T / np.linalg.norm(raw[:, 0].T, axis=0)
    assert np.linalg.cond(raw) > 3 * condition(found)  # what centring is for


def test_a_floor_that_is_not_seen_is_not_identified():
    """Runs far above E: the law without a floor fits as well, and the remark says so."""
    x, _ = grid()
    y = synthetic_losses("kaplan", KAPLAN, x, 0.003, np.random.default_rng(0))
    found = fit(FORMS["c-offset"], 6 * x.prod(axis=1, keepdims=True), y)
    said = of_fit(found, [profile(found, "E")])
    assert any(text.startswith("E is not identified") for text in said), said


def test_resamples_find_a_floor_again_that_has_vanished(rng):
    x, _ = grid()
    y = synthetic_losses("kaplan", KAPLAN, x, 0.01, rng)
    found = fit(FORMS["generalised"], x, y)
    nowhere = found.theta.copy()
    nowhere[-1] = -32.0  # ln E: no derivative says how far to go
    found = dataclasses.replace(found, theta=nowhere, minima=nowhere[None])
    groups = np.arange(len(y))
    drawn = resampled(groups, 100, rng)
    end = found.problem.minimise(np.tile(nowhere, (100, 1)), drawn)
    assert (end.slope < 1e-6).all(), "the other constants move all the same"
    boot = bootstrap(found, groups, 100)
    assert boot.failed == 0
    assert boot.intervals()["E"][1] > 0.01 * y.min()


def test_a_floor_that_is_seen_is_identified():
    x, _ = grid()
    y = synthetic_losses("chinchilla", CHINCHILLA, x, 1e-4, np.random.default_rng(0))
    found = fit(FORMS["chinchilla"], x, y)
    profiles = [profile(found, name) for name in found.law.profiled]
    assert of_fit(found, profiles) == []
    for p in profiles:
        assert p.interval[0] < CHINCHILLA[p.name] < p.interval[1]


def test_how_often_data_may_be_repeated_is_not_identified(datablations):
    law = FORMS["data-constrained"]
    found = fit(law, datablations.inputs(law), datablations.loss, fixed=MUENNIGHOFF)
    p = profile(found, "R_D")
    assert p.interval[0] < 15.4  # the published value is inside
    assert p.interval[1] is None or p.interval[1] > 200
    assert any(text.startswith("R_D is not identified") for text in of_fit(found, [p]))
    boot = bootstrap(found, np.arange(182), 60)
    low, high = boot.intervals()["R_D"]
    assert low < 15.4
    assert high > 100
    assert "alpha" not in boot.intervals()


def test_too_many_failures_are_no_interval(monkeypatch, line):
    found, _ = line
    rows = np.arange(40)
    with pytest.raises(ValueError, match="bootstrap 5: at least 20"):
        bootstrap(found, rows, 5)
    monkeypatch.setattr(intervals, "TOLERANCE", -1.0)
    with pytest.raises(NotConverged, match="30 of 30 bootstrap fits of n have not converged"):
        bootstrap(found, rows, 30)


def test_a_thousand_resamples_are_quick(gemstones):
    """15 s on one core is the bar; 200 of them are a fifth of it."""
    law, rows = FORMS["chinchilla"], np.arange(199)
    found = fit(law, gemstones.inputs(law), gemstones.loss)
    start = time.process_time()
    boot = bootstrap(found, rows, 200)
    assert time.process_time() - start <= 3.0
    assert boot.failed <= 4
    low, high = boot.intervals()["alpha"]
    assert low < found.constants["alpha"] < high


def test_minima_that_are_the_same_count_once():
    assert len(distinct(np.array([[1.0, 2.0], [1.0, 2.0 + 1e-5], [1.0, 3.0]]))) == 2
