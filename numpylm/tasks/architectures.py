"""The three architectures, and the encoder with a head: a model for the settings of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from numpylm.fast import IMPLEMENTATION  # and with it the twins, in the tables
from numpylm.models.bert import BERTConfig, bert_init
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.models.heads import ClassifierConfig, classifier_init
from numpylm.models.seq2seq import Seq2SeqConfig, seq2seq_init


@dataclass(frozen=True)
class Architecture:
    """A kind of model: its configuration, and ``init(seed, config) -> (theta, p)``."""

    kind: str
    config: type
    init: Callable[..., Any]

    def model(self, settings: Any, **sizes: Any) -> Any:
        """The configuration with the fields of ``settings`` that it has, and ``sizes``.

        Raises ``ValueError`` for a shape that cannot work.
        """
        sizes["implementation"] = "plain" if settings.plain else IMPLEMENTATION
        names = {f.name for f in fields(self.config)} - set(sizes)
        chosen = {n: getattr(settings, n) for n in names if hasattr(settings, n)}
        return self.config(**chosen, **sizes)


DECODER = Architecture("decoder-only", GPTConfig, gpt_init)
ENCODER = Architecture("encoder-only", BERTConfig, bert_init)
ENCODER_WITH_HEAD = Architecture("encoder-only", ClassifierConfig, classifier_init)
ENCODER_DECODER = Architecture("encoder-decoder", Seq2SeqConfig, seq2seq_init)
