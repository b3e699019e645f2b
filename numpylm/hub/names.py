"""Whose array is which: tables from our names to published ones, read both ways.

``#`` stands for the number of a layer. A published Linear holds W as (D_out, D_in), ours as
(D_in, D_out), so it is transposed; GPT-2's "Conv1D" is not, but holds queries, keys and values side
by side in one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from numpylm.parameters import Array, leaves


class Place(NamedTuple):
    """Where an array of ours stands: under which name, turned or not, and which third of it."""

    name: str
    transposed: bool = False
    third: int | None = None  # of the last axis


Table = dict[str, Place]


def _linear(ours: str, theirs: str) -> Table:
    return {
        f"{ours}.weight": Place(f"{theirs}.weight", True),
        f"{ours}.bias": Place(f"{theirs}.bias"),
    }


def _fused(ours: str, theirs: str, third: int) -> Table:
    return {f"{ours}.{part}": Place(f"{theirs}.{part}", third=third) for part in ("weight", "bias")}


def _conv(ours: str, theirs: str) -> Table:
    return {f"{ours}.{part}": Place(f"{theirs}.{part}") for part in ("weight", "bias")}


def _layer_norm(ours: str, theirs: str) -> Table:
    return {f"{ours}.gamma": Place(f"{theirs}.weight"), f"{ours}.beta": Place(f"{theirs}.bias")}


_LLAMA, _THEIR_LLAMA = "layers.#", "model.layers.#"
LLAMA: Table = {
    "tokens.weight": Place("model.embed_tokens.weight"),
    f"{_LLAMA}.attention_norm.gamma": Place(f"{_THEIR_LLAMA}.input_layernorm.weight"),
    **_linear(f"{_LLAMA}.attention.query", f"{_THEIR_LLAMA}.self_attn.q_proj"),
    **_linear(f"{_LLAMA}.attention.key", f"{_THEIR_LLAMA}.self_attn.k_proj"),
    **_linear(f"{_LLAMA}.attention.value", f"{_THEIR_LLAMA}.self_attn.v_proj"),
    **_linear(f"{_LLAMA}.attention.output", f"{_THEIR_LLAMA}.self_attn.o_proj"),
    f"{_LLAMA}.attention.query_norm.gamma": Place(f"{_THEIR_LLAMA}.self_attn.q_norm.weight"),
    f"{_LLAMA}.attention.key_norm.gamma": Place(f"{_THEIR_LLAMA}.self_attn.k_norm.weight"),
    f"{_LLAMA}.feed_forward_norm.gamma": Place(f"{_THEIR_LLAMA}.post_attention_layernorm.weight"),
    **_linear(f"{_LLAMA}.feed_forward.gate", f"{_THEIR_LLAMA}.mlp.gate_proj"),
    **_linear(f"{_LLAMA}.feed_forward.up", f"{_THEIR_LLAMA}.mlp.up_proj"),
    **_linear(f"{_LLAMA}.feed_forward.down", f"{_THEIR_LLAMA}.mlp.down_proj"),
    "norm.gamma": Place("model.norm.weight"),
    "output.weight": Place("lm_head.weight", True),
}

_BLOCK = "blk.#"
GGUF_LLAMA: Table = {
    "tokens.weight": Place("token_embd.weight"),
    f"{_LLAMA}.attention_norm.gamma": Place(f"{_BLOCK}.attn_norm.weight"),
    **_linear(f"{_LLAMA}.attention.query", f"{_BLOCK}.attn_q"),
    **_linear(f"{_LLAMA}.attention.key", f"{_BLOCK}.attn_k"),
    **_linear(f"{_LLAMA}.attention.value", f"{_BLOCK}.attn_v"),
    **_linear(f"{_LLAMA}.attention.output", f"{_BLOCK}.attn_output"),
    f"{_LLAMA}.feed_forward_norm.gamma": Place(f"{_BLOCK}.ffn_norm.weight"),
    **_linear(f"{_LLAMA}.feed_forward.gate", f"{_BLOCK}.ffn_gate"),
    **_linear(f"{_LLAMA}.feed_forward.up", f"{_BLOCK}.ffn_up"),
    **_linear(f"{_LLAMA}.feed_forward.down", f"{_BLOCK}.ffn_down"),
    "norm.gamma": Place("output_norm.weight"),
    "output.weight": Place("output.weight", True),
}

_GPT, _THEIR_GPT = "decoder.layers.#", "h.#"
GPT2: Table = {
    "embedding.tokens.weight": Place("wte.weight"),
    "embedding.positions.weight": Place("wpe.weight"),
    **_layer_norm(f"{_GPT}.self_attention_norm", f"{_THEIR_GPT}.ln_1"),
    **_fused(f"{_GPT}.self_attention.query", f"{_THEIR_GPT}.attn.c_attn", 0),
    **_fused(f"{_GPT}.self_attention.key", f"{_THEIR_GPT}.attn.c_attn", 1),
    **_fused(f"{_GPT}.self_attention.value", f"{_THEIR_GPT}.attn.c_attn", 2),
    **_conv(f"{_GPT}.self_attention.output", f"{_THEIR_GPT}.attn.c_proj"),
    **_layer_norm(f"{_GPT}.feed_forward_norm", f"{_THEIR_GPT}.ln_2"),
    **_conv(f"{_GPT}.feed_forward.hidden", f"{_THEIR_GPT}.mlp.c_fc"),
    **_conv(f"{_GPT}.feed_forward.output", f"{_THEIR_GPT}.mlp.c_proj"),
    **_layer_norm("decoder.norm", "ln_f"),
}

# Published arrays that are no parameters of ours: tables and masks that follow from the sizes.
FOLLOWS = re.compile(r"(^|\.)(attn\.(masked_)?bias|rotary_emb\.inv_freq)$")


def place_of(table: Table, name: str) -> Place:
    """Where the array ``name`` of ours stands. Raises ``KeyError`` if the table lacks it."""
    number = re.search(r"\.(\d+)\.", name)
    place = table[re.sub(r"\.\d+\.", ".#.", name)]
    return place._replace(name=place.name.replace("#", number[1])) if number else place


def fill(p: Any, tensors: Mapping[str, Array], table: Table, where: object) -> None:
    """Copy published arrays into the parameters p.

    Raises ``ValueError`` that names ``where`` they come from, if one is missing, has another shape,
    is not finite, or would be left over.
    """
    used = set()
    for name, array in leaves(p):
        place = place_of(table, name)
        found = tensors.get(place.name)
        if found is None:
            raise ValueError(f"{where} has no {place.name}, our {name}")
        used.add(place.name)
        if place.third is not None and found.shape[-1:] == (3 * array.shape[-1],):
            found = np.split(found, 3, axis=-1)[place.third]
        found = found.T if place.transposed else found
        if found.shape != array.shape:
            raise ValueError(
                f"{where}: {place.name} is {tensors[place.name].shape}, our {name} {array.shape}"
            )
        array[...] = found
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {place.name} holds numbers that are not finite")
    left = sorted(n for n in set(tensors) - used if not FOLLOWS.search(n))
    if left:
        raise ValueError(f"{where} holds {len(left)} arrays that this model has not: {left[0]}")


def published(p: Any, table: Table) -> dict[str, Array]:
    """Our parameters under their published names; the reverse of ``fill``."""
    tensors: dict[str, Array] = {}
    thirds: dict[str, list[Array]] = {}
    for name, array in leaves(p):
        place = place_of(table, name)
        if place.third is not None:
            thirds.setdefault(place.name, []).append(array)
        else:
            tensors[place.name] = array.T if place.transposed else array
    return tensors | {name: np.concatenate(parts, axis=-1) for name, parts in thirds.items()}
