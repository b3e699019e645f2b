"""A Hugging Face folder: config.json and safetensors, read as our model and written from it.

GPT-2 is our ``models/gpt.py``; Llama, Mistral, Qwen 2 and Qwen 3 are ``models/llama.py``. Both
dialects of the configuration are read: published files have ``rope_theta`` and ``rope_scaling``,
those of transformers 5 ``rope_parameters``. What a configuration asks for and we do not compute is
refused, not left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.files import write_atomically
from numpylm.hub.names import FOLLOWS, GPT2, LLAMA, Table, fill, published
from numpylm.hub.safetensors_files import read_sharded, write_tensors
from numpylm.hub.settings import Settings, read_settings
from numpylm.layers.rotary import Llama3Scaling
from numpylm.models.counting import parameter_counts
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.llama import LlamaConfig, llama_init
from numpylm.parameters import Array


class Family(NamedTuple):
    """How a ``model_type`` is read and written."""

    config: Callable[[Settings], Any]
    init: Callable[[int, Any], tuple[Array, Any]]
    table: Table


def gpt2_config(s: Settings) -> GPTConfig:
    """The configuration of GPT-2 and its relatives."""
    s.require("activation_function", "gelu_new", "gelu_pytorch_tanh")
    s.require("layer_norm_epsilon", 1e-5)
    s.require("scale_attn_weights", True)
    s.require("scale_attn_by_inverse_layer_idx", False)
    s.require("add_cross_attention", False)
    s.require("tie_word_embeddings", True)
    d_model = s.get("n_embd", int)
    return GPTConfig(
        vocab_size=s.get("vocab_size", int), context=s.get("n_positions", int),
        n_layers=s.get("n_layer", int), n_heads=s.get("n_head", int), d_model=d_model,
        d_ff=s.get("n_inner", int, 4 * d_model), init="gpt2",
    )  # fmt: skip


def llama_config(s: Settings) -> LlamaConfig:
    """The configuration of Llama, Mistral, Qwen 2 and Qwen 3."""
    kind = s.get("model_type", str)
    s.require("hidden_act", "silu")
    s.require("attention_bias", False)
    s.require("mlp_bias", False)
    s.require("pretraining_tp", 1)
    n_heads, d_model = s.get("num_attention_heads", int), s.get("hidden_size", int)
    n_layers = s.get("num_hidden_layers", int)
    if n_heads < 1:
        raise ValueError(f"{s.path}: num_attention_heads is {n_heads}")
    base, scaling = _rope(s)
    return LlamaConfig(
        vocab_size=s.get("vocab_size", int), context=s.get("max_position_embeddings", int),
        n_layers=n_layers, n_heads=n_heads, n_kv_heads=s.get("num_key_value_heads", int, n_heads),
        d_model=d_model, d_head=s.get("head_dim", int, d_model // n_heads),
        d_ff=s.get("intermediate_size", int), tied=s.get("tie_word_embeddings", bool, False),
        eps=s.get("rms_norm_eps", float, 1e-6), base=base, scaling=scaling,
        bias=kind == "qwen2", qk_norm=kind == "qwen3", window=_window(s, kind, n_layers),
    )  # fmt: skip


def _rope(s: Settings) -> tuple[float, Llama3Scaling | None]:
    """Base and scaling, in the old dialect or the new one."""
    old_base = s.get("rope_theta", float, 10000.0)
    rope = s.part("rope_parameters", "rope_scaling")
    if rope is None:
        return old_base, None
    kind = rope.get("rope_type", str, rope.entries.get("type", "default"))
    base = rope.get("rope_theta", float, old_base)
    if kind == "default":
        return base, None
    if kind != "llama3":
        raise ValueError(f"{rope.path}: rope_type {kind!r:.40} is not computed here")
    return base, Llama3Scaling(
        rope.get("factor", float), rope.get("low_freq_factor", float),
        rope.get("high_freq_factor", float), rope.get("original_max_position_embeddings", int),
    )  # fmt: skip


def _window(s: Settings, kind: str, n_layers: int) -> int | None:
    """Mistral sees a window unless it is null; Qwen only if ``use_sliding_window``, in all layers
    above ``max_window_layers``."""
    window = s.entries.get("sliding_window")
    if window is None or (kind.startswith("qwen") and not s.entries.get("use_sliding_window")):
        return None
    if kind.startswith("qwen") and s.get("max_window_layers", int, n_layers) > 0:
        raise ValueError(f"{s.path}: a sliding window in some layers only is not computed here")
    return s.get("sliding_window", int)


FAMILIES = {
    "gpt2": Family(gpt2_config, gpt_init, GPT2),
    "llama": Family(llama_config, llama_init, LLAMA),
    "mistral": Family(llama_config, llama_init, LLAMA),
    "qwen2": Family(llama_config, llama_init, LLAMA),
    "qwen3": Family(llama_config, llama_init, LLAMA),
}


def family_of(settings: Settings) -> Family:
    """Raises ``ValueError`` for a ``model_type`` that is not one of ours."""
    kind = settings.get("model_type", str)
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"{settings.path}: model_type {kind!r:.40} is none of {known}")
    return FAMILIES[kind]


def load_folder(folder: Path) -> tuple[Any, Any]:
    """(p, config) of a Hugging Face folder, float32; twins are used if they are loaded.

    Raises ``ValueError`` with one line for what cannot be read, or is not computed here.
    """
    settings = read_settings(folder / "config.json")
    family = family_of(settings)
    config = family.config(settings)
    tensors = read_sharded(folder)
    tensors = {name.removeprefix("transformer."): array for name, array in tensors.items()}
    if config.tied:  # some files hold the token embedding twice
        head, tokens = tensors.pop("lm_head.weight", None), tensors.get(_tokens_name(family))
        if head is not None and tokens is not None and not np.array_equal(head, tokens):
            raise ValueError(f"{folder}: lm_head.weight is not the token embedding, but is tied")
    wanted = parameter_counts(config)["total"]
    found = sum(array.size for name, array in tensors.items() if not FOLLOWS.search(name))
    if found != wanted:  # before memory is taken for a model
        raise ValueError(f"{folder} holds {found:,} numbers; its config.json wants {wanted:,}")
    _, p = family.init(0, config)
    fill(p, tensors, family.table, folder)
    return p, config


def _tokens_name(family: Family) -> str:
    return next(place.name for ours, place in family.table.items() if "tokens.weight" in ours)


def save_folder(folder: Path, p: Any, config: Any, *, dtype: str = "float32") -> None:
    """Write a folder that transformers reads. Raises ``ValueError`` for a model that it has not."""
    entries = settings_of(config)
    tensors = published(p, FAMILIES[entries["model_type"]].table)
    if entries["model_type"] == "gpt2":
        tensors = {f"transformer.{name}": array for name, array in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", tensors, dtype)
    entries["torch_dtype"] = dtype
    write_atomically(folder / "config.json", json.dumps(entries, indent=2) + "\n")


def settings_of(config: Any) -> dict[str, Any]:
    """The config.json of a configuration of ours, in the dialect that all versions read.

    Raises ``ValueError`` if no published family has these choices.
    """
    if isinstance(config, GPTConfig):
        plain = GPTConfig(vocab_size=config.vocab_size, context=config.context)
        ours = replace(config, **{n: getattr(plain, n) for n in FREE})
        if ours != plain or not config.tied:
            wanted = "learned positions, pre-norm, GELU, biases and tied weights"
            raise ValueError(f"GPT-2 has {wanted}; this model has not: {config}")
        return {
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
            "vocab_size": config.vocab_size, "n_positions": config.context,
            "n_embd": config.d_model, "n_layer": config.n_layers, "n_head": config.n_heads,
            "n_inner": config.d_ff, "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
        }  # fmt: skip
    if not isinstance(config, LlamaConfig) or config.pairing != "halves":
        raise ValueError(f"no published family has the choices of {config}")
    kinds = {(False, False): "llama", (True, False): "qwen2", (False, True): "qwen3"}
    kind = kinds.get((config.bias, config.qk_norm))
    if kind == "llama" and config.window is not None:
        kind = "mistral"
    if kind is None or (config.window is not None and kind != "mistral"):
        raise ValueError(f"no published family has the choices of {config}")
    names = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    entries: dict[str, Any] = {
        "model_type": kind, "architectures": [f"{names[kind]}ForCausalLM"], "hidden_act": "silu",
        "vocab_size": config.vocab_size, "max_position_embeddings": config.context,
        "num_hidden_layers": config.n_layers, "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads, "hidden_size": config.d_model,
        "head_dim": config.d_head, "intermediate_size": config.d_ff,
        "tie_word_embeddings": config.tied, "rms_norm_eps": config.eps,
        "rope_theta": config.base,
    }  # fmt: skip
    if kind == "mistral":
        entries["sliding_window"] = config.window
    if (scaling := config.scaling) is not None:
        entries["rope_scaling"] = {
            "rope_type": "llama3", "factor": scaling.factor,
            "low_freq_factor": scaling.low_frequency, "high_freq_factor": scaling.high_frequency,
            "original_max_position_embeddings": scaling.context,
        }  # fmt: skip
    return entries


# What a GPT may choose and still be a GPT-2.
FREE = (
    "n_layers",
    "n_heads",
    "d_model",
    "d_ff",
    "dropout",
    "init",
    "implementation",
    "alibi_scale",
)
