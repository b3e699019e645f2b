"""§6.2 The forms against their formulas, and their derivatives against finite differences."""

import numpy as np
import pytest

from numpylm.scaling.laws.annealing import annealing_areas
from numpylm.scaling.laws.data_constrained import effective
from numpylm.scaling.laws.forms import FORMS
from tests.scaling.conftest import CHINCHILLA, KAPLAN, grid, losses

REPEATED = {**CHINCHILLA, "R_D": 15.0, "R_N": 5.0}
CASES = {
    "n": {"A": 9.0, "alpha": 0.2}, "d": {"A": 9.0, "alpha": 0.2}, "c": {"A": 50.0, "alpha": 0.06},
    "n-offset": {"A": 9.0, "alpha": 0.2, "E": 1.5}, "d-offset": {"A": 9.0, "alpha": 0.2, "E": 1.5},
    "c-offset": {"A": 50.0, "alpha": 0.1, "E": 0.5},
    "kaplan": KAPLAN, "chinchilla": CHINCHILLA,
    "generalised": {"A": 300.0, "alpha": 0.5, "B": 5e3, "beta": 0.6, "gamma": 0.4, "E": 0.8},
    "data-constrained": REPEATED,
    "annealing": {"A": 3.0, "alpha": 0.5, "C": 0.4, "E": 2.0},
}  # fmt: skip


def inputs(form, rng):
    """Twenty runs; for data-constrained some with repeated data, some with too large a model."""
    x, compute = grid(sizes=4)
    x[::2, 0] /= 1.0 if form != "data-constrained" else 300.0
    table = {"N": x[:, 0], "D": x[:, 1], "C": compute, "U": x[:, 1] / rng.uniform(0.5, 30.0, 20),
             "S1": rng.uniform(1.0, 50.0, 20), "S2": rng.uniform(-0.5, 1.0, 20)}  # fmt: skip
    return np.stack([table[name] for name in FORMS[form].inputs], axis=1)


def by_hand(form, k, x):
    """The formula as the papers print it."""
    a = x[:, 0]
    if form in ("n", "d", "c", "n-offset", "d-offset", "c-offset"):
        return k["A"] / a ** k["alpha"] + k.get("E", 0.0)
    b = x[:, 1]
    if form == "kaplan":
        inner = (k["N_c"] / a) ** (k["alpha_N"] / k["alpha_D"]) + k["D_c"] / b
        return inner ** k["alpha_D"]
    if form == "annealing":
        return k["E"] + k["A"] / a ** k["alpha"] - k["C"] * b
    if form == "data-constrained":
        u = np.minimum(b, x[:, 2])
        g = (k["alpha"] * k["A"] / (k["beta"] * k["B"])) ** (1 / (k["alpha"] + k["beta"]))
        best = g * (g * u) ** (k["beta"] / k["alpha"])
        un = np.minimum(a, best)
        b = u + u * k["R_D"] * (1 - np.exp(-(b / u - 1) / k["R_D"]))
        a = un + un * k["R_N"] * (1 - np.exp(-(a / un - 1) / k["R_N"]))
    return k["E"] + (k["A"] / a ** k["alpha"] + k["B"] / b ** k["beta"]) ** k.get("gamma", 1.0)


@pytest.mark.parametrize("form", FORMS)
def test_a_law_is_its_formula(form, rng):
    x = inputs(form, rng)
    np.testing.assert_allclose(losses(form, CASES[form], x), by_hand(form, CASES[form], x), 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_equal_finite_differences(form, rng):
    law, x = FORMS[form], inputs(form, rng)
    z = law.features(x)
    centre = law.centre(z)
    theta = law.theta(CASES[form], centre) + np.array([[0.0], [0.05], [-0.03]])  # three at a time
    _, derivatives = law.log_loss(theta, z - centre)
    assert derivatives.shape == (len(law.coordinates), 3, len(x))
    for j, found in enumerate(derivatives):
        step = np.zeros(theta.shape[1])
        step[j] = 1e-5
        high, low = (law.log_loss(theta + s, z - centre)[0] for s in (step, -step))
        np.testing.assert_allclose(found, (high - low) / 2e-5, atol=2e-8, rtol=1e-6)
    if form == "data-constrained":
        best_is_smaller = derivatives[5] != 0.0  # R_N* matters only where the model is too large
        assert best_is_smaller.any()
        assert not best_is_smaller.all()


@pytest.mark.parametrize("form", FORMS)
def test_constants_and_coordinates_are_inverse(form, rng):
    law = FORMS[form]
    centre = rng.uniform(1.0, 20.0, len(law.inputs)) * (law.inputs != ("S1", "S2"))
    theta = law.theta(CASES[form], centre)
    found = {name: value[0] for name, value in law.constants(theta[None], centre).items()}
    assert found == pytest.approx(CASES[form])
    assert set(found) == set(law.coordinates)
    assert set(law.profiled) <= set(law.coordinates)


def test_annealing_areas_are_the_double_sum():
    eta, memory = np.array([1.0, 1.0, 0.7, 0.4, 0.5]), 0.9
    s1, s2 = annealing_areas(eta, memory)
    drops = [0.0, *(eta[:-1] - eta[1:])]
    for s in range(5):
        double = sum(drops[k] * memory ** (i - k) for i in range(s + 1) for k in range(i + 1))
        assert s1[s] == pytest.approx(eta[: s + 1].sum())
        assert s2[s] == pytest.approx(double)
    for bad in ([], [1.0, -1.0], [np.nan]):
        with pytest.raises(ValueError, match="learning rates"):
            annealing_areas(np.array(bad))
    with pytest.raises(ValueError, match="memory 1.0"):
        annealing_areas(eta, 1.0)


def test_repeats_that_are_worth_nothing_are_no_overflow():
    """A resample may send R* towards 0; warnings are errors here."""
    with np.errstate(over="raise"):
        log_ratio, slope, by_r = effective(np.array([0.0, 1.0]), np.array([1e-320, 1e-320]))
    np.testing.assert_allclose(log_ratio, 0.0, atol=1e-300)
    assert np.isfinite(slope).all()
    assert np.isfinite(by_r).all()
