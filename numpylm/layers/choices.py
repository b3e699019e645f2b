"""The choices in which published models differ: norms, activations and position encodings by name.

A new one is a file with its forward and backward, and an entry here; whatever builds, trains,
generates from, counts or checks a model finds it by its name. What an entry says of parameters and
memory stands beside it for those who count them (``models/counting.py``, ``cost/memory.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpylm.layers.activations import gelu_backward, gelu_forward, relu_backward, relu_forward
from numpylm.layers.layer_norm import layer_norm_backward, layer_norm_forward, layer_norm_init
from numpylm.layers.positional import (
    alibi_bias,
    learned_positions_backward,
    learned_positions_forward,
    learned_positions_init,
    sinusoidal_positions_backward,
    sinusoidal_positions_forward,
)
from numpylm.layers.rms_norm import rms_norm_backward, rms_norm_forward, rms_norm_init
from numpylm.layers.rotary import RotaryCache, rotary_backward, rotary_forward
from numpylm.parameters import Array

Function = Callable[..., Any]


class Norm(NamedTuple):
    """``forward(p, x) -> (y, cache)`` and ``backward(p, dp, dy, cache) -> dx``."""

    init: Function  # (d_model, bias) -> p
    forward: Function
    backward: Function
    n_parameters: Callable[[int, bool], int]  # of (D, bias)


class Activation(NamedTuple):
    """``forward(x) -> (y, cache)`` and ``backward(dy, cache) -> dx``.

    For each number of x, ``kept`` numbers wait for the backward besides y, and the backward holds
    ``working`` numbers at its peak.
    """

    forward: Function
    backward: Function
    kept: int = 2
    working: int = 5


class PositionEncoding(NamedTuple):
    """Where an encoding acts: on the embedded tokens, or on queries and keys before they meet.

    ``add(p, x, first=…) -> (y, cache)`` gets the tokens x (B, T, D), which stand at positions
    first, first + 1, …; ``add_backward(p, dp, dy, cache) -> dx``. ``attend(q, k, first=…,
    causal=…, **settings) -> (q, k, bias, cache)`` gets queries and keys (B, H, T, d_head) of new
    tokens, and may turn them or return a bias (H, T, first + T) of the scores;
    ``attend_backward(dq, dk, cache) -> (dq, dk)``. ``settings`` are names of the configuration's.
    """

    init: Function | None = None  # (rng, context, d_model) -> p, if it has parameters
    add: Function = lambda p, x, *, first: (x, None)
    add_backward: Function = lambda p, dp, dy, cache: dy
    attend: Function = lambda q, k, *, first, causal: (q, k, None, None)
    attend_backward: Function = lambda dq, dk, cache: (dq, dk)
    scaled: bool = False  # tokens times √D, to be as large as what is added (Vaswani, §3.4)
    n_parameters: Callable[[int, int], int] = lambda context, d_model: 0
    settings: tuple[str, ...] = ()


def _sinusoidal_add(p: None, x: Array, *, first: int) -> tuple[Array, None]:
    return sinusoidal_positions_forward(x, first=first)


def _sinusoidal_add_backward(p: None, dp: None, dy: Array, cache: None) -> Array:
    return sinusoidal_positions_backward(dy, cache)


def _alibi_attend(
    q: Array, k: Array, *, first: int, causal: bool, alibi_scale: float
) -> tuple[Array, Array, Array, None]:
    n_heads, length = q.shape[1:3]
    size = n_heads, length, first + length, q.dtype
    return q, k, alibi_bias(*size, scale=alibi_scale, both_ways=not causal), None


def _rotary_attend(
    q: Array, k: Array, *, first: int, causal: bool
) -> tuple[Array, Array, None, tuple[RotaryCache, RotaryCache]]:
    q, c_query = rotary_forward(q, first=first)
    k, c_key = rotary_forward(k, first=first)
    return q, k, None, (c_query, c_key)


def _rotary_attend_backward(
    dq: Array, dk: Array, cache: tuple[RotaryCache, RotaryCache]
) -> tuple[Array, Array]:
    c_query, c_key = cache
    return rotary_backward(dq, c_query), rotary_backward(dk, c_key)


def entry(table: Mapping[str, Any], name: str, implementation: str) -> str:
    """The name of the twin that ``numpylm.fast`` adds, as "gelu (fast)", if it is wanted and there
    is one; else the name itself."""
    twin = f"{name} ({implementation})"
    return twin if twin in table else name


def names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """What one may choose from: all but the twins."""
    return tuple(name for name in table if "(" not in name)


NORMS: dict[str, Norm] = {
    "layer": Norm(
        layer_norm_init, layer_norm_forward, layer_norm_backward, lambda d, bias: d * (1 + bias)
    ),
    "rms": Norm(rms_norm_init, rms_norm_forward, rms_norm_backward, lambda d, bias: d),
}

ACTIVATIONS: dict[str, Activation] = {
    "gelu": Activation(gelu_forward, gelu_backward),
    "relu": Activation(relu_forward, relu_backward, kept=0, working=2),
}

POSITIONS: dict[str, PositionEncoding] = {
    "learned": PositionEncoding(
        learned_positions_init, learned_positions_forward, learned_positions_backward,
        n_parameters=lambda context, d_model: context * d_model,
    ),
    "sinusoidal": PositionEncoding(
        add=_sinusoidal_add, add_backward=_sinusoidal_add_backward, scaled=True
    ),
    "alibi": PositionEncoding(attend=_alibi_attend, settings=("alibi_scale",)),
    "rotary": PositionEncoding(attend=_rotary_attend, attend_backward=_rotary_attend_backward),
    "none": PositionEncoding(),
}  # fmt: skip
