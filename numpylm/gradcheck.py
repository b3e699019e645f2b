"""§A Check a hand-written backward against finite differences.

For y = f(θ, x) and a random upstream gradient dy, the backward returns Jᵀ·dy. For any direction u

    ⟨dy, J·u⟩ = ⟨Jᵀ·dy, u⟩,      J·u ≈ (f(θ + εu) − f(θ − εu)) / 2ε,

so two forward passes test all entries of one array at once; an array at a time, so that a failure
names the array. The classical coordinate-by-coordinate check is the same with u = e_1, e_2, ….

The traps that let wrong gradients pass elsewhere are closed here: float64, a random dy (softmax
and layer norm vanish on ones), gradient buffers that start with noise (``=`` for ``+=`` fails),
read-only inputs and dy, random streams that repeat (dropout masks stay frozen), the backward run
twice on one cache, and a relative error in place of an absolute one.

Source: central differences and the V of truncation and rounding, Nocedal & Wright 2006, §8.1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from numpylm.parameters import Array, leaves, pack, view

Mode = Literal["directions", "coordinates"]


@dataclass(frozen=True)
class GradientError:
    """What the check found for one array.

    ``relative_error`` is ‖analytic − numeric‖ / (‖analytic‖ + ‖numeric‖) over the directions, or
    in the mode "coordinates" the largest |analytic − numeric| / (|analytic| + |numeric|) of an
    entry. A denominator so small that the rounding of the differences alone would make an error
    of 1e-6 is held there. ``vanishes`` says that both sides are zero up to that rounding, as for
    a key bias, to which softmax is blind.
    """

    name: str
    shape: tuple[int, ...]
    relative_error: float
    analytic: float
    numeric: float
    vanishes: bool

    def __str__(self) -> str:
        return (
            f"{self.name} {self.shape}: relative error {self.relative_error:.1e} "
            f"(largest: analytic {self.analytic:.6g}, numeric {self.numeric:.6g})"
        )


class WrongGradient(AssertionError):
    """Raised by ``check_gradients``; its text names each array that failed."""


def check_gradients(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    p: Any,
    *inputs: Array,
    rtol: float = 1e-6,
    **options: Any,
) -> list[GradientError]:
    """Raise ``WrongGradient`` unless every gradient of a pair agrees with finite differences.

    Takes what ``gradient_errors`` takes, and returns its list if all is well. rtol is the bar on
    the relative error of each array (float64 and a difference step of 1e-5 leave about 1e-10).

    >>> check_gradients(linear_forward, linear_backward, p, x)
    """
    errors = gradient_errors(forward, backward, p, *inputs, **options)
    wrong = [e for e in errors if not e.relative_error <= rtol]  # "not <=" also catches nan
    if wrong:
        lines = "\n  ".join(map(str, wrong))
        raise WrongGradient(
            f"{getattr(backward, '__name__', backward)}: {len(wrong)} of {len(errors)} gradients "
            f"are wrong (bar {rtol:g})\n  {lines}"
        )
    return errors


def gradient_errors(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    p: Any,
    *inputs: Array,
    seed: int = 0,
    difference_step: float = 1e-5,
    mode: Mode = "directions",
    directions: int = 3,
    **settings: Any,
) -> list[GradientError]:
    """Compare ``backward`` with central differences of ``forward``, array by array, in float64.

    Parameters
    ----------
    forward, backward : ``forward(p, *inputs, **settings) -> (y, cache)`` and
        ``backward(p, dp, dy, cache) -> dx``, where dx is the gradient of the one floating-point
        input, a tuple for several in their order, or None for none. With ``p=None`` the
        functions take neither p nor dp.
    p : parameters, any tree of arrays (see ``numpylm.parameters``), or None. Not written to.
    inputs : arrays; integer and boolean ones (ids, masks) are passed on and not differentiated.
    seed : of the upstream gradient, the directions and the noise in the gradient buffers.
    difference_step : ε, half the width of the difference quotient.
    mode : "directions" (``directions`` random ones an array) or "coordinates" (every entry).
    settings : passed to ``forward``; a ``numpy.random.Generator`` repeats in each call.

    Returns a ``GradientError`` for each parameter and each differentiable input. Raises
    ``WrongGradient`` where no comparison is possible: a gradient of the wrong shape or number, or
    a backward that changes its cache. Writing to dy or an input meets NumPy's "read-only" error.
    """
    rng = np.random.default_rng(seed)
    if p is not None:
        _, p = pack(p, np.float64)
    buffer = rng.standard_normal(sum(a.size for _, a in leaves(p)))  # what dp holds beforehand
    xs = [x.astype(np.float64) if _is_floating(x) else x.copy() for x in inputs]
    arrays = ([] if p is None else list(leaves(p))) + [
        (f"input {i}", x) for i, x in enumerate(xs) if _is_floating(x)
    ]

    def evaluate() -> tuple[Array, Any]:
        frozen = {k: copy.deepcopy(s) if _is_rng(s) else s for k, s in settings.items()}
        return forward(*xs, **frozen) if p is None else forward(p, *xs, **frozen)

    for a in [*xs, *(a for _, a in arrays)]:
        a.flags.writeable = False  # neither pass may write to what it is given, ids included
    y, cache = evaluate()
    dy = rng.standard_normal(np.shape(y))  # an array even for a scalar loss
    dy.flags.writeable = False
    gradients = _run_backward(backward, p, dy, cache, buffer)
    again = _run_backward(backward, p, dy, cache, buffer)
    _check_shapes(arrays, gradients, again)

    # Sums of rounding errors in ⟨dy, f⟩, divided by ε: differences below it mean nothing.
    ulp, eps = np.finfo(np.float64).eps, difference_step
    noise = 100 * ulp * float(np.vdot(np.abs(dy), np.abs(y))) / eps
    errors = []
    for (name, a), gradient in zip(arrays, gradients, strict=True):
        a.flags.writeable = True
        kept, analytic, numeric = a.copy(), [], []
        for u in _directions(a, mode, directions, rng):
            np.add(kept, eps * u, out=a)
            high = np.vdot(dy, evaluate()[0])
            np.subtract(kept, eps * u, out=a)
            low = np.vdot(dy, evaluate()[0])
            numeric.append((high - low) / (2 * eps))
            analytic.append(np.vdot(gradient, u))
        a[...] = kept
        a.flags.writeable = False
        sides = np.array(analytic), np.array(numeric)
        errors.append(_compare(name, a.shape, *sides, noise, mode))
    return errors


def _run_backward(backward: Callable, p: Any, dy: Array, cache: Any, buffer: Array) -> list:
    """The gradients of all parameters, then of all inputs, as one list."""
    if p is None:
        dp, dx = [], backward(dy, cache)
    else:
        flat = buffer.copy()  # a backward that assigns (=) in place of adding (+=) shows here
        dx = backward(p, view(p, flat), dy, cache)
        dp = [g for _, g in leaves(view(p, flat - buffer))]
    return dp + ([] if dx is None else list(dx) if isinstance(dx, tuple) else [dx])


def _check_shapes(arrays: list[tuple[str, Array]], gradients: list, again: list) -> None:
    if len(gradients) != len(arrays):
        raise WrongGradient(
            f"backward gives {len(gradients)} gradients for {len(arrays)} arrays: "
            f"{', '.join(name for name, _ in arrays)}"
        )
    for (name, a), g, g2 in zip(arrays, gradients, again, strict=True):
        if np.shape(g) != a.shape:
            raise WrongGradient(f"{name} {a.shape}: its gradient has shape {np.shape(g)}")
        if not np.array_equal(g, g2, equal_nan=True):
            raise WrongGradient(f"{name}: a second backward on the same cache differs; it changed")


def _directions(a: Array, mode: Mode, count: int, rng: np.random.Generator) -> Iterator[Array]:
    if mode == "directions":
        yield from (rng.standard_normal(a.shape) for _ in range(count))
    elif mode == "coordinates":
        for i in range(a.size):
            u = np.zeros(a.size)
            u[i] = 1.0
            yield u.reshape(a.shape)
    else:
        raise ValueError(f'mode is {mode!r}; it must be "directions" or "coordinates"')


def _compare(
    name: str, shape: tuple[int, ...], analytic: Array, numeric: Array, noise: float, mode: Mode
) -> GradientError:
    if analytic.size == 0:
        return GradientError(name, shape, 0.0, 0.0, 0.0, True)
    difference, size = np.abs(analytic - numeric), np.abs(analytic) + np.abs(numeric)
    worst = int(np.argmax(difference))
    if mode == "directions":
        difference = np.array(np.linalg.norm(analytic - numeric))
        size = np.array(np.linalg.norm(analytic) + np.linalg.norm(numeric))
        noise *= np.sqrt(analytic.size)
    floor = max(noise / 1e-6, np.finfo(np.float64).tiny)
    error = float(np.max(difference / np.maximum(size, floor)))
    vanishes = bool(np.max(size) < noise) or not np.any(size)
    return GradientError(
        name, shape, error, float(analytic[worst]), float(numeric[worst]), vanishes
    )


def _is_floating(x: Array) -> bool:
    return np.issubdtype(np.asarray(x).dtype, np.floating)


def _is_rng(value: Any) -> bool:
    return isinstance(value, np.random.Generator)
