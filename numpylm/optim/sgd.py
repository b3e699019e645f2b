"""Stochastic gradient descent with momentum.

u ← μ u + g        θ ← θ − η u
"""

from __future__ import annotations

from numpylm.parameters import Array


def sgd_update(
    theta: Array, grad: Array, u: Array | None, *, lr: float, momentum: float, scale: float = 1.0
) -> None:
    """One step of SGD with (heavy-ball) momentum, in place on theta and u; all of shape (N,).

    The gradient is scale · grad. Without momentum u is the gradient, and None is enough.
    """
    if u is None:
        theta -= lr * scale * grad
        return
    u *= momentum
    u += scale * grad
    theta -= lr * u
