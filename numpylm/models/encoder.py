"""§3.1 The Transformer encoder: every position looks at the whole text, before and after it.

    1. token embedding              ids to vectors          ``layers/input_embedding.py``
    2. positional encoding          where each stands       ``layers/positional.py``
    3. multi-head self-attention    collect from all        ``layers/multi_head.py``
    4. residual and layer norm      keep and rescale        ``layers/residual.py``
    5. feed-forward network         work on it              ``layers/feed_forward.py``
    6. output                       (B, T, D), after n_layers times steps 3 to 5

Steps 1 and 2 belong to the models, because encoder and decoder may share a vocabulary; here are
steps 3 to 6. Source: Vaswani et al. 2017, §3.1.
"""

from __future__ import annotations

import numpy as np

from numpylm.models.config import StackConfig
from numpylm.models.stack import Stack, stack_backward, stack_forward, stack_init
from numpylm.parameters import Array


def encoder_init(rng: np.random.Generator, config: StackConfig) -> Stack:
    """n_layers layers of self-attention and feed-forward; float32."""
    return stack_init(rng, config)


def encoder_forward(
    p: Stack,
    x: Array,
    *,
    config: StackConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """x (B, S, D) -> (B, S, D), the memory of a decoder. mask (B, S) is False at padding."""
    return stack_forward(p, x, config=config, causal=False, mask=mask, rng=rng)


def encoder_backward(p: Stack, dp: Stack, dy: Array, cache: tuple) -> Array:
    """Returns dx."""
    return stack_backward(p, dp, dy, cache)
