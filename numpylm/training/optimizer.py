"""§5.3 Optimisers: stochastic gradient descent with momentum, Adam and AdamW, and clipping.

    SGD     u ← μ u + g                                     θ ← θ − η u
    Adam    m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
            m̂ = m / (1 − β₁ᵗ),       v̂ = v / (1 − β₂ᵗ)      θ ← θ − η m̂ / (√v̂ + ε)
    AdamW   the same, and first      θ ← (1 − η λ) θ        on matrices only

They see flat vectors and know no layer. The updates are element by element, so a vector may be
updated in chunks, on several threads, with the same bits.

Source: Kingma & Ba 2015, arXiv:1412.6980, Alg. 1; decoupled decay: Loshchilov & Hutter 2019,
arXiv:1711.05101, Alg. 2, here times the learning rate as PyTorch and the field write it; clipping:
Pascanu, Mikolov & Bengio 2013, §3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.parameters import Array, leaves

# Numbers of each vector that a thread works on at a time. Smaller ones would stay nearer to the
# processor, but threads that do short work wait for the interpreter and for each other.
CHUNK = 1 << 18


def sgd_update(theta: Array, grad: Array, u: Array | None, *, lr: float, momentum: float) -> None:
    """One step of SGD with (heavy-ball) momentum, in place on theta and u; all of shape (N,).

    Without momentum u is the gradient, and None is enough.
    """
    if u is not None:
        u *= momentum
        u += grad
        grad = u
    theta -= lr * grad


def adam_update(
    theta: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """One step of Adam, in place on theta, m and v; all of shape (N,). ``step`` counts from 1."""
    beta1, beta2 = betas
    m += (1.0 - beta1) * (grad - m)
    squared = grad * grad
    squared -= v
    squared *= 1.0 - beta2
    v += squared
    denominator = np.sqrt(v, out=squared)
    denominator *= 1.0 / math.sqrt(1.0 - beta2**step)
    denominator += eps
    change = m / denominator
    change *= lr / (1.0 - beta1**step)
    theta -= change


def decay_weights(theta: Array, decay: Array, *, lr: float) -> None:
    """Decoupled weight decay, θ ← (1 − η λ) θ, in place; ``decay`` holds λ for each parameter."""
    theta -= lr * decay * theta


def decay_of_matrices(p: Any, weight_decay: float) -> Array:
    """λ for each parameter of the flat vector: ``weight_decay`` for arrays of two or more axes,
    0 for biases and layer norm's γ and β, which set an offset or a scale and do not overfit.
    """
    return np.concatenate(
        [np.full(a.size, weight_decay if a.ndim >= 2 else 0.0, a.dtype) for _, a in leaves(p)]
    )


def global_norm(grad: Array) -> float:
    """‖g‖₂ over all parameters: a dot product for each chunk, added up in a fixed order."""
    return math.sqrt(sum(float(np.vdot(grad[s], grad[s])) for s in chunks(grad.size)))


def clip_factor(norm: float, max_norm: float | None) -> float:
    """min(1, max_norm / ‖g‖): what the gradient is multiplied by. None clips nothing."""
    return 1.0 if max_norm is None or norm <= max_norm else max_norm / norm


def chunks(size: int) -> list[slice]:
    """Slices that cover a vector."""
    return [slice(i, i + CHUNK) for i in range(0, size, CHUNK)]


@dataclass
class Optimizer:
    """An optimiser's settings and its state, vectors of the same shape (N,) as theta.

    Raises ``ValueError`` for a name other than "sgd", "adam" and "adamw".
    """

    name: str
    theta: Array
    decay: Array | None  # λ for each parameter; AdamW only
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    step: int = 0
    state: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {
            "sgd": ["u"] if self.momentum else [],
            "adam": ["m", "v"],
            "adamw": ["m", "v"],
        }.get(self.name)
        if names is None:
            raise ValueError(f'optimizer {self.name!r} is none of "sgd", "adam", "adamw"')
        for name in names:
            self.state.setdefault(name, np.zeros_like(self.theta))

    def update(
        self,
        grad: Array,
        lr: float,
        scale: float = 1.0,
        run: Callable[[Callable, list], Any] = lambda f, xs: list(map(f, xs)),
    ) -> None:
        """One step with the gradient scale · grad. ``run(f, chunks)`` may use several threads."""
        self.step += 1

        def update_chunk(s: slice) -> None:
            theta, g = self.theta[s], grad[s]
            if scale != 1.0:
                g = scale * g
            if self.name == "sgd":
                u = self.state["u"][s] if self.momentum else None
                sgd_update(theta, g, u, lr=lr, momentum=self.momentum)
                return
            if self.name == "adamw" and self.decay is not None:
                decay_weights(theta, self.decay[s], lr=lr)
            m, v = self.state["m"][s], self.state["v"][s]
            adam_update(theta, g, m, v, step=self.step, lr=lr, betas=self.betas)

        run(update_chunk, chunks(self.theta.size))
