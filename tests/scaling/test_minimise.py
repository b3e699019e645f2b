"""§6.2 The optimiser on functions whose minima are known."""

import numpy as np

from numpylm.scaling.fit.minimise import minimise


def rosenbrock(x, rows):
    """(a − x)² + 100 (y − x²)², with another a in each row; minimum (a, a²)."""
    a = np.array([1.0, 2.0, -0.5])[rows]
    u, v = a - x[:, 0], x[:, 1] - x[:, 0] ** 2
    gradient = np.stack([-2 * u - 400 * v * x[:, 0], 200 * v], axis=1)
    return u**2 + 100 * v**2, gradient, np.ones(len(x))


def run(objective, start, tolerance=1e-8, max_steps=300):
    start = np.array(start, dtype=float)
    eye = np.tile(np.eye(start.shape[1]), (len(start), 1, 1))
    return minimise(objective, start, eye, tolerance=tolerance, max_steps=max_steps)


def test_each_row_finds_its_own_minimum():
    found = run(rosenbrock, [[-1.2, 1.0]] * 3)
    np.testing.assert_allclose(found.x, [[1, 1], [2, 4], [-0.5, 0.25]], atol=1e-7)
    assert (found.slope <= 1e-8).all()
    alone = run(lambda x, rows: rosenbrock(x, rows + 1), [[-1.2, 1.0]])
    np.testing.assert_array_equal(alone.x[0], found.x[1])  # rows do not touch each other


def test_a_row_that_runs_out_of_steps_says_so():
    found = run(rosenbrock, [[-1.2, 1.0]] * 3, max_steps=3)
    assert (found.slope > 1e-3).all()


def test_sums_of_absolute_values_come_out_at_the_median():
    points = np.array([0.0, 1.0, 5.0, 6.0, 40.0])

    def objective(x, rows):
        d = x - points
        return np.abs(d).sum(axis=1), np.sign(d).sum(axis=1)[:, None], np.ones(len(x))

    assert abs(run(objective, [[30.0]]).x[0, 0] - 5.0) < 1e-6


def test_steps_out_of_the_domain_are_refused():
    def objective(x, rows):  # x − ln x, for x > 0 alone
        with np.errstate(all="ignore"):
            return (x - np.log(x))[:, 0], 1 - 1 / x, np.ones(len(x))

    found = run(objective, [[0.01], [50.0], [-1.0]])
    np.testing.assert_allclose(found.x[:2, 0], 1.0, atol=1e-8)
    assert np.isnan(found.value[2])
    assert not found.slope[2] <= 1e-8 or np.isnan(found.value[2])
