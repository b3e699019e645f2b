"""§2.2 Encoder-decoder: the original Transformer, for turning one sequence into another.

    memory = encoder(E_s[source] + P)             (B, S, D), sees all of the source
    h = decoder(E_t[target] + P, memory)          (B, T, D), sees the target so far and the memory
    logits = h E_tᵀ  or  h W + b                  (B, T, V), of the next target token

Source and target may share one vocabulary and its table (``target_vocab_size=None``), and the
output may be tied to the target's. Source: Vaswani et al. 2017, arXiv:1706.03762, §3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
)
from numpylm.models.encoder import (
    Encoder,
    EncoderCache,
    encoder_backward,
    encoder_forward,
    encoder_init,
)
from numpylm.parameters import Array, pack


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(StackConfig):
    """The shape of the model: n_layers in the encoder and as many in the decoder.

    Raises ``ValueError`` for what cannot work.
    """

    vocab_size: int  # of the source, and of the target too if they share it
    target_vocab_size: int | None = None  # None: shared
    context: int = 128
    positions: str = "sinusoidal"
    tied: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "vocab_size", "context")
        if self.target_vocab_size is not None:
            require_positive(self, "target_vocab_size")
        super().__post_init__()


@dataclass
class Seq2Seq:
    """Parameters; what is shared is held once."""

    source: InputEmbedding  # (V_source, D)
    target: InputEmbedding | None  # (V_target, D); None if shared with the source
    encoder: Encoder
    decoder: Decoder
    output: Any  # Linear (D, V_target), or None if tied to the target's embedding

    @property
    def target_embedding(self) -> InputEmbedding:
        """The target's own table, or the shared one."""
        return self.source if self.target is None else self.target


class EncodeCache(NamedTuple):
    embedding: InputEmbeddingCache
    encoder: EncoderCache


class DecodeCache(NamedTuple):
    embedding: InputEmbeddingCache
    decoder: DecoderCache
    output: Array


class Seq2SeqCache(NamedTuple):
    encode: EncodeCache
    decode: DecodeCache


def seq2seq_init(seed: int, config: Seq2SeqConfig) -> tuple[Array, Seq2Seq]:
    """Random parameters for a seed: ``(theta, p)`` as from ``pack``, float32."""
    rng = np.random.default_rng(seed)
    embedding_init = partial(
        input_embedding_init, rng,
        context=config.context, d_model=config.d_model, positions=config.positions,
    )  # fmt: skip
    source = embedding_init(config.vocab_size)
    target = None
    if config.target_vocab_size is not None:
        target = embedding_init(config.target_vocab_size)
    encoder, decoder = encoder_init(rng, config), decoder_init(rng, config, cross=True)
    output = None
    if not config.tied:
        target_size = config.target_vocab_size or config.vocab_size
        output = linear_init(rng, config.d_model, target_size, std=0.02, bias=config.bias)
    return pack(Seq2Seq(source, target, encoder, decoder, output))


def encode_forward(
    p: Seq2Seq,
    source: Array,
    *,
    config: Seq2SeqConfig,
    source_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, EncodeCache]:
    """The memory (B, S, D) of integer ids (B, S); source_mask (B, S) is False at padding."""
    _check_length("source", source, config.context)
    x, c_embedding = input_embedding_forward(
        p.source, source, positions=config.positions, dropout=config.dropout, rng=rng
    )
    memory, c_encoder = encoder_forward(p.encoder, x, config=config, mask=source_mask, rng=rng)
    return memory, EncodeCache(c_embedding, c_encoder)


def encode_backward(p: Seq2Seq, dp: Seq2Seq, dmemory: Array, cache: EncodeCache) -> None:
    """The forward read upwards."""
    dx = encoder_backward(p.encoder, dp.encoder, dmemory, cache.encoder)
    input_embedding_backward(p.source, dp.source, dx, cache.embedding)


def decode_forward(
    p: Seq2Seq,
    memory: Array,
    target: Array,
    *,
    config: Seq2SeqConfig,
    source_mask: Array | None = None,
    past: list[LayerPast] | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, DecodeCache]:
    """Logits (B, T, V) of the token after each of the target ids (B, T).

    A padded target needs no mask: padding stands at the end, and nobody looks ahead. past: what
    the layers have seen of the target that ids continue, and of the memory, of which then nothing
    new is left: ``memory[:, :0]``.
    """
    first = past[0].length if past else 0
    _check_length("target", target, config.context - first)
    embedding = p.target_embedding
    x, c_embedding = input_embedding_forward(
        embedding, target, positions=config.positions, first=first,
        dropout=config.dropout, rng=rng,
    )  # fmt: skip
    h, c_decoder = decoder_forward(
        p.decoder, x, memory, config=config, memory_mask=source_mask, past=past, rng=rng
    )
    if p.output is None:
        logits, c_output = unembedding_forward(embedding.tokens, h)
    else:
        logits, c_output = linear_forward(p.output, h)
    return logits, DecodeCache(c_embedding, c_decoder, c_output)


def decode_backward(p: Seq2Seq, dp: Seq2Seq, dlogits: Array, cache: DecodeCache) -> Array:
    """The forward read upwards; returns dmemory."""
    embedding, dembedding = p.target_embedding, dp.target_embedding
    if p.output is None:
        dh = unembedding_backward(embedding.tokens, dembedding.tokens, dlogits, cache.output)
    else:
        dh = linear_backward(p.output, dp.output, dlogits, cache.output)
    dx, dmemory = decoder_backward(p.decoder, dp.decoder, dh, cache.decoder)
    input_embedding_backward(embedding, dembedding, dx, cache.embedding)
    return dmemory


def cross_attention_weights(cache: DecodeCache) -> Array:
    """Where the decoder looked: (n_layers, B, H, T, S), from the cache of ``decode_forward``."""
    return np.stack([c.cross.attention.attention.weights for c in cache.decoder.layers if c.cross])


def seq2seq_forward(
    p: Seq2Seq,
    source: Array,
    target: Array,
    *,
    config: Seq2SeqConfig,
    source_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Seq2SeqCache]:
    """Logits (B, T, V); integer source (B, S) and target (B, T), which starts with its first token.

    Raises ``ValueError`` for ids outside a vocabulary or sequences longer than the context.
    """
    encode = partial(encode_forward, config=config, source_mask=source_mask, rng=rng)
    decode = partial(decode_forward, config=config, source_mask=source_mask, rng=rng)
    memory, c_encode = encode(p, source)
    logits, c_decode = decode(p, memory, target)
    return logits, Seq2SeqCache(c_encode, c_decode)


def seq2seq_backward(p: Seq2Seq, dp: Seq2Seq, dlogits: Array, cache: Seq2SeqCache) -> None:
    """The forward read upwards. A shared table receives up to three contributions."""
    dmemory = decode_backward(p, dp, dlogits, cache.decode)
    encode_backward(p, dp, dmemory, cache.encode)


def _check_length(what: str, ids: Array, context: int) -> None:
    if ids.ndim != 2 or ids.shape[1] > context:
        raise ValueError(f"{what} ids {ids.shape} must be (batch, length ≤ context {context})")
