"""llama2.c's .bin: seven whole numbers and all arrays behind each other, in float32.

    D, d_ff, L, H, H_kv, V, context        int32, little-endian; V < 0: the output is not tied
    tokens (V, D), attention norms (L, D), W_Q, W_K, W_V, W_O of all layers, feed-forward norms,
    W_gate, W_down, W_up, the last norm, cos and sin of the positions, the output (V, D) if not tied

Matrices are (D_out, D_in); rotary turns columns 2i and 2i + 1. Source: karpathy/llama2.c, run.c.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from numpylm.models.llama import LlamaConfig, llama_init
from numpylm.parameters import Array

HEADER = 7


def read_llama2c(path: Path) -> tuple[Any, LlamaConfig]:
    """(p, config) of a file. Raises ``ValueError`` if its size is not that of its header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = np.frombuffer(file.read(4 * HEADER), "<i4")
    if len(header) < HEADER or (header[[0, 1, 2, 3, 4, 5, 6]] == 0).any() or header[3] < 1:
        raise ValueError(f"{path} is no model of llama2.c: {size} bytes, header {header.tolist()}")
    d_model, d_ff, n_layers, n_heads, n_kv_heads, vocab_size, context = map(int, header)
    try:
        config = LlamaConfig(
            vocab_size=abs(vocab_size), context=context, n_layers=n_layers, n_heads=n_heads,
            n_kv_heads=n_kv_heads, d_model=d_model, d_head=d_model // n_heads, d_ff=d_ff,
            tied=vocab_size > 0, pairing="interleaved",
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path} is no model of llama2.c: {error}") from None
    shapes = _shapes(config)
    wanted = 4 * (HEADER + sum(rows * columns for rows, columns in shapes))
    if size != wanted:
        raise ValueError(f"{path} has {size} bytes; a model of llama2.c with {config} has {wanted}")
    numbers = np.frombuffer(path.read_bytes(), "<f4", offset=4 * HEADER)
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    parts = iter(
        part.reshape(shape) for part, shape in zip(np.split(numbers, ends), shapes, strict=True)
    )
    _, p = llama_init(0, config)
    p.tokens.weight[...] = next(parts)
    for arrays in _stacks(p):
        _fill(arrays, next(parts))
    p.norm.gamma[...] = next(parts)[0]
    next(parts), next(parts)  # cos and sin: we have our own
    if p.output is not None:
        p.output.weight[...] = next(parts).T
    if not all(np.isfinite(a).all() for a in (p.tokens.weight, numbers)):
        raise ValueError(f"{path} holds numbers that are not finite")
    return p, config


def _shapes(c: LlamaConfig) -> list[tuple[int, int]]:
    """Rows and columns of each array of the file, the layers' below each other."""
    queries, keys, n, half = (
        c.n_heads * c.d_head,
        c.n_kv_heads * c.d_head,
        c.n_layers,
        c.d_head // 2,
    )
    shapes = [
        (c.vocab_size, c.d_model), (n, c.d_model),
        (n * queries, c.d_model), (n * keys, c.d_model), (n * keys, c.d_model),
        (n * c.d_model, queries), (n, c.d_model),
        (n * c.d_ff, c.d_model), (n * c.d_model, c.d_ff), (n * c.d_ff, c.d_model),
        (1, c.d_model), (c.context, half), (c.context, half),
    ]  # fmt: skip
    return shapes if c.tied else [*shapes, (c.vocab_size, c.d_model)]


def _stacks(p: Any) -> list[list[Array]]:
    """Our arrays of all layers, in the order of the file."""
    layers = p.layers
    return [
        [layer.attention_norm.gamma for layer in layers],
        [layer.attention.query.weight for layer in layers],
        [layer.attention.key.weight for layer in layers],
        [layer.attention.value.weight for layer in layers],
        [layer.attention.output.weight for layer in layers],
        [layer.feed_forward_norm.gamma for layer in layers],
        [layer.feed_forward.gate.weight for layer in layers],
        [layer.feed_forward.down.weight for layer in layers],
        [layer.feed_forward.up.weight for layer in layers],
    ]


def _fill(arrays: list[Array], rows: Array) -> None:
    for array, part in zip(arrays, np.split(rows, len(arrays)), strict=True):
        array[...] = part[0] if array.ndim == 1 else part.T
