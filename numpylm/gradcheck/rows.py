"""How a row of the catalogue is made: a pair, or a part of a model, with its example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from numpylm.gradcheck.audit import Example, Pair
from numpylm.gradcheck.example_inputs import CONTEXT, HEADS, D, F, T, V, jittered, padding
from numpylm.gradcheck.sections import section_of
from numpylm.models import bert, gpt, heads, llama, seq2seq
from numpylm.parameters import Array

CONFIGS = {
    gpt.gpt_init: gpt.GPTConfig,
    bert.bert_init: bert.BERTConfig,
    heads.classifier_init: heads.ClassifierConfig,
    seq2seq.seq2seq_init: seq2seq.Seq2SeqConfig,
}


def whole(model: Any) -> Any:
    """All of the model."""
    return model


def row(name: str, module: Any, tree: Any, *inputs: Any, **settings: Any) -> Pair:
    """The pair that a module has under the first word of the name, with its section.

    tree: ``rng -> parameters``, which are then jittered, or None for a pair without parameters.
    inputs: shapes to fill with normal numbers, or ``rng -> array``.
    """

    def example(rng: np.random.Generator) -> Example:
        p = None
        if tree is not None:
            _, p = jittered(tree(rng), rng)
        filled = [x(rng) if callable(x) else rng.standard_normal(x) for x in inputs]
        return p, tuple(filled), settings

    function = name.split()[0]
    forward, backward = (getattr(module, f"{function}_{way}") for way in ("forward", "backward"))
    return Pair(name, f"§{section_of(module.__name__)}", forward, backward, example)


def model_row(
    name: str, module: Any, init: Callable, part: Callable, *inputs: Any, **choices: Any
) -> Pair:
    """A row for a whole model, or for the part of it that ``part(model)`` picks.

    ``init`` is the model's init function; choices that are not settings of its config, and masks,
    go to the forward.
    """
    sizes = {"vocab_size": V, "context": CONTEXT, "n_heads": HEADS, "d_model": D, "d_ff": F}
    config_class = CONFIGS[init]
    known = {f.name for f in fields(config_class)}
    chosen = {name: value for name, value in choices.items() if name in known}
    settings = {name: value for name, value in choices.items() if name not in known}
    config = config_class(**{"n_layers": 2, "dropout": 0.2, **sizes, **chosen})
    settings |= {"config": config, "rng": np.random.default_rng(2)}
    return row(name, module, lambda rng: part(init(1, config)[1]), *inputs, **settings)


def gpt_row(name: str, module: Any, part: Callable, *inputs: Any, **choices: Any) -> Pair:
    """A row of a language model, with padding."""
    return model_row(name, module, gpt.gpt_init, part, *inputs, mask=padding(T), **choices)


def llama_row(name: str, module: Any, part: Callable, *inputs: Any, **choices: Any) -> Pair:
    """A row of a Llama, with padding."""
    config = llama.LlamaConfig(
        vocab_size=V, context=CONTEXT, n_layers=2, n_heads=4, n_kv_heads=2, d_model=D, d_head=6,
        d_ff=F, **choices,
    )  # fmt: skip
    init = llama.llama_init
    return row(name, module, lambda rng: part(init(1, config)[1]), *inputs, config=config,
               mask=padding(T))  # fmt: skip


def textbook_row(*inputs: Any) -> Pair:
    """The row of the class ``TransformerEncoder``, whose parameters are its own."""
    model = gpt.TransformerEncoder(V, D, HEADS, F, 0.2, context=CONTEXT)

    def example(rng: np.random.Generator) -> Example:
        _, p = jittered(gpt.gpt_init(1, model.config)[1], rng)
        return p, tuple(x(rng) for x in inputs), {"rng": np.random.default_rng(2)}

    def forward(p: Any, ids: Array, rng: np.random.Generator) -> Any:
        model.p = p
        return model.forward(ids, rng)

    def backward(p: Any, dp: Any, dlogits: Array, cache: Any) -> None:
        model.p = p
        model.backward(dp, dlogits, cache)

    section = section_of(gpt.__name__)
    return Pair("TransformerEncoder", f"§{section}", forward, backward, example)


def bert_row(name: str, module: Any, *inputs: Any, **choices: Any) -> Pair:
    """A row of a BERT, with padding."""
    part = choices.pop("part", whole)
    return model_row(name, module, bert.bert_init, part, *inputs, mask=padding(T), **choices)


def head_row(name: str, module: Any, *inputs: Any, pooled: bool, **choices: Any) -> Pair:
    """A row of a classifier of two labels."""
    return model_row(name, module, heads.classifier_init, whole, *inputs, mask=padding(T),
                      n_labels=2, pooled=pooled, **choices)  # fmt: skip


def seq2seq_row(name: str, module: Any, *inputs: Any, **choices: Any) -> Pair:
    """A row of an encoder-decoder."""
    part = choices.pop("part", whole)
    return model_row(name, module, seq2seq.seq2seq_init, part, *inputs, **choices)
