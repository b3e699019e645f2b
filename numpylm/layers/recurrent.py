"""The recurrent layer that attention replaced, with backpropagation through time.

    h_t = tanh(x_t W_x + b + h_{t-1} W_h),    h_{-1} = 0

One vector h carries all that is known of the text so far, a token at a time. The gradient goes the
same way back, and each step multiplies it by W_hᵀ and by tanh' ≤ 1. Over a distance of n tokens
that is a product of n matrices: it vanishes if their largest singular values stay below 1, and may
explode if they are above. Attention reaches any distance in one step, so no model here uses this
layer; §4.1's experiment does. Source: Elman 1990; Pascanu, Mikolov and Bengio 2013, §2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from numpylm.layers.activations import tanh_backward, tanh_forward
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.parameters import Array


@dataclass
class Recurrent:
    input: Linear  # (D_in, D), W_x and b
    recurrent: Array  # (D, D), W_h


class RecurrentCache(NamedTuple):
    input: Array
    states: list[Array]  # h_{-1} … h_{T-1}, each (B, D): what each step started from, and the last


def recurrent_init(
    rng: np.random.Generator, d_in: int, d_model: int, *, gain: float = 1.0
) -> Recurrent:
    """W_x and b as ``linear_init``; W_h from N(0, gain²/D), whose eigenvalues fill a disc of radius
    gain as D grows (Girko's circular law). float32.

    Raises ``ValueError`` for a gain that is not positive.
    """
    if not gain > 0:
        raise ValueError(f"gain is {gain}; it must be positive")
    spread = gain / math.sqrt(d_model)
    recurrent = (spread * rng.standard_normal((d_model, d_model))).astype(np.float32)
    return Recurrent(linear_init(rng, d_in, d_model), recurrent)


def recurrent_forward(p: Recurrent, x: Array) -> tuple[Array, RecurrentCache]:
    """The state after each token; x (B, T, D_in) -> h (B, T, D).

    Raises ``ValueError`` if x has not three axes, no token, or another width.
    """
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x {x.shape} must be (batch, length ≥ 1, features)")
    a, c_input = linear_forward(p.input, x)
    states = [np.zeros_like(a[:, 0])]
    for t in range(x.shape[1]):
        h, _ = tanh_forward(a[:, t] + states[-1] @ p.recurrent)
        states.append(h)
    return np.stack(states[1:], axis=1), RecurrentCache(c_input, states)


def recurrent_backward(p: Recurrent, dp: Recurrent, dy: Array, cache: RecurrentCache) -> Array:
    """Backpropagation through time: the loop from the last token to the first; returns dx.

    h_t reaches the loss twice, by its own output and through h_{t+1}, so the two gradients add:
    da_t = (dy_t + da_{t+1} W_hᵀ) ⊙ (1 − h_t²),  dW_h = Σ_t h_{t-1}ᵀ da_t  (Werbos 1990).
    """
    dh_next = np.zeros((dy.shape[0], dy.shape[2]), dy.dtype)
    da = np.zeros_like(dy)
    for t in reversed(range(dy.shape[1])):
        da[:, t] = tanh_backward(dy[:, t] + dh_next, cache.states[t + 1])
        dp.recurrent += cache.states[t].T @ da[:, t]
        dh_next = da[:, t] @ p.recurrent.T
    return linear_backward(p.input, dp.input, da, cache.input)
