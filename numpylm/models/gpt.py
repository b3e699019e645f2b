"""§5.2 The language model: a decoder-only Transformer.

    x = E[ids] + positions        token embedding and position       (B, T, D)
    h = decoder(x)                n_layers of causal self-attention and feed-forward
    logits = h Eᵀ  or  h W + b    one score for each word of the vocabulary, (B, T, V)

The logits at position t depend on ids 0 … t and predict id t + 1. The textbook's model has the
parameters (vocab_size, d_model, n_heads, d_ff, dropout, n_layers); ``GPTConfig`` adds the choices
in which published models differ. Source: Radford et al. 2018, 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numpylm.layers.dropout import dropout_backward, dropout_forward
from numpylm.layers.embedding import (
    Embedding,
    embedding_backward,
    embedding_forward,
    embedding_init,
    unembedding_backward,
    unembedding_forward,
)
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.layers.positional import (
    LearnedPositions,
    learned_positions_backward,
    learned_positions_forward,
    learned_positions_init,
    sinusoidal_positions_backward,
    sinusoidal_positions_forward,
)
from numpylm.models.config import StackConfig, require_choice, require_positive
from numpylm.models.decoder import Decoder, decoder_backward, decoder_forward, decoder_init
from numpylm.parameters import Array, pack

GPT_CHOICES = {"positions": ("learned", "sinusoidal", "none")}


@dataclass(frozen=True, kw_only=True)
class GPTConfig(StackConfig):
    """The shape of the model. Raises ``ValueError`` for what cannot work."""

    vocab_size: int
    context: int = 64
    positions: str = "learned"
    tied: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "vocab_size", "context")
        require_choice(self, GPT_CHOICES)
        super().__post_init__()


@dataclass
class GPT:
    tokens: Embedding  # (V, D)
    positions: LearnedPositions | None  # (context, D), if learned
    decoder: Decoder
    output: Linear | None  # (D, V); None if tied: the output layer is then the token embedding


def gpt_init(seed: int, config: GPTConfig) -> tuple[Array, GPT]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    rng = np.random.default_rng(seed)
    tokens = embedding_init(rng, config.vocab_size, config.d_model)
    learned = config.positions == "learned"
    positions = learned_positions_init(rng, config.context, config.d_model) if learned else None
    decoder = decoder_init(rng, config)
    output = None
    if not config.tied:
        output = linear_init(rng, config.d_model, config.vocab_size, bias=config.bias)
    return pack(GPT(tokens, positions, decoder, output))


def gpt_forward(
    p: GPT,
    ids: Array,
    *,
    config: GPTConfig,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, tuple]:
    """Logits of the next token at each position; integer ids (B, T) -> (B, T, V).

    mask (B, T) is False where ids are padding. ``rng`` turns dropout on. Sinusoidal positions are
    of size 1, so the embeddings are scaled by √D to match (Vaswani et al. 2017, §3.4). Raises
    ``ValueError`` for ids outside the vocabulary or sequences longer than the context.
    """
    if ids.ndim != 2 or ids.shape[1] > config.context:
        raise ValueError(f"ids {ids.shape} must be (batch, length ≤ context {config.context})")
    x, c_tokens = embedding_forward(p.tokens, ids)
    c_positions = None
    if p.positions is not None:
        x, c_positions = learned_positions_forward(p.positions, x)
    elif config.positions == "sinusoidal":
        x, c_positions = sinusoidal_positions_forward(x * math.sqrt(config.d_model))
    x, c_dropout = dropout_forward(x, rate=config.dropout, rng=rng)
    h, c_decoder = decoder_forward(p.decoder, x, config=config, mask=mask, rng=rng)
    if p.output is None:
        logits, c_output = unembedding_forward(p.tokens, h)
    else:
        logits, c_output = linear_forward(p.output, h)
    return logits, (config, c_tokens, c_positions, c_dropout, c_decoder, c_output)


def gpt_backward(p: GPT, dp: GPT, dlogits: Array, cache: tuple) -> None:
    """The forward read upwards. With tied weights ``dp.tokens`` receives two contributions."""
    config, c_tokens, c_positions, c_dropout, c_decoder, c_output = cache
    if p.output is None:
        dh = unembedding_backward(p.tokens, dp.tokens, dlogits, c_output)
    else:
        dh = linear_backward(p.output, dp.output, dlogits, c_output)
    dx = decoder_backward(p.decoder, dp.decoder, dh, c_decoder)
    dx = dropout_backward(dx, c_dropout)
    if p.positions is not None:
        dx = learned_positions_backward(p.positions, dp.positions, dx, c_positions)
    elif config.positions == "sinusoidal":
        dx = sinusoidal_positions_backward(dx, c_positions) * math.sqrt(config.d_model)
    embedding_backward(p.tokens, dp.tokens, dx, c_tokens)
