"""A tiny model of each published family, the same for every run: what the oracles were asked of."""

from typing import Any

import numpy as np

from numpylm.gradcheck.example_inputs import jittered
from numpylm.hub.hugging_face import FAMILIES, settings_of
from numpylm.layers.rotary import Llama3Scaling
from numpylm.models.gpt import GPTConfig
from numpylm.models.llama import LlamaConfig

V, CONTEXT = 97, 40
LLAMA: dict[str, Any] = {"vocab_size": V, "context": CONTEXT, "n_layers": 2, "n_heads": 4,
         "n_kv_heads": 2, "d_model": 24, "d_head": 6, "d_ff": 40}  # fmt: skip
MODELS = {
    "gpt2": GPTConfig(vocab_size=V, context=CONTEXT, n_layers=2, n_heads=4, d_model=24, d_ff=40),
    "llama": LlamaConfig(**LLAMA),
    "llama-3": LlamaConfig(**LLAMA, tied=False, base=500000.0, scaling=Llama3Scaling(context=16)),
    "mistral": LlamaConfig(**LLAMA | {"d_head": 8}, tied=False, window=7),
    "qwen2": LlamaConfig(**LLAMA, bias=True, eps=1e-6),
    "qwen3": LlamaConfig(**LLAMA | {"d_head": 10}, qk_norm=True, base=1e6, eps=1e-6),
}
IDS = np.random.default_rng(0).integers(0, V, (2, 30))


def model(name: str) -> tuple[Any, Any]:
    """(p, config), float32."""
    config = MODELS[name]
    init = FAMILIES[settings_of(config)["model_type"]].init
    return jittered(init(1, config)[1], 2, size=0.1, dtype=np.float32)[1], config


def direction(name: str, shape: tuple[int, ...]) -> Any:
    """What the gradient of the array is projected on: drawn for its published name."""
    return np.random.default_rng(list(name.encode())).standard_normal(shape)
