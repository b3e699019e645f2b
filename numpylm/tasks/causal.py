"""A run that learns to predict the next token: the textbook's language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpylm.baselines.ngram import ngram_losses
from numpylm.data.batches import Batch, BPTTColumns, RandomWindows, evaluation_windows
from numpylm.data.tokenized_corpus import TokenizedCorpus
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.tasks.architectures import DECODER
from numpylm.tasks.task import Shape, Task
from numpylm.tasks.trained import Vocabulary

ROWS = 16  # windows at a time: enough to keep BLAS busy, few enough to stay in the cache


class CausalLM(Task):
    """Windows or columns of a corpus (``data/batches.py``)."""

    name = "causal"
    architecture = DECODER
    functions = causal_lm_forward, causal_lm_backward
    reads = ("batching", "tied")
    language_model = True

    def __init__(self, settings: Any, vocabulary: Vocabulary, corpus: TokenizedCorpus) -> None:
        super().__init__(settings, vocabulary, corpus.summary)
        self.corpus = corpus
        size, context = settings.batch_size, settings.context
        self.batches: BPTTColumns | RandomWindows
        if settings.batching == "bptt":
            self.batches = BPTTColumns(corpus.train, size, context)
        else:
            self.batches = RandomWindows(corpus.train, size, context, settings.seed)

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> CausalLM:
        corpus = TokenizedCorpus.load(settings, vocabulary.tokenizer if vocabulary else None)
        return cls(settings, vocabulary or Vocabulary(corpus.tokenizer), corpus)

    @classmethod
    def sizes(cls, vocabulary: Vocabulary) -> dict[str, Any]:
        """A language model has no special tokens."""
        return {"vocab_size": vocabulary.tokenizer.vocab_size}

    def batch(self, step: int) -> Batch:
        """ids and targets (B, T)."""
        ids, targets = self.batches.batch(step)
        return {"ids": ids, "targets": targets}

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """Every token is predicted."""
        return replace(super().shape(batch), predicted=batch["ids"].size)

    def baselines(self) -> dict[str, float]:
        """The losses of the n-gram models on the validation text."""
        size = self.vocabulary.tokenizer.vocab_size
        return ngram_losses(self.corpus.train, self.corpus.valid, size)

    def has(self, split: str) -> bool:
        """Whether the text holds a window."""
        return len(self.corpus.parts[split]) > self.settings.context

    def held_out(self, split: str) -> list[Batch]:
        """All full windows of a text, side by side."""
        stream = self.corpus.parts[split]
        if not len(stream):
            return []
        ids, targets = evaluation_windows(stream, self.settings.context)
        starts = range(0, len(ids), ROWS)
        return [{"ids": ids[i : i + ROWS], "targets": targets[i : i + ROWS]} for i in starts]
