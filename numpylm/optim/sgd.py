"""Stochastic gradient descent with momentum.

u ← μ u + g        θ ← θ − η u
"""

from __future__ import annotations

from numpylm.parameters import Array


def sgd_update(
    theta: Array, grad: Array, u: Array | None, *, lr: float, momentum: float, scale: float = 1.0
) -> None:
    """One step of SGD with (heavy-ball) momentum on theta and u; all of shape (N,).

    The gradient is g = scale · grad. Without momentum u is g itself, and None is enough. theta and
    u receive their new values.
    """
    g = scale * grad
    if u is None:
        theta -= lr * g
        return
    u[:] = momentum * u + g
    theta -= lr * u
