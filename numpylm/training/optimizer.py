"""§5.3 Optimisers: stochastic gradient descent with momentum, Adam and AdamW, and clipping.

    SGD     u ← μ u + g                                     θ ← θ − η u
    Adam    m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
            m̂ = m / (1 − β₁ᵗ),       v̂ = v / (1 − β₂ᵗ)      θ ← θ − η m̂ / (√v̂ + ε)
    AdamW   the same, and first      θ ← (1 − η λ) θ        on matrices only

They see flat vectors and know no layer. The updates are element by element, so a vector may be
updated in chunks, in several processes, with the same bits.

Source: Kingma & Ba 2015, arXiv:1412.6980, Alg. 1; decoupled decay: Loshchilov & Hutter 2019,
arXiv:1711.05101, Alg. 2, here times the learning rate as PyTorch and the field write it; clipping:
Pascanu, Mikolov & Bengio 2013, §3.2.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from numpylm.parameters import Array, leaves
from numpylm.processes import shared_zeros

CHUNK = 1 << 16  # numbers that are worked on at a time: their vectors stay near the processor


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
    scale: float = 1.0,
) -> None:
    """One step of Adam with the gradient scale · grad, in place on theta, m and v; shapes (N,).

    ``step`` counts from 1. Both corrections of the start act on numbers, not on vectors:
    m̂ / (√v̂ + ε) = m √c₂ / (c₁ (√v + ε √c₂)), c_i = 1 − β_iᵗ.
    """
    beta1, beta2 = betas
    correction = math.sqrt(1.0 - beta2**step)
    m *= beta1
    m += (1.0 - beta1) * scale * grad
    change = grad * grad
    change *= (1.0 - beta2) * scale**2
    v *= beta2
    v += change
    np.sqrt(v, out=change)
    change += eps * correction
    np.divide(m, change, out=change)
    change *= lr * correction / (1.0 - beta1**step)
    theta -= change


def decay_weights(theta: Array, decay: float, *, lr: float) -> None:
    """Decoupled weight decay, θ ← (1 − η λ) θ, in place."""
    theta *= 1.0 - lr * decay


def decay_of_matrices(p: Any, weight_decay: float) -> Array:
    """λ for each parameter of the flat vector: ``weight_decay`` for arrays of two or more axes,
    0 for biases and layer norm's γ and β, which set an offset or a scale and do not overfit.
    """
    return np.concatenate(
        [np.full(a.size, weight_decay if a.ndim >= 2 else 0.0, a.dtype) for _, a in leaves(p)]
    )


def global_norm(grad: Array) -> float:
    """‖g‖₂ over all parameters: a dot product for each chunk, added up in a fixed order."""
    return math.sqrt(sum(squared_norm(grad[s]) for s in chunks(grad.size)))


def squared_norm(grad: Array) -> float:
    """gᵀg."""
    return float(np.vdot(grad, grad))


def clip_factor(norm: float, max_norm: float | None) -> float:
    """min(1, max_norm / ‖g‖): what the gradient is multiplied by. None clips nothing."""
    return 1.0 if max_norm is None or norm <= max_norm else max_norm / norm


def chunks(size: int) -> list[slice]:
    """Slices that cover a vector."""
    return [slice(i, i + CHUNK) for i in range(0, size, CHUNK)]


def stretches(decay: Array) -> list[tuple[slice, float]]:
    """Where λ is not 0, as in matrices: slices of one λ each."""
    ends = [0, *(np.flatnonzero(np.diff(decay)) + 1).tolist(), decay.size]
    return [(slice(i, j), float(decay[i])) for i, j in pairwise(ends) if decay[i]]


@dataclass
class Optimizer:
    """An optimiser's settings and its state, vectors of the same shape (N,) as theta, in memory
    that processes share where there is such memory.

    Raises ``ValueError`` for a name other than "sgd", "adam" and "adamw".
    """

    name: str
    theta: Array
    decay: InitVar[Array | None]  # λ for each parameter; AdamW only
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    step: int = 0
    state: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self, decay: Array | None) -> None:
        names = {
            "sgd": ["u"] if self.momentum else [],
            "adam": ["m", "v"],
            "adamw": ["m", "v"],
        }.get(self.name)
        if names is None:
            raise ValueError(f'optimizer {self.name!r} is none of "sgd", "adam", "adamw"')
        given = self.state
        self.state = {name: shared_zeros(self.theta.size, self.theta.dtype) for name in names}
        for name, vector in given.items():
            self.state[name][...] = vector
        if self.name != "adamw":
            decay = None
        self._decays = [
            [] if decay is None else stretches(decay[s]) for s in chunks(self.theta.size)
        ]

    def update(self, grad: Array, lr: float, scale: float = 1.0) -> None:
        """One step with the gradient scale · grad."""
        self.step += 1
        self.update_chunks(slice(None), grad, self.step, lr, scale)

    def update_chunks(self, part: slice, grad: Array, step: int, lr: float, scale: float) -> None:
        """What a step does to a part of the ``chunks``, none of which needs another."""
        mine = zip(chunks(self.theta.size)[part], self._decays[part], strict=True)
        for s, decays in mine:
            theta, g = self.theta[s], grad[s]
            if self.name == "sgd":
                u = self.state["u"][s] if self.momentum else None
                sgd_update(theta, g, u, lr=lr, momentum=self.momentum, scale=scale)
                continue
            for stretch, decay in decays:
                decay_weights(theta[stretch], decay, lr=lr)
            m, v = self.state["m"][s], self.state["v"][s]
            adam_update(theta, g, m, v, step=step, lr=lr, betas=self.betas, scale=scale)
