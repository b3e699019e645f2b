"""§3.2 The Transformer decoder: each position looks at itself and what came before it.

    1. masked self-attention        causal: no position sees a later one
    2. encoder-decoder attention    each position looks at the encoder's output, the memory
    3. feed-forward network         on each position
    4. output distribution          softmax(h Eᵀ); in the models, which may tie it to the embedding

Without step 2 this is the trunk of a decoder-only language model. Source: Vaswani et al. 2017,
§3.1; Radford et al. 2018 (decoder-only).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numpylm.models.config import StackConfig
from numpylm.models.stack import Stack, stack_backward, stack_forward, stack_init
from numpylm.parameters import Array


def decoder_init(rng: np.random.Generator, config: StackConfig, *, cross: bool = False) -> Stack:
    """n_layers layers, with encoder-decoder attention if ``cross``; float32."""
    return stack_init(rng, config, cross=cross)


def decoder_forward(
    p: Stack,
    x: Array,
    memory: Array | None = None,
    *,
    config: StackConfig,
    mask: Array | None = None,
    memory_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """x (B, T, D), memory (B, S, D) of an encoder or None -> (B, T, D).

    mask (B, T) is False where x is padding, memory_mask (B, S) where the memory is.
    """
    return stack_forward(
        p, x, memory, config=config, causal=True, mask=mask, memory_mask=memory_mask, rng=rng
    )


def decoder_backward(p: Stack, dp: Stack, dy: Array, cache: tuple) -> Any:
    """Returns dx, or (dx, dmemory) if there was a memory."""
    return stack_backward(p, dp, dy, cache)
