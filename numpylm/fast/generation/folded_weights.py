"""Folding: what does not depend on the token is computed once, before generation.

In pre-norm every sublayer begins with a layer norm and a matrix. With x̄ = x − mean(x),

    LayerNorm(x) W + b = x̄ / √(|x̄|² + Dε) · W′ + b′        W′ = √D γ ⊙ W,   b′ = β W + b

A mean that is never used need never be made: if the columns of everything that writes to the
residual stream are centred, x = x̄ throughout, and the layer norm has become a division by a length.
The query matrix takes the scale 1/√d_head, and stands beside those of keys and values. And GELU,
½ x (1 + tanh u) with u = √(2/π) (x + 0.044715 x³), is a function of z = s x with two factors less,

    ½ x (1 + tanh u) = z (1 + tanh(z³ + c z)) / 2s        s³ = √(2/π) · 0.044715,   c = √(2/π) / s

so the matrix before it takes s, and the one behind it 1/2s.

In post-norm the norm's output is the residual stream itself, so γ and β must stay.
Source: Jiang et al. 2023, arXiv:2305.14858 (pre-norm with layer norm equals one with RMS norm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numpylm.layers.activations import CUBIC, SQRT_2_OVER_PI
from numpylm.layers.input_embedding import InputEmbedding
from numpylm.layers.layer_norm import LayerNorm
from numpylm.layers.linear import Linear
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.layer import TransformerLayer
from numpylm.models.seq2seq import Seq2Seq, Seq2SeqConfig
from numpylm.models.stack import Stack
from numpylm.parameters import Array

GELU_SCALE = (SQRT_2_OVER_PI * CUBIC) ** (1 / 3)
GELU_LINEAR = SQRT_2_OVER_PI / GELU_SCALE


@dataclass(frozen=True)
class FoldedLayer:
    qkv: Linear  # (D, 3 D)
    output: Linear  # (D, D)
    cross_query: Linear | None  # (D, D); with the next three None without cross-attention
    memory_key: Linear | None
    memory_value: Linear | None
    cross_output: Linear | None
    hidden: Linear  # (D, d_ff)
    feed_output: Linear  # (d_ff, D)
    norms: tuple[LayerNorm, ...]  # post-norm: after each sublayer; pre-norm: none is left


@dataclass(frozen=True)
class FoldedDecoder:
    """A decoder for ``next_logits``; its tables are the model's own, its matrices are copies."""

    embedding: InputEmbedding
    layers: list[FoldedLayer]
    norm: LayerNorm | None  # pre-norm: before the output, its γ times √D
    output: Linear  # (D, V); the token embedding, transposed, if tied
    config: GPTConfig | Seq2SeqConfig
    average: Array  # (D,), 1/D each: x · average is the mean of x
    heads: range  # those whose columns are in the matrices


def fold_decoder(p: GPT | Seq2Seq, config: GPTConfig | Seq2SeqConfig) -> FoldedDecoder:
    """The language model, or the decoder of the encoder-decoder, for generation."""
    embedding = p.embedding if isinstance(p, GPT) else p.target_embedding
    decoder: Stack = p.decoder
    layers = [_fold_layer(layer, config) for layer in decoder.layers]
    norm = None
    if decoder.norm is not None:
        norm = LayerNorm(math.sqrt(config.d_model) * decoder.norm.gamma, decoder.norm.beta)
    output = Linear(embedding.tokens.weight.T, None) if p.output is None else p.output
    average = np.full(config.d_model, 1.0 / config.d_model, embedding.tokens.weight.dtype)
    return FoldedDecoder(embedding, layers, norm, output, config, average, range(config.n_heads))


def _fold_layer(p: TransformerLayer, config: GPTConfig | Seq2SeqConfig) -> FoldedLayer:
    pre, scale = config.norm == "pre", 1.0 / math.sqrt(config.d_model // config.n_heads)
    into, back = (GELU_SCALE, 0.5 / GELU_SCALE) if config.activation == "gelu" else (1.0, 1.0)
    own, cross, feed = p.self_attention, p.cross_attention, p.feed_forward

    def reads(norm: LayerNorm, *linears: Linear, scale: float = 1.0) -> Linear:
        return _reads(norm if pre else None, linears, scale)

    norms = (p.self_attention_norm, p.cross_attention_norm, p.feed_forward_norm)
    return FoldedLayer(
        reads(norms[0], own.query, own.key, own.value, scale=scale),
        _writes(own.output, pre),
        reads(norms[1], cross.query, scale=scale) if cross else None,
        cross.key if cross else None,
        cross.value if cross else None,
        _writes(cross.output, pre) if cross else None,
        reads(norms[2], feed.hidden, scale=into),
        _writes(feed.output, pre, back),
        () if pre else norms,
    )


def _reads(norm: LayerNorm | None, linears: tuple[Linear, ...], scale: float) -> Linear:
    """W′ = √D γ ⊙ W, b′ = β W + b, of maps of one input, side by side; the first times scale."""
    weight = np.concatenate([linear.weight for linear in linears], axis=1)
    bias = None
    if linears[0].bias is not None:
        bias = np.concatenate([linear.bias for linear in linears])
    if norm is not None:
        if norm.beta is not None:
            shift = norm.beta @ weight
            bias = shift if bias is None else shift + bias
        weight *= (math.sqrt(norm.gamma.size) * norm.gamma)[:, None]
    if scale != 1.0:
        first = slice(linears[0].weight.shape[1])
        weight[:, first] *= scale
        if bias is not None:
            bias[first] *= scale
    return Linear(weight, bias)


def _writes(linear: Linear, centred: bool, scale: float = 1.0) -> Linear:
    """The map of scale · x, its output of mean 0 if ``centred``."""
    weight, bias = scale * linear.weight, linear.bias
    if centred:
        d_model = weight.shape[1]
        weight -= (weight @ np.full(d_model, 1.0 / d_model, weight.dtype))[:, None]
        bias = None if bias is None else bias - bias.mean()
    return Linear(weight, bias)
