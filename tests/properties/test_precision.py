"""§A float32: every pair keeps it, and is as exact as float32 lets it be.

No function can know its inputs better than to a unit roundoff u = 2⁻²⁴, so a change of every number
by ±u of itself changes the result by as much as nobody can help; how much that is depends on the
function (a badly conditioned one may lose many digits) and is measured in float64. Each step of the
computation adds a rounding of its own, of the same size and at random, so that some ten or a
hundred of them, each acting like a change of what it rounds, add up to a few times that (√n, not
n). The bound is 10 times; the largest seen over 60 seeds of all pairs is 3.6. A sum in a bad order,
a cancellation as in E[x²] − μ², or a constant of too few digits is far beyond it.
"""

import copy

import numpy as np
import pytest
from hypothesis import given

from numpylm.gradcheck.audit import Pair
from numpylm.gradcheck.catalogue import PAIRS
from numpylm.parameters import leaves, pack, view
from tests.properties.strategies import OBJECTIVES, SEEDS, V, effort

ROUNDOFF = 2.0**-24


def converted(value, dtype, rng=None):
    """A parameter tree, an input or a setting in a dtype; with ``rng`` each number ± u of it."""
    if isinstance(value, np.random.Generator):
        return copy.deepcopy(value)
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
        return value
    value = value.astype(dtype)
    return value if rng is None else value * (1 + ROUNDOFF * rng.choice([-1, 1], value.shape))


def results(pair: Pair, example, dtype, rng=None):
    """The output and every gradient, by name, for one example in a dtype."""
    p, inputs, settings = example
    inputs = [converted(a, dtype, rng) for a in inputs]
    settings = {name: converted(s, dtype) for name, s in settings.items()}
    tree, gradients, gradient = (), (), None
    if p is not None:
        theta, p = pack(p, dtype)
        theta[...] = converted(theta, dtype, rng)
        gradient = np.zeros_like(theta)
        tree, gradients = (p,), (p, view(p, gradient))
    y, cache = pair.forward(*tree, *inputs, **settings)
    dy = np.random.default_rng(8).standard_normal(np.shape(y)).astype(np.float32).astype(dtype)
    dx = pair.backward(*gradients, dy, cache)
    dx = dx if isinstance(dx, tuple) else (dx,)
    found = {"y": np.asarray(y), "parameters": gradient}
    found |= {f"input {i}": d for i, d in enumerate(dx)}
    return {name: a for name, a in found.items() if a is not None}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
@effort(0.1)
@given(seed=SEEDS)
def test_float32_stays_float32_and_near_float64(pair, seed):
    p, inputs, settings = pair.example(np.random.default_rng(seed))
    example = (
        None if p is None else pack(p, np.float32)[1],  # what both dtypes can hold
        [converted(a, np.float32) for a in inputs],
        {name: converted(s, np.float32) for name, s in settings.items()},
    )
    single, double = (results(pair, example, dtype) for dtype in (np.float32, np.float64))
    rng = np.random.default_rng([1, seed])
    moved = [results(pair, example, np.float64, rng) for _ in range(3)]
    for name, exact in double.items():
        assert single[name].dtype == np.float32, name
        helpless = max(np.linalg.norm(other[name] - exact) for other in moved)
        bound = 10 * (helpless + ROUNDOFF * np.linalg.norm(exact))
        assert np.linalg.norm(single[name] - exact) <= bound, name


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_models_start_in_float32(objective):
    theta, p = objective.init(0, objective.config(vocab_size=V))
    assert {a.dtype for _, a in leaves(p)} == {theta.dtype} == {np.dtype(np.float32)}
