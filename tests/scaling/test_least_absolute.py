"""§6.2 Least absolute deviation: the minimum itself, and the proof that it is one."""

from itertools import combinations

import numpy as np
import pytest

from numpylm.scaling.fit.fitting import fit
from numpylm.scaling.fit.least_absolute import certificate
from numpylm.scaling.fit.synthetic import synthetic_losses
from numpylm.scaling.laws.forms import FORMS
from tests.scaling.conftest import CHINCHILLA, grid
from tests.scaling.test_laws import CASES, inputs


def test_a_straight_line_is_the_best_of_all_through_two_points(rng):
    n = np.geomspace(1e3, 1e6, 15)[:, None]
    y = synthetic_losses("n", {"A": 9.0, "alpha": 0.2}, n, 0.03, rng)
    x, target, best = np.log(n[:, 0]), np.log(y), np.inf
    for i, k in combinations(range(15), 2):
        slope = (target[k] - target[i]) / (x[k] - x[i])
        best = min(best, np.abs(target - target[i] - slope * (x - x[i])).sum())
    found = fit(FORMS["n"], n, y, loss="lad")
    assert found.objective == pytest.approx(best, rel=1e-13)
    assert found.certificate.zeros == found.certificate.needed == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nats", [False, True])
def test_as_many_residuals_are_zero_as_there_are_constants(form, nats, rng):
    x = inputs(form, rng)
    y = synthetic_losses(form, CASES[form], x, 1e-3, rng)
    found = fit(FORMS[form], x, y, loss="lad", nats=nats)
    proof = found.certificate
    assert (np.abs(found.misses) < 1e-12).sum() == proof.zeros
    assert proof.zeros <= proof.needed <= len(found.theta)
    assert proof.largest_multiplier <= 1.0
    assert proof.unbalanced < 1e-9
    assert found.objective == pytest.approx(np.abs(found.misses).sum())
    # the certificate again, from what it says: no direction makes the sum smaller
    for step in 1e-7 * rng.standard_normal((200, len(found.theta))):
        near = np.abs(found.problem.linear(found.theta + step)[0]).sum()
        assert near >= found.objective * (1 - 1e-9)


def test_where_the_law_bends_fewer_zeros_are_enough():
    """The seed was found by search: at this minimum two residuals are zero, and three constants."""
    rng = np.random.default_rng(3)
    x = inputs("n-offset", rng)
    for noise in (0.0, 1e-3, 0.03):
        y = np.round(synthetic_losses("n-offset", CASES["n-offset"], x, noise, rng), 2)
    found = fit(FORMS["n-offset"], x, y, loss="lad")
    assert found.certificate[:2] == (2, 3)
    assert found.certificate.unbalanced < 1e-12


def test_gemstones_to_the_end(gemstones):
    law = FORMS["chinchilla"]
    x, y = gemstones.inputs(law), gemstones.loss
    found = fit(law, x, y, loss="lad")
    near = fit(law, x, y, delta=1e-6)
    assert found.certificate[:2] == (5, 5)
    assert found.certificate.largest_multiplier < 1.0
    assert 1e-7 < np.abs(near.residuals).sum() / found.objective - 1 < 1e-4
    assert found.objective == pytest.approx(2.0574328917751683, rel=1e-12)


def test_a_point_that_is_no_minimum_has_no_certificate(rng):
    x, _ = grid()
    y = synthetic_losses("chinchilla", CHINCHILLA, x, 0.01, rng)
    squares = fit(FORMS["chinchilla"], x, y, loss="mse")
    assert certificate(*squares.problem.linear(squares.theta)).unbalanced > 1e-3
