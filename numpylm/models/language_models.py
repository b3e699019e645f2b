"""The language models by their configuration: whatever trains or writes text works with each.

``forward(p, ids, config=…, mask=…, past=…, rng=…) -> (logits, cache)`` and ``backward(p, dp,
dlogits, cache)``; the cache knows what its layers have ``seen``, the ``past`` of the tokens that
follow, and where they looked (``attention_weights``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpylm.models.gpt import GPTConfig, gpt_backward, gpt_forward
from numpylm.models.llama import LlamaConfig, llama_backward, llama_forward

LANGUAGE_MODELS: dict[type, tuple[Callable[..., Any], Callable[..., Any]]] = {
    GPTConfig: (gpt_forward, gpt_backward),
    LlamaConfig: (llama_forward, llama_backward),
}
