"""A stack of Transformer layers: what encoder and decoder have in common.

    h_0 = x,   h_{l+1} = layer_l(h_l),   y = LayerNorm(h_n) in pre-norm, h_n in post-norm

Pre-norm leaves the residual stream unscaled and so needs one more layer norm at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.layers.layer_norm import (
    LayerNorm,
    layer_norm_backward,
    layer_norm_forward,
    layer_norm_init,
)
from numpylm.models.config import StackConfig
from numpylm.models.layer import (
    TransformerLayer,
    transformer_layer_backward,
    transformer_layer_forward,
    transformer_layer_init,
)
from numpylm.parameters import Array


@dataclass
class Stack:
    layers: list[TransformerLayer]
    norm: LayerNorm | None  # pre-norm only


def stack_init(rng: np.random.Generator, config: StackConfig, *, cross: bool = False) -> Stack:
    """n_layers layers, with encoder-decoder attention if ``cross``; float32."""
    layers = [transformer_layer_init(rng, config, cross=cross) for _ in range(config.n_layers)]
    pre = config.norm == "pre"
    return Stack(layers, layer_norm_init(config.d_model, bias=config.bias) if pre else None)


def stack_forward(
    p: Stack,
    x: Array,
    memory: Array | None = None,
    *,
    config: StackConfig,
    causal: bool,
    mask: Array | None = None,
    memory_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """x (B, T, D), memory (B, S, D) if there is encoder-decoder attention -> (B, T, D).

    mask (B, T) is False where x is padding, memory_mask (B, S) where the memory is.
    """
    caches = []
    for layer in p.layers:
        x, cache = transformer_layer_forward(
            layer, x, memory, config=config, causal=causal, mask=mask, memory_mask=memory_mask,
            rng=rng,
        )  # fmt: skip
        caches.append(cache)
    c_norm = None
    if p.norm is not None:
        x, c_norm = layer_norm_forward(p.norm, x)
    return x, (caches, c_norm)


def stack_backward(p: Stack, dp: Stack, dy: Array, cache: tuple) -> Any:
    """The forward read upwards; returns dx, or (dx, dmemory) if there was a memory.

    Every layer looks at the same memory, so its gradient is the sum over the layers.
    """
    caches, c_norm = cache
    d = dy if p.norm is None else layer_norm_backward(p.norm, dp.norm, dy, c_norm)
    dmemory = None
    for i in reversed(range(len(p.layers))):
        dx = transformer_layer_backward(p.layers[i], dp.layers[i], d, caches[i])
        d, dm = dx if isinstance(dx, tuple) else (dx, None)
        dmemory = dm if dmemory is None else dmemory + dm
    return d if dmemory is None else (d, dmemory)
