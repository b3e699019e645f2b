"""Rotary positions: queries and keys are turned by an angle that grows with their position.

Two columns of a head are a pair, a point of the plane, which position t turns by the angle t θ_i:

    y_a = x_a cos(t θ_i) − x_b sin(t θ_i)          θ_i = base^(−2i / d),  i = 0 … d/2 − 1
    y_b = x_a sin(t θ_i) + x_b cos(t θ_i)

Turned by t and s, a query and a key meet at the angle (t − s) θ_i: their score knows the distance
alone. Which columns are pair i is a convention, and weights that were trained with one are garbage
with the other:

    halves         a = i,  b = i + d/2           Hugging Face, GPT-NeoX
    interleaved    a = 2i, b = 2i + 1            the paper, Meta's own code, llama2.c, GGUF

Source: Su et al. 2021, arXiv:2104.09864, §3.2; scaling: Grattafiori et al. 2024 (Llama 3),
arXiv:2407.21783, §3.4.3, with the constants of its published code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.parameters import Array

BASE = 10000.0
PAIRINGS = ("halves", "interleaved")


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow angles are slowed down by ``factor``, so that a longer context stays within the turns
    that were trained: those whose wavelength 2π/θ exceeds context / low_frequency, in full; those
    below context / high_frequency, not at all; between the two, smoothly."""

    factor: float = 8.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    context: int = 8192  # of the training before

    def __call__(self, theta: Array) -> Array:
        """θ' for each θ."""
        turns = self.context * theta / (2.0 * math.pi)  # in the old context
        share = (turns - self.low_frequency) / (self.high_frequency - self.low_frequency)
        share = np.clip(share, 0.0, 1.0)  # 1: a fast angle, which stays as it is
        return (1.0 - share) * theta / self.factor + share * theta


def rotary_angles(
    first: int,
    length: int,
    d_head: int,
    dtype: DTypeLike,
    *,
    base: float = BASE,
    scaling: Llama3Scaling | None = None,
) -> tuple[Array, Array]:
    """cos and sin of t θ_i, (length, ⌊d_head / 2⌋) each, at t = first, first + 1, …; read-only."""
    return _table(first, length, d_head, np.dtype(dtype).str, base, scaling)


@lru_cache(maxsize=64)
def _table(
    first: int, length: int, d_head: int, dtype: str, base: float, scaling: Llama3Scaling | None
) -> tuple[Array, Array]:
    theta = base ** (-2.0 * np.arange(d_head // 2) / d_head)
    if scaling is not None:
        theta = scaling(theta)
    angle = np.arange(first, first + length)[:, None] * theta
    cos, sin = np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


class RotaryCache(NamedTuple):
    cos: Array  # (T, d_head / 2)
    sin: Array
    pairing: str


def rotary_forward(
    x: Array,
    *,
    first: int = 0,
    base: float = BASE,
    pairing: str = "halves",
    scaling: Llama3Scaling | None = None,
) -> tuple[Array, RotaryCache]:
    """x (..., T, d_head), at positions first, first + 1, … -> y, turned.

    The last column of an odd d_head stays. Raises ``ValueError`` for another pairing than
    "halves" and "interleaved".
    """
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing is {pairing!r}; it must be one of {', '.join(PAIRINGS)}")
    length, d_head = x.shape[-2:]
    cos, sin = rotary_angles(first, length, d_head, x.dtype, base=base, scaling=scaling)
    a, b = _pair(d_head, pairing)
    y = x.copy()
    y[..., a] = x[..., a] * cos - x[..., b] * sin
    y[..., b] = x[..., a] * sin + x[..., b] * cos
    return y, RotaryCache(cos, sin, pairing)


def rotary_backward(dy: Array, cache: RotaryCache) -> Array:
    """dx is dy turned back: the transpose of a rotation by an angle is the rotation by its
    negative, so the two sines change their sign."""
    cos, sin = cache.cos, cache.sin
    a, b = _pair(dy.shape[-1], cache.pairing)
    dx = dy.copy()
    dx[..., a] = dy[..., a] * cos + dy[..., b] * sin
    dx[..., b] = dy[..., b] * cos - dy[..., a] * sin
    return dx


def _pair(d_head: int, pairing: str) -> tuple[slice, slice]:
    """The columns a and b of all pairs."""
    half = d_head // 2
    if pairing == "interleaved":
        return slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    return slice(0, half), slice(half, 2 * half)
