"""§6.3 Closed forms against a search, published numbers, and the data of Porian et al."""

import numpy as np
import pytest

from numpylm.scaling.fit.allocation import (
    akima,
    envelope,
    exponents,
    optimal_loss,
    optimum,
    power_fit,
    valleys,
)
from numpylm.scaling.fit.fitting import fit
from numpylm.scaling.fit.reconciliation import CHINCHILLA as HOFFMANN
from numpylm.scaling.fit.reconciliation import EPOCH, porian_chain, without_embeddings
from numpylm.scaling.laws.forms import FORMS
from tests.scaling.conftest import grid, losses
from tests.scaling.test_laws import CASES

PLANE = ("kaplan", "chinchilla", "generalised")


@pytest.mark.parametrize("form", [*PLANE, "data-constrained"])
def test_the_optimum_is_the_lowest_of_many(form):
    compute = np.array([1e11, 1e14])
    best = optimum(form, CASES[form], compute)
    for i, c in enumerate(compute):
        n = best.parameters[i] * np.geomspace(0.5, 2.0, 2001)
        x = np.stack([n, c / (6 * n), c / (6 * n)], axis=1)[:, : len(FORMS[form].inputs)]
        lowest = n[losses(form, CASES[form], x).argmin()]
        assert lowest == pytest.approx(best.parameters[i], rel=2e-3)
    np.testing.assert_allclose(6 * best.parameters * best.tokens, compute)
    assert best.exponent == pytest.approx(power_fit(compute, best.parameters)[0])
    many = {name: np.array([value, value]) for name, value in CASES[form].items()}
    np.testing.assert_allclose(exponents(form, many), best.exponent)


def test_kaplans_closed_form():
    """p (N_c/N)^p = D_c/D with p = α_N/α_D, and L ∝ C^(−α_N α_D / (α_N + α_D))."""
    k = CASES["kaplan"]
    p = k["alpha_N"] / k["alpha_D"]
    best = optimum("kaplan", k, np.array([1e12]))
    by_hand = (p * k["N_c"] ** p * 1e12 / (6 * k["D_c"])) ** (1 / (1 + p))
    assert best.parameters[0] == pytest.approx(by_hand)
    x, _ = grid()
    found = fit(FORMS["kaplan"], x, losses("kaplan", k, x))
    c = np.array([1e11, 1e13])
    slope = -k["alpha_N"] * k["alpha_D"] / (k["alpha_N"] + k["alpha_D"])
    assert power_fit(c, optimal_loss(found, c))[0] == pytest.approx(slope, rel=1e-4)


def test_published_allocations():
    assert optimum("chinchilla", HOFFMANN, [1.0]).exponent == pytest.approx(0.4565, abs=1e-4)
    epoch = optimum("chinchilla", EPOCH, np.array([5.76e23]))  # Gopher's budget
    assert epoch.exponent == pytest.approx(0.513, abs=5e-4)
    assert 15 < epoch.tokens_per_parameter[0] < 25  # Chinchilla's own: 70e9, 1.4e12 tokens
    kaplan = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
    assert optimum("kaplan", kaplan, [1.0]).exponent == pytest.approx(0.575, abs=1e-3)


def test_the_three_approaches_agree_where_the_law_is_true():
    k = CASES["chinchilla"]
    a = optimum("chinchilla", k, [1.0]).exponent
    compute = np.repeat(np.geomspace(1e11, 1e13, 5), 9)
    centre = optimum("chinchilla", k, compute).parameters
    n = centre * np.tile(np.geomspace(0.25, 4.0, 9), 5)
    y = losses("chinchilla", k, np.stack([n, compute / (6 * n)], axis=1))
    for method in ("parabola", "akima"):
        found = valleys(n, compute, y, method=method)
        assert all(v.interior for v in found)
        sizes = np.array([v.best_size for v in found])
        assert power_fit(compute[::9], sizes)[0] == pytest.approx(a, abs=0.01)
        np.testing.assert_allclose(sizes, centre[::9], rtol=0.1)
    curves = []
    for size in np.geomspace(1e3, 1e6, 25):
        c = np.geomspace(10, 1e5, 100) * 6 * size**2
        x = np.stack([np.full(100, size), c / (6 * size)], axis=1)
        curves.append((size, c, losses("chinchilla", k, x)))
    assert power_fit(*envelope(curves, 400))[0] == pytest.approx(a, abs=0.02)


def test_a_valley_whose_best_size_is_the_last_has_no_minimum():
    n = np.array([1e3, 2e3, 4e3, 8e3])
    (falling,) = valleys(n, np.full(4, 1e10), np.array([4.0, 3.9, 3.85, 3.84]))
    assert not falling.interior
    assert falling.best_size == pytest.approx(8e3)
    assert valleys(n[:2], np.full(2, 1e10), np.array([4.0, 3.9])) == []
    (twice,) = valleys(np.append(n, 2e3), np.full(5, 1e10), np.array([4, 3.9, 3.95, 4.1, 3.8]))
    assert len(twice.sizes) == 4
    assert twice.losses[1] == 3.8
    with pytest.raises(ValueError, match="method 'spline' must be"):
        valleys(n, n, n, method="spline")
    with pytest.raises(ValueError, match="needs two different budgets"):
        power_fit(np.array([1e10]), np.array([1e3]))


def test_akima_passes_through_its_points_and_keeps_straight_lines_straight(rng):
    x = np.sort(rng.uniform(0.0, 10.0, 8))
    y = rng.standard_normal(8)
    np.testing.assert_allclose(akima(x, y, x), y, atol=1e-12)
    at = np.linspace(x[0], x[-1], 50)
    np.testing.assert_allclose(akima(x, 3 * x - 1, at), 3 * at - 1)
    step = np.where(np.arange(8) < 4, 0.0, 1.0)
    flat = akima(np.arange(8.0), step, np.linspace(0, 2, 20))
    np.testing.assert_allclose(flat, 0.0, atol=1e-12)  # a cubic spline would ring here
    scipy = pytest.importorskip("scipy.interpolate")
    np.testing.assert_allclose(akima(x, y, at), scipy.Akima1DInterpolator(x, y)(at), atol=1e-10)


def test_pearce_and_song():
    """Chinchilla's law, counted as Kaplan counted, looks like Kaplan's."""
    epoch, hoffmann = without_embeddings(EPOCH), without_embeddings(HOFFMANN)
    assert epoch.size_exponent == pytest.approx(0.79, abs=0.005)
    assert hoffmann.size_exponent == pytest.approx(0.76, abs=0.005)
    assert epoch.loss_exponent == pytest.approx(-0.069, abs=5e-4)
    assert hoffmann.loss_exponent == pytest.approx(-0.065, abs=5e-4)
    assert epoch.local_exponents.max() == pytest.approx(0.98, abs=0.005)
    assert epoch.local_exponents.min() == pytest.approx(0.53, abs=0.005)
    i = 200  # and it is the optimum: no other size does better with the same 6 N D
    n = epoch.sizes[i] * np.geomspace(0.5, 2.0, 1001)
    total, tokens = n + 47491 * np.cbrt(n), epoch.compute[i] / (6 * n)
    other = losses("chinchilla", EPOCH, np.stack([total, tokens], axis=1))
    assert other.min() == pytest.approx(epoch.losses[i], rel=1e-6)
    assert n[other.argmin()] == pytest.approx(epoch.sizes[i], rel=2e-3)


@pytest.mark.parametrize("dataset", ["rw", "owt2"])
def test_porians_chain(scaling_data, dataset):
    chain = porian_chain(scaling_data / "porian", dataset)
    for step in chain:
        assert step.exponent == pytest.approx(step.published, abs=0.01), step.what
    if dataset == "rw":
        expected = [0.835, 0.706, 0.602, 0.571, 0.497]
        assert [s.exponent for s in chain] == pytest.approx(expected, abs=0.01)


def test_what_has_no_optimum_is_refused():
    with pytest.raises(ValueError, match="the form n does not say how N and D are weighed"):
        optimum("n", CASES["n"], [1e10])
    with pytest.raises(ValueError, match="exponents -0.1 and 0.45 must be positive"):
        optimum("chinchilla", {**CASES["chinchilla"], "alpha": -0.1}, [1e10])
