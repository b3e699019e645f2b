"""§A Check a hand-written backward against finite differences.

For y = f(θ, x) and a random upstream gradient dy, the backward returns Jᵀ·dy. For any direction u

    ⟨dy, J·u⟩ = ⟨Jᵀ·dy, u⟩,      J·u ≈ (f(θ + εu) − f(θ − εu)) / 2ε,

so two forward passes test all entries of one array at once; an array at a time, so that a failure
names the array. The classical coordinate-by-coordinate check is the same with u = e_1, e_2, ….

The traps that let wrong gradients pass elsewhere are closed here: float64, a random dy (softmax
and layer norm vanish on ones), gradient buffers that start with noise (``=`` for ``+=`` fails),
read-only inputs and dy, random streams that repeat (dropout masks stay frozen), both passes run
twice, and a relative error in place of an absolute one.

Nothing here knows this library. Parameters may be a plain dictionary, and a backward that returns
their gradients, ``dx, {"W": …, "b": …}``, is checked with ``returns_dp=True``. A layer that is an
object with state needs two lines:

    def forward(p, x): layer = Layer(p["W"]); return layer.forward(x), layer
    def backward(p, dy, layer): return layer.backward(dy), {"W": layer.dW}

Source: central differences and the V of truncation and rounding, Nocedal & Wright 2006, §8.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numpylm.gradcheck.diagnosis import Evidence, likely_cause
from numpylm.gradcheck.finite_differences import (
    Differences,
    central_differences,
    kinked_entries,
    off_the_kinks,
    one_sided,
)
from numpylm.parameters import Array, leaves, view

BAR = 1e-6  # the largest relative error of a right gradient


@dataclass(frozen=True)
class GradientError:
    """What the check found for one array.

    ``relative_error`` is ‖analytic − numeric‖ / (‖analytic‖ + ‖numeric‖) over the directions, or
    in the mode "coordinates" the largest |analytic − numeric| / (|analytic| + |numeric|) of an
    entry. A denominator so small that the rounding of the differences alone would make an error
    of 1e-6 is held there. ``vanishes`` says that both sides are zero up to that rounding, as for
    a key bias, to which softmax is blind. ``cause`` is what a wrong gradient probably suffers from.
    """

    name: str
    shape: tuple[int, ...]
    relative_error: float
    analytic: float
    numeric: float
    vanishes: bool
    cause: str = ""
    directions: int = 0  # over which the error is taken; 0: over the entries
    argument: str = ""  # what the forward calls an input
    kinks: tuple[tuple[int, ...], ...] = ()  # entries that were set aside

    def __str__(self) -> str:
        name = f"{self.name} `{self.argument}`" if self.argument and self.cause else self.name
        where = f"largest of {self.directions} directions" if self.directions else "worst entry"
        where = where if self.cause else "largest"
        return (
            f"{name} {self.shape}: relative error {self.relative_error:.1e} "
            f"({where}: analytic {self.analytic:.6g}, numeric {self.numeric:.6g})"
            + (f"; likely: {self.cause}" if self.cause else "")
            + (f"; {len(self.kinks)} entries at a kink set aside: " if self.kinks else "")
            + ", ".join(str(list(k)) for k in self.kinks[:5])
            + (", …" if len(self.kinks) > 5 else "")
        )


class WrongGradient(AssertionError):
    """Raised by ``check_gradients``; its text names each array that failed."""


def check_gradients(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    p: Any,
    *inputs: Array,
    rtol: float = BAR,
    **options: Any,
) -> list[GradientError]:
    """Raise ``WrongGradient`` unless every gradient of a pair agrees with finite differences.

    Takes what ``gradient_errors`` takes, and returns its list if all is well. rtol is the bar on
    the relative error of each array (float64 and a difference step of 1e-5 leave about 1e-10).

    >>> check_gradients(linear_forward, linear_backward, p, x)
    >>> check_gradients(forward, backward, {"W": W, "b": b}, x, returns_dp=True)
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
    returns_dp: bool = False,
    **options: Any,
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
    returns_dp : the backward is ``backward(p, dy, cache) -> (dx, dp)`` and does not add into dp.
    options : seed, difference_step, mode, directions, dy and settings of ``central_differences``.

    Where one-sided differences of an entry disagree (ReLU at exactly 0, as in a row of padding with
    a bias of 0) there is no derivative: the entry is set aside and named in ``kinks``. All others
    must be right, and all of them again with everything moved off the kink.

    Returns a ``GradientError`` for each parameter and each differentiable input. Raises
    ``WrongGradient`` where no comparison is possible: a gradient of the wrong shape or number, or
    a backward that draws random numbers or changes its cache. Writing to dy or an input meets
    NumPy's "read-only" error.
    """
    differences = central_differences(forward, p, *inputs, **options)
    errors = compare(differences, backward, returns_dp)
    suspects = {e.name for e in errors if not e.relative_error <= BAR}
    kinks = {n: k for n, k in kinked_entries(differences, suspects).items() if k.any()}
    if not kinks:
        return errors
    # Off the kinks all must be right; here the other entries must be.
    moved = off_the_kinks(differences)
    elsewhere = {
        e.name: e
        for e in compare(
            central_differences(forward, *moved, **(options | {"dy": differences.dy})),
            backward, returns_dp,
        )
    }  # fmt: skip
    found = _run_backward(differences, backward, differences.evaluate()[1], returns_dp)
    gradients = {name: g for (name, _), g in zip(differences.arrays, found, strict=True)}
    numeric = {n: np.reshape(sum(one_sided(differences, n)) / 2, k.shape) for n, k in kinks.items()}
    return [
        _beside_kinks(e, elsewhere[e.name], gradients[e.name], numeric[e.name], kinks[e.name])
        if e.name in kinks
        else e
        for e in errors
    ]


def _beside_kinks(
    e: GradientError, elsewhere: GradientError, g: Array, numeric: Array, kinks: Array
) -> GradientError:
    """The verdict on an array of which some entries are at a kink."""
    analytic, wanted = g[~kinks], numeric[~kinks]
    size = np.linalg.norm(analytic) + np.linalg.norm(wanted)
    beside = float(np.linalg.norm(analytic - wanted) / size) if size else 0.0
    if beside > 100 * BAR or not elsewhere.relative_error <= BAR:
        return replace(elsewhere if elsewhere.cause else e, relative_error=max(
            beside, elsewhere.relative_error))  # fmt: skip
    places = tuple(tuple(map(int, place)) for place in np.argwhere(kinks))
    return replace(elsewhere, kinks=places)


def compare(
    d: Differences, backward: Callable[..., Any], returns_dp: bool = False
) -> list[GradientError]:
    """Hold a backward against differences of its forward; returns and raises as above."""
    y, cache = d.evaluate()
    gradients = _run_backward(d, backward, cache, returns_dp)
    _check_number(d, gradients)
    _check_shapes(d.arrays, gradients, _run_backward(d, backward, cache, returns_dp))
    held = {} if returns_dp or d.p is None else dict(leaves(view(d.p, d.buffer)))
    named = {name: g for (name, _), g in zip(d.arrays, gradients, strict=True)}
    shapes = {"y": np.shape(y)} | {f"input {i}": x.shape for i, x in enumerate(d.inputs)}
    errors = []
    for (name, g), us, numeric in zip(named.items(), d.directions, d.numeric, strict=True):
        evidence = Evidence(
            name, g, numeric, d.noise * (1.0 if us is None else np.sqrt(len(us))), _along(us),
            buffer=held.get(name), dy=d.dy, others=named, shapes=shapes | {name: g.shape},
            float32=np.float32 in (np.result_type(y), g.dtype),
        )  # fmt: skip
        verdict = _verdict(evidence, by_entry=us is None)
        errors.append(replace(
            verdict, directions=len(us or ()), argument=d.arguments.get(name, "")
        ))  # fmt: skip
    return errors


def _run_backward(d: Differences, backward: Callable, cache: Any, returns_dp: bool) -> list:
    """The gradients of all parameters, then of all inputs, as one list."""
    if d.p is None:
        dp, dx = [], backward(d.dy, cache)
    elif returns_dp:
        dx, returned = backward(d.p, d.dy, cache)
        given, wanted = dict(leaves(returned)), [name for name, _ in leaves(d.p)]
        if set(given) != set(wanted):
            raise WrongGradient(f"backward returns dp of {sorted(given)}, p has {wanted}")
        dp = [given[name] for name in wanted]
    else:
        flat = d.buffer.copy()  # a backward that assigns (=) in place of adding (+=) shows here
        dx = backward(d.p, view(d.p, flat), d.dy, cache)
        dp = [g for _, g in leaves(view(d.p, flat - d.buffer))]
    return dp + [np.asarray(g) for g in _listed(dx)]


def _listed(dx: Any) -> list:
    """All gradients; None stands for an input that was not given, or has none."""
    return [d for d in (dx if isinstance(dx, tuple) else (dx,)) if d is not None]


def _along(us: list[Array] | None) -> Callable[[Array], Array]:
    """g -> ⟨g, u⟩ for each direction."""
    return np.ravel if us is None else lambda g: np.array([np.vdot(g, u) for u in us])


def _check_number(d: Differences, gradients: list) -> None:
    """Raise ``WrongGradient`` unless there is a gradient for each array."""
    arrays = d.arrays
    if len(gradients) != len(arrays):
        names = {f"input {i}": x.dtype for i, x in enumerate(d.inputs)}
        whole = [
            f"{n} `{d.arguments.get(n, '')}` is {t}" for n, t in names.items()
            if n not in dict(arrays)
        ]  # fmt: skip
        note = f" ({', '.join(whole)}: only floating-point inputs have one)" if whole else ""
        raise WrongGradient(
            f"backward gives {len(gradients)} gradients for {len(arrays)} arrays: "
            f"{', '.join(name for name, _ in arrays)}{note}"
        )


def _check_shapes(arrays: list[tuple[str, Array]], gradients: list, again: list) -> None:
    for (name, a), g, g2 in zip(arrays, gradients, again, strict=True):
        if np.shape(g) != a.shape:
            raise WrongGradient(f"{name} {a.shape}: its gradient has shape {np.shape(g)}")
        if not np.array_equal(g, g2, equal_nan=True):
            raise WrongGradient(
                f"{name}: a second backward on the same cache differs: "
                "it draws random numbers, or changes its cache"
            )


def _verdict(e: Evidence, *, by_entry: bool) -> GradientError:
    shape, numeric = e.gradient.shape, e.numeric
    if numeric.size == 0:
        return GradientError(e.name, shape, 0.0, 0.0, 0.0, True)
    analytic = e.along(e.gradient)
    difference, size = np.abs(analytic - numeric), np.abs(analytic) + np.abs(numeric)
    worst = int(np.argmax(difference))
    if not by_entry:
        difference = np.array(np.linalg.norm(analytic - numeric))
        size = np.array(np.linalg.norm(analytic) + np.linalg.norm(numeric))
    floor = max(e.noise / 1e-6, np.finfo(np.float64).tiny)
    error = float(np.max(difference / np.maximum(size, floor)))
    vanishes = bool(np.max(size) < e.noise) or not np.any(size)
    sides = float(analytic[worst]), float(numeric[worst])
    cause = "" if error <= BAR else likely_cause(e)
    return GradientError(e.name, shape, error, *sides, vanishes, cause)
