"""The key-value cache: a decoder reads each token once.

Keys and values of a position depend on what stands before it, never on what comes after. So they
are kept, and the forward of one more token, at position n, is one row of the ordinary forward:

    q, k_n, v_n = h W_Q, h W_K, h W_V                   h (B, 1, D): the new token alone
    y = softmax(q [k_0 … k_n]ᵀ / √d_head) [v_0 … v_n]

One token costs O(n) attention instead of O(n²), and the matrix products of one row instead of n.
The keys and values of an encoder's memory do not change at all: they are computed once.

The cache is an explicit array ``past``, (n_layers, 2, B, H, context, d_head), keys then values,
and n says how much of it is filled. The same function reads a whole prompt (T tokens at n = 0) and
then one token at a time. For one row a call of NumPy costs as much as the arithmetic in it, so
the matrices are those of ``folded_weights.py``: the same function with half the calls.
Source: Shazeer 2019, arXiv:1911.02150, §2.4.1 (incremental multi-head attention).
"""

from __future__ import annotations

import math

import numpy as np

from numpylm.fast.generation.folded_weights import GELU_LINEAR, FoldedDecoder, FoldedLayer
from numpylm.layers.attention import causal_mask
from numpylm.layers.embedding import embedding_forward
from numpylm.layers.layer_norm import layer_norm_forward
from numpylm.layers.linear import Linear, linear_forward
from numpylm.layers.multi_head import split_heads
from numpylm.layers.positional import alibi_bias, sinusoidal_encoding
from numpylm.layers.softmax import softmax_inplace
from numpylm.models.config import StackConfig
from numpylm.parameters import Array

KeyValues = tuple[Array, Array]  # (B, H, S, d_head) each


class Group:
    """The processes that share a model's matrices out among them: here one, with all of them."""

    def total(self, y: Array) -> Array:
        """Σ y over the processes."""
        return y

    def join(self, y: Array) -> Array:
        """The y of all processes, side by side on the last axis."""
        return y


ALONE = Group()


def empty_past(p: FoldedDecoder, batch: int) -> Array:
    """Room for the keys and values of ``batch`` sequences as long as the context."""
    c = p.config
    shape = (c.n_layers, 2, batch, len(p.heads), c.context, c.d_model // c.n_heads)
    return np.empty(shape, p.embedding.tokens.weight.dtype)


def memory_past(p: FoldedDecoder, memory: Array) -> list[KeyValues]:
    """Keys and values of an encoder's memory (B, S, D), for the cross-attention of each layer."""

    def heads(linear: Linear) -> Array:
        return split_heads(linear_forward(linear, memory)[0], p.config.n_heads)

    return [(heads(layer.memory_key), heads(layer.memory_value)) for layer in p.layers]


def next_logits(
    p: FoldedDecoder,
    ids: Array,
    past: Array,
    n: int,
    memory: list[KeyValues] | None = None,
    memory_mask: Array | None = None,
    group: Group = ALONE,
) -> Array:
    """Logits (B, V) of the token that follows ids (B, T), which stand at positions n … n + T − 1.

    Reads past[..., :n, :] and writes past[..., n : n + T, :]. memory (from ``memory_past``) may
    have fewer sequences than ids: each then serves B / B_memory of them in a row, as in a beam.
    memory_mask (B_memory, S) is False at padding. Raises ``ValueError`` for ids outside the
    vocabulary or more tokens than the past has room for.
    """
    length = ids.shape[1]
    require_room(n, length, past.shape[-2])
    x, bias = _embed(p, ids, n), _bias(p, length, n)
    for i, layer in enumerate(p.layers):
        kept = memory[i] if memory else None
        x = _layer(layer, x, past[i], n, bias, kept, memory_mask, p.config, group)
    last = x[length - 1 :: length]
    if p.norm is not None:
        last = _unit(last) * p.norm.gamma
        if p.norm.beta is not None:
            last += p.norm.beta
    return group.join(_linear(p.output, last))


def require_room(n: int, length: int, context: int) -> None:
    """Raise ``ValueError`` if ``length`` tokens at position n do not fit into the context."""
    if n + length > context:
        raise ValueError(f"{length} tokens after {n} exceed the context {context}")


def _embed(p: FoldedDecoder, ids: Array, n: int) -> Array:
    """E[ids] and positions from n on, as rows (B·T, D); of mean 0 in pre-norm, see folding."""
    x, _ = embedding_forward(p.embedding.tokens, ids)
    positions, (_, length, d_model) = p.config.positions, x.shape
    if positions == "learned":
        x += p.embedding.positions.weight[n : n + length]
    elif positions == "sinusoidal":
        x *= math.sqrt(d_model)
        x += sinusoidal_encoding(p.config.context, d_model, x.dtype)[n : n + length]
    x = x.reshape(-1, d_model)
    if p.config.norm == "pre":
        x -= x.dot(p.average)[:, None]
    return x


def _bias(p: FoldedDecoder, length: int, n: int) -> Array | None:
    """What is added to the scores (…, T, n + T) of every layer: ALiBi, −∞ at what comes after."""
    config, end, bias = p.config, n + length, None
    dtype = p.embedding.tokens.weight.dtype
    if config.positions == "alibi":  # the last queries of a full context serve every n
        scale = config.alibi_scale
        bias = alibi_bias(config.n_heads, length, config.context, dtype, scale=scale)
        bias = bias[p.heads.start : p.heads.stop, :, config.context - end :]
    if length > 1:
        allowed = np.zeros((), dtype) if bias is None else bias
        bias = np.where(causal_mask(length, end), allowed, dtype.type(-np.inf))
    return bias


def _layer(
    p: FoldedLayer,
    x: Array,
    past: Array,
    n: int,
    bias: Array | None,
    memory: KeyValues | None,
    memory_mask: Array | None,
    config: StackConfig,
    group: Group,
) -> Array:
    """``transformer_layer_forward`` of rows x (B·T, D)."""
    x = _add(p, 0, x, group.total(_self_attend(p, _enter(p, x), past, n, bias)))
    if memory is not None:
        x = _add(p, 1, x, group.total(_cross_attend(p, _enter(p, x), *memory, memory_mask)))
    z = _linear(p.hidden, _enter(p, x))
    z = _gelu(z) if config.activation == "gelu" else np.maximum(z, 0, out=z)
    return _add(p, -1, x, group.total(_linear(p.feed_output, z)))


def _enter(p: FoldedLayer, x: Array) -> Array:
    """What a sublayer reads: in pre-norm, ``_unit`` is all of the norm that is not folded."""
    return x if p.norms else _unit(x)


def _add(p: FoldedLayer, which: int, x: Array, y: Array) -> Array:
    """``residual_forward`` of a sublayer that gave y."""
    y += x
    return layer_norm_forward(p.norms[which], y)[0] if p.norms else y


def _gelu(x: Array) -> Array:
    """z tanh u + z, u = z³ + cz: GELU of numbers whose factors are in the matrices around it."""
    u = x * x
    u += GELU_LINEAR
    u *= x
    np.tanh(u, out=u)
    u *= x
    u += x
    return u


def _unit(x: Array, *, eps: float = 1e-5) -> Array:
    """x / √(|x|² + Dε): the layer norm of rows x (N, D) of mean 0, over √D."""
    if len(x) == 1:  # arithmetic on a number takes half the time of that on an array of one
        return x * (1.0 / math.sqrt(np.vdot(x, x) + x.shape[-1] * eps))
    square = np.vecdot(x, x)
    square += x.shape[-1] * eps
    return x / np.sqrt(square)[:, None]


def _self_attend(p: FoldedLayer, h: Array, past: Array, n: int, bias: Array | None) -> Array:
    """``multi_head_forward``, causal, over the keys and values so far and the new ones."""
    _, batch, n_heads, _, d_head = past.shape
    length = len(h) // batch
    end = n + length
    qkv = _linear(p.qkv, h).reshape(batch, length, 3, n_heads, d_head).transpose(2, 0, 3, 1, 4)
    past[:, :, :, n:end] = qkv[1:]
    seen = past[:, :, :, :end]
    scores = qkv[0] @ seen[0].swapaxes(-2, -1)
    if bias is not None:
        scores += bias
    y = _softmax_times(scores, seen[1])
    return _linear(p.output, y.swapaxes(1, 2).reshape(len(h), -1))


def _cross_attend(
    p: FoldedLayer, h: Array, keys: Array, values: Array, mask: Array | None
) -> Array:
    """``multi_head_forward`` to a memory: all rows of h that share one are queries side by side."""
    batch, n_heads, _, d_head = keys.shape
    q = _linear(p.cross_query, h).reshape(batch, -1, n_heads, d_head).swapaxes(1, 2)
    scores = q @ keys.swapaxes(-2, -1)
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask[:, None, None, :])
    y = softmax_inplace(scores) @ values
    return _linear(p.cross_output, y.swapaxes(1, 2).reshape(h.shape))


def _softmax_times(scores: Array, values: Array) -> Array:
    """softmax(S) V, divided last because V has fewer columns; overwrites S."""
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    y = scores @ values
    y /= np.add.reduce(scores, axis=-1, keepdims=True)
    return y


def _linear(p: Linear, x: Array) -> Array:
    """y = x W + b for rows x (N, D). For one row ``dot`` takes half the time of ``@``."""
    y = x.dot(p.weight)
    if p.bias is not None:
        y += p.bias
    return y
