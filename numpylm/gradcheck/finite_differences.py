"""Central differences of a forward, measured once, to hold any number of backwards against.

    ⟨dy, J·u⟩ ≈ ⟨dy, f(θ + εu) − f(θ − εu)⟩ / 2ε        for random directions u of each array

They are the expensive half of a gradient check, and they do not depend on the backward: an audit
of hundreds of wrong backwards measures them once.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from numpylm.parameters import Array, leaves, pack, view

Mode = Literal["directions", "coordinates"]


@dataclass(frozen=True)
class Differences:
    """What was measured; ``numeric`` are the derivatives ⟨dy, J·u⟩ along the directions."""

    evaluate: Callable[[], tuple[Array, Any]]
    p: Any
    inputs: list[Array]
    arrays: list[tuple[str, Array]]  # those that have a gradient: parameters, then inputs
    buffer: Array  # what dp holds beforehand
    dy: Array
    directions: list[list[Array] | None]  # for each array; None: every coordinate
    numeric: list[Array]
    noise: float  # differences below it mean nothing
    difference_step: float
    arguments: dict[str, str]  # what the forward calls each input


def central_differences(
    forward: Callable[..., Any],
    p: Any,
    *inputs: Array,
    seed: int = 0,
    difference_step: float = 1e-5,
    mode: Mode = "directions",
    directions: int = 3,
    dy: Array | None = None,
    **settings: Any,
) -> Differences:
    """Differentiate ``forward`` along random directions of each array, in float64.

    seed : of the upstream gradient, the directions and the noise in the gradient buffers.
    difference_step : ε, half the width of the difference quotient.
    mode : "directions" (``directions`` random ones an array) or "coordinates" (every entry).
    dy : the upstream gradient; random if None. One that is constant hides mistakes.
    settings : passed to ``forward``; a NumPy random generator repeats in each call.

    Raises ``ValueError`` if the forward cannot be repeated, or for another mode.
    """
    if mode not in ("directions", "coordinates"):
        raise ValueError(f'mode is {mode!r}; it must be "directions" or "coordinates"')
    rng = np.random.default_rng(seed)
    if p is not None:
        for name, a in leaves(p):
            if not _is_floating(a):
                raise ValueError(f"parameter {name} is {a.dtype}: it must be floating-point")
        _, p = pack(p, np.float64)
    buffer = rng.standard_normal(sum(a.size for _, a in leaves(p)))
    xs = [np.array(x, np.float64 if _is_floating(x) else None) for x in inputs]
    arrays = ([] if p is None else list(leaves(p))) + [
        (f"input {i}", x) for i, x in enumerate(xs) if _is_floating(x)
    ]

    def evaluate() -> tuple[Array, Any]:
        frozen = {k: copy.deepcopy(s) if _is_rng(s) else s for k, s in settings.items()}
        returned = forward(*xs, **frozen) if p is None else forward(p, *xs, **frozen)
        if not isinstance(returned, tuple) or len(returned) != 2:
            what = f"{len(returned)} values" if isinstance(returned, tuple) else "one value"
            raise ValueError(f"the forward returns {what}, not (y, cache)")
        return returned

    for a in [*xs, *(a for _, a in arrays)]:
        a.flags.writeable = False  # neither pass may write to what it is given, ids included
    y = np.array(evaluate()[0])
    if not np.array_equal(y, evaluate()[0], equal_nan=True):
        raise ValueError(
            "a second forward on the same inputs differs: give it a numpy.random.Generator as a "
            "setting, which the check repeats, and leave no state behind"
        )
    random = rng.standard_normal(np.shape(y))  # an array even for a scalar loss
    dy = random if dy is None else np.array(dy, np.float64)
    dy.flags.writeable = False
    us, numeric = [], []
    for _, a in arrays:
        drawn = None
        if mode == "directions":
            drawn = [rng.standard_normal(a.shape) for _ in range(directions)]
        us.append(drawn)
        numeric.append(_derivatives(evaluate, dy, a, drawn, difference_step))
    # Sums of rounding errors in ⟨dy, f⟩, divided by ε.
    ulp = np.finfo(np.float64).eps
    noise = 100 * ulp * float(np.vdot(np.abs(dy), np.abs(y))) / difference_step
    names = _arguments(forward, len(xs), p is not None)
    return Differences(
        evaluate, p, xs, arrays, buffer, dy, us, numeric, noise, difference_step, names
    )


def one_sided(d: Differences, name: str, us: list[Array] | None = None) -> tuple[Array, Array]:
    """⟨dy, J·u⟩ from above and from below, along directions of an array or for each entry."""
    a = dict(d.arrays)[name]
    kept, eps = a.copy(), d.difference_step
    middle = float(np.vdot(d.dy, d.evaluate()[0]))
    above, below = [], []
    a.flags.writeable = True
    for u in _coordinates(a) if us is None else us:
        np.add(kept, eps * u, out=a)
        above.append((float(np.vdot(d.dy, d.evaluate()[0])) - middle) / eps)
        np.subtract(kept, eps * u, out=a)
        below.append((middle - float(np.vdot(d.dy, d.evaluate()[0]))) / eps)
    a[...] = kept
    a.flags.writeable = False
    return np.array(above), np.array(below)


def kinked_entries(d: Differences, names: Iterable[str]) -> dict[str, Array]:
    """Booleans for each of the arrays: the entries whose one-sided differences disagree.

    Of a smooth function they differ by ε times its curvature, at a kink by the jump of its slope.
    """
    found = {}
    arrays, directions = dict(d.arrays), dict(zip(dict(d.arrays), d.directions, strict=True))
    for name in names:
        us = directions[name]
        if arrays[name].size and (us is None or _disagree(d, *one_sided(d, name, us)).any()):
            found[name] = _disagree(d, *one_sided(d, name)).reshape(arrays[name].shape)
    return found


def _disagree(d: Differences, above: Array, below: Array) -> Array:
    scale = np.maximum(np.abs(above).max(), np.abs(below).max())
    return np.abs(above - below) > 1e-3 * scale + 2 * d.noise


def off_the_kinks(d: Differences) -> tuple[Any, ...]:
    """(p, *inputs) moved a little in every floating-point entry, all in random directions."""
    rng = np.random.default_rng([17, d.buffer.size])

    def moved(a: Array) -> Array:
        finite = a[np.isfinite(a)]
        size = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
        return a + 1e-2 * (size or 1.0) * rng.standard_normal(a.shape)

    inputs = [moved(x) if _is_floating(x) else x for x in d.inputs]
    if d.p is None:
        return (None, *inputs)
    theta = np.concatenate([moved(a).ravel() for _, a in leaves(d.p)])
    return (view(d.p, theta), *inputs)


def _arguments(forward: Callable[..., Any], n: int, after_p: bool) -> dict[str, str]:
    """The names of a forward's n inputs in its signature; none where it has none."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())[after_p:]
    except (TypeError, ValueError):
        return {}
    named = [x.name for x in parameters if x.kind in (x.POSITIONAL_ONLY, x.POSITIONAL_OR_KEYWORD)]
    return {f"input {i}": name for i, name in enumerate(named[:n])}


def _derivatives(
    evaluate: Callable, dy: Array, a: Array, us: list[Array] | None, eps: float
) -> Array:
    """⟨dy, J·u⟩ for each direction u of the array a, which is moved and put back."""
    kept, numeric = a.copy(), []
    a.flags.writeable = True
    for u in _coordinates(a) if us is None else us:
        np.add(kept, eps * u, out=a)
        high = np.vdot(dy, evaluate()[0])
        np.subtract(kept, eps * u, out=a)
        low = np.vdot(dy, evaluate()[0])
        numeric.append((high - low) / (2 * eps))
    a[...] = kept
    a.flags.writeable = False
    return np.array(numeric)


def _coordinates(a: Array) -> Iterator[Array]:
    for i in range(a.size):
        u = np.zeros(a.size)
        u[i] = 1.0
        yield u.reshape(a.shape)


def _is_floating(x: Array) -> bool:
    return np.issubdtype(np.asarray(x).dtype, np.floating)


def _is_rng(value: Any) -> bool:
    return isinstance(value, np.random.Generator | np.random.RandomState)
