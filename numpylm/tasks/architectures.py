"""Which model belongs to which objective.

decoder-only       causal
encoder-only       masked, next-sentence, bert; fine-tuned: classification, labelling, answering
encoder-decoder    spans, deletion; fine-tuned: translation, summarisation, copy, reverse, sort
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from numpylm.fast import IMPLEMENTATION  # and with it the twins, in the tables
from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_init

DECODER = ("causal",)
ENCODER = ("masked", "next-sentence", "bert")
HEADS = ("classification", "labelling", "answering")
DENOISING = ("spans", "deletion")
PAIR_TASKS = ("translation", "summarisation", "copy", "reverse", "sort")
OBJECTIVES = (*DECODER, *ENCODER, *DENOISING, *HEADS, *PAIR_TASKS)
KINDS = {
    "decoder-only": DECODER,
    "encoder-only": (*ENCODER, *HEADS),
    "encoder-decoder": (*DENOISING, *PAIR_TASKS),
}

# Tokens of the shortest context that holds something to learn beside the special tokens.
SHORTEST = {
    "masked": 3, "next-sentence": 5, "bert": 5, "spans": 4, "deletion": 3,
    "classification": 3, "labelling": 3, "answering": 5, **dict.fromkeys(PAIR_TASKS, 2),
}  # fmt: skip


def kind_of(objective: str) -> str:
    """ "decoder-only", "encoder-only" or "encoder-decoder"."""
    return next(kind for kind, objectives in KINDS.items() if objective in objectives)


def model_of(
    settings: Any, vocab_size: int, target_vocab_size: int | None = None, n_labels: int = 0
) -> tuple[Any, Callable[[int], Any]]:
    """(model config, ``init(seed) -> (theta, p)``) of the settings of a run.

    ``settings`` has an ``objective`` and the model's fields under their own names. Raises
    ``ValueError`` for a shape that cannot work.
    """
    implementation = "plain" if settings.plain else IMPLEMENTATION
    sizes: dict[str, Any] = {"vocab_size": vocab_size, "implementation": implementation}
    kind = kind_of(settings.objective)
    config_class: Any
    init: Any
    if kind == "decoder-only":
        config_class, init = GPTConfig, gpt_init
    elif kind == "encoder-decoder":
        config_class, init = Seq2SeqConfig, seq2seq_init
        sizes["target_vocab_size"] = target_vocab_size
    elif settings.objective in HEADS:
        config_class, init = ClassifierConfig, classifier_init
        sizes |= {"n_labels": n_labels, "pooled": settings.objective == "classification"}
    else:
        config_class, init = BERTConfig, bert_init
    names = {f.name for f in fields(config_class)}
    chosen = {n: getattr(settings, n) for n in names - set(sizes) if hasattr(settings, n)}
    config = config_class(**chosen, **sizes)
    return config, lambda seed: init(seed, config)
