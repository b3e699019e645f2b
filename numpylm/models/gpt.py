"""§5.2 The language model: a decoder-only Transformer.

    x = E[ids] + positions        token embedding and position       (B, T, D)
    h = decoder(x)                n_layers of causal self-attention and feed-forward
    logits = h Eᵀ  or  h W + b    one score for each word of the vocabulary, (B, T, V)

The logits at position t depend on ids 0 … t and predict id t + 1. ``GPTConfig`` holds the sizes and
the choices in which published models differ; ``TransformerEncoder``, at the end, is the same model
under the textbook's name and arguments. Source: Radford et al. 2018, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.layers.embedding import unembedding_backward, unembedding_forward
from numpylm.layers.input_embedding import (
    InputEmbedding,
    InputEmbeddingCache,
    input_embedding_backward,
    input_embedding_forward,
    input_embedding_init,
)
from numpylm.layers.linear import linear_backward, linear_forward, linear_init
from numpylm.models.config import StackConfig, require_positive
from numpylm.models.decoder import (
    Decoder,
    DecoderCache,
    LayerPast,
    decoder_backward,
    decoder_forward,
    decoder_init,
    seen_by,
)
from numpylm.parameters import Array, pack


@dataclass(frozen=True, kw_only=True)
class GPTConfig(StackConfig):
    """The shape of the model. Raises ``ValueError`` for what cannot work."""

    vocab_size: int
    context: int = 64
    tied: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "vocab_size", "context")
        super().__post_init__()


@dataclass
class GPT:
    embedding: InputEmbedding  # (V, D), and (context, D) if positions are learned
    decoder: Decoder
    output: Any  # Linear (D, V), or None if tied: it is then the token embedding


class GPTCache(NamedTuple):
    """What the backward needs, and what the layers have seen."""

    embedding: InputEmbeddingCache
    decoder: DecoderCache
    output: Array

    @property
    def seen(self) -> list[LayerPast]:
        """What each layer has seen: the ``past`` of the tokens that follow."""
        return seen_by(self.decoder)

    @property
    def attention_weights(self) -> list[Array]:
        """Where each layer looked, (B, H, T, S)."""
        return [layer.attention.attention.weights for layer in self.decoder.layers]


def gpt_init(seed: int, config: GPTConfig) -> tuple[Array, GPT]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    rng = np.random.default_rng(seed)
    vocab_size, d_model = config.vocab_size, config.d_model
    embedding = input_embedding_init(
        rng, vocab_size, config.context, d_model, positions=config.positions
    )
    decoder = decoder_init(rng, config)
    tied = config.tied
    output = None  # the one that makes logits starts small, so that the first guess is uniform
    if not tied:
        output = linear_init(rng, d_model, vocab_size, std=0.02, bias=config.bias)
    return pack(GPT(embedding, decoder, output))


def gpt_forward(
    p: GPT,
    ids: Array,
    *,
    config: GPTConfig,
    mask: Array | None = None,
    past: list[LayerPast] | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, GPTCache]:
    """Logits of the next token at each position; integer ids (B, T) -> (B, T, V).

    mask (B, T) is False where ids are padding, at the end (padding in front would shift the
    positions). past: what the layers have seen of the text that ids continue (``generation/
    kv_cache.py``). ``rng`` turns dropout on. Raises ``ValueError`` for ids outside the vocabulary
    or sequences longer than the context.
    """
    first = past[0].length if past else 0
    if ids.ndim != 2 or first + ids.shape[1] > config.context:
        shape = (*ids.shape[:-1], first + ids.shape[-1])
        raise ValueError(f"ids {shape} must be (batch, length ≤ context {config.context})")
    x, c_embedding = input_embedding_forward(
        p.embedding, ids, positions=config.positions, first=first, dropout=config.dropout, rng=rng
    )
    h, c_decoder = decoder_forward(p.decoder, x, config=config, mask=mask, past=past, rng=rng)
    if p.output is None:
        logits, c_output = unembedding_forward(p.embedding.tokens, h)
    else:
        logits, c_output = linear_forward(p.output, h)
    return logits, GPTCache(c_embedding, c_decoder, c_output)


def gpt_backward(p: GPT, dp: GPT, dlogits: Array, cache: GPTCache) -> None:
    """The forward read upwards. With tied weights the token table receives two contributions."""
    if p.output is None:
        dh = unembedding_backward(p.embedding.tokens, dp.embedding.tokens, dlogits, cache.output)
    else:
        dh = linear_backward(p.output, dp.output, dlogits, cache.output)
    dx, _ = decoder_backward(p.decoder, dp.decoder, dh, cache.decoder)
    input_embedding_backward(p.embedding, dp.embedding, dx, cache.embedding)


class TransformerEncoder:
    """The textbook's class: its name, its five arguments, and parameters that can be trained.

        TransformerEncoder(vocab_size, d_model, nhead, dim_feedforward, dropout)

    The textbook breaks off at the embedding. What follows here is ours: sines as positions, layers
    of attention and feed-forward with post-norm, relu and a *causal* mask, without which the model
    would see the word that it is to predict, and a linear output that shares nothing with the
    embedding. With that mask a stack of encoder layers is what ``models/decoder.py`` holds.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        *,
        n_layers: int = 2,
        context: int = 35,
        seed: int = 1,
    ) -> None:
        """Raises ``ValueError`` for sizes that cannot work, as ``GPTConfig`` does."""
        self.config = GPTConfig(
            vocab_size=vocab_size, d_model=d_model, n_heads=nhead, d_ff=dim_feedforward,
            dropout=dropout, n_layers=n_layers, context=context,
            norm="post", activation="relu", positions="sinusoidal", tied=False,
        )  # fmt: skip
        self.theta, self.p = gpt_init(seed, self.config)

    def forward(self, ids: Array, rng: np.random.Generator | None = None) -> tuple[Array, GPTCache]:
        """Logits of the next word, ids (B, T) -> (B, T, V), and the cache; rng: dropout is on."""
        return gpt_forward(self.p, ids, config=self.config, rng=rng)

    def backward(self, dp: GPT, dlogits: Array, cache: GPTCache) -> None:
        """Add the gradient of each parameter into dp, which has the shape of ``self.p``."""
        gpt_backward(self.p, dp, dlogits, cache)
