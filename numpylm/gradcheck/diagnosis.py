"""What a wrong gradient probably suffers from.

A cause is a hypothesis about what should have been computed: "−g is right", "g transposed is
right", "g / 15 is right". Each is held against the same central differences that g failed. One
that agrees in several random directions to five digits is hardly a coincidence, but it is only
likely: other mistakes may have the same effect on the example at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from numpylm.parameters import Array

NO_CAUSE = "a missing term, or a wrong axis, mask or cached value (no one factor mends it)"


@dataclass(frozen=True)
class Evidence:
    """A gradient and what is known around it.

    ``along(g)`` are the derivatives that g claims for the directions in which ``numeric`` was
    measured; ``buffer`` is what dp held before; ``others`` the gradients of all arrays by name,
    ``shapes`` the shapes of y and the inputs.
    """

    name: str
    gradient: Array
    numeric: Array
    noise: float
    along: Callable[[Array], Array]
    buffer: Array | None = None
    dy: Array | None = None
    others: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    float32: bool = False

    def agrees(self, gradient: Array) -> bool:
        """Would this gradient have passed, to five digits?"""
        analytic = self.along(gradient)
        size = np.linalg.norm(analytic) + np.linalg.norm(self.numeric)
        return bool(np.linalg.norm(analytic - self.numeric) <= 1e-5 * size)


def likely_cause(e: Evidence) -> str:
    """The first hypothesis that fits, in words."""
    if not np.all(np.isfinite(e.gradient)):
        return "it holds NaN or infinity"
    if e.float32:
        return "float32 somewhere: the check runs in float64, a result came back rounded"
    if not np.any(e.gradient):
        return "nothing arrives: cut off, or dp replaced and not added to in place"
    if np.linalg.norm(e.numeric) <= e.noise:
        return "the output does not depend on this array here, so its gradient is 0"
    return next(_hypotheses(e), NO_CAUSE)


def _hypotheses(e: Evidence) -> Iterator[str]:
    g = e.gradient
    if e.buffer is not None and e.agrees(g + e.buffer):
        yield "= in place of +=: what dp held before is lost"
    yield from _factor(e)
    if g.ndim >= 2:
        *leading, rows, columns = g.shape
        read_back = g.reshape(*leading, columns, rows).swapaxes(-2, -1)
        if e.agrees(read_back) or e.agrees(g.swapaxes(-2, -1).reshape(g.shape)):
            yield "transposed" if rows == columns else "transposed, then reshaped to fit"
    for axis in range(g.ndim):
        for step in (1, -1):
            if g.shape[axis] > 1 and e.agrees(np.roll(g, step, axis)):
                yield f"shifted by one along axis {axis}"
    for name, other in e.others.items():
        if name != e.name and other.shape == g.shape and e.agrees(other):
            yield f"in the wrong order: the gradient given for {name} fits here"
    if e.dy is not None and e.dy.shape == g.shape:
        if e.agrees(g + e.dy):
            yield "dy itself is missing: the path around, a residual connection?"
        if e.agrees(g - e.dy):
            yield "dy is in it once too often"


def _factor(e: Evidence) -> Iterator[str]:
    """The same factor in every direction: a sign, a size of an axis, its root, or a number."""
    analytic = e.along(e.gradient)
    factor = float(np.dot(analytic, e.numeric) / np.dot(e.numeric, e.numeric))
    if factor == 0.0 or not e.agrees(e.gradient / factor) or len(analytic) < 2:
        return
    if math.isclose(factor, -1.0, rel_tol=1e-5):
        yield "the sign"
        return
    readings = ["added twice"] if math.isclose(factor, 2.0, rel_tol=1e-5) else []
    large = max(abs(factor), 1 / abs(factor))
    for name, shape in e.shapes.items():
        for i in range(len(shape)):
            for j in range(i + 1, len(shape) + 1):
                n = math.prod(shape[i:j])
                axes = f"axis {i}" if j == i + 1 else f"axes {i} to {j - 1}"
                where = f"of {name} {shape}"
                if n > 1 and math.isclose(large, n, rel_tol=1e-5):
                    readings.append(f"{n} is {axes} {where}: a missing or stray 1/N, mean or sum?")
                elif n > 1 and math.isclose(large, math.sqrt(n), rel_tol=1e-5):
                    readings.append(f"√{n} is that of {axes} {where}: a missing or stray scale?")
    how = f"{factor:.6g} times the right one everywhere"
    yield f"{how} ({readings[0]})" if readings else f"{how}: a missing or wrong scale"
