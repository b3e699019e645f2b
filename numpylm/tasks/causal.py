"""A run that learns to predict the next token: the textbook's language model."""

from __future__ import annotations

from typing import Any

from numpylm.baselines.ngram import ngram_losses
from numpylm.data.batches import Batch, BPTTColumns, RandomWindows, evaluation_windows
from numpylm.data.tokenized_corpus import TokenizedCorpus
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.tasks.task import Task, Vocabulary

ROWS = 16  # windows at a time: enough to keep BLAS busy, few enough to stay in the cache


class CausalLM(Task):
    """Windows or columns of a corpus (``data/batches.py``)."""

    functions = causal_lm_forward, causal_lm_backward

    def __init__(self, settings: Any, vocabulary: Vocabulary | None) -> None:
        self.corpus = TokenizedCorpus.load(settings, vocabulary.tokenizer if vocabulary else None)
        tokenizer = self.corpus.tokenizer
        super().__init__(settings, vocabulary or Vocabulary(tokenizer), self.corpus.summary)
        if settings.batching == "bptt":
            self.batches: BPTTColumns | RandomWindows = BPTTColumns(
                self.corpus.train, settings.batch_size, settings.context
            )
        else:
            self.batches = RandomWindows(
                self.corpus.train, settings.batch_size, settings.context, settings.seed
            )

    def batch(self, step: int) -> Batch:
        """ids and targets (B, T)."""
        ids, targets = self.batches.batch(step)
        return {"ids": ids, "targets": targets}

    def baselines(self) -> dict[str, float]:
        """The losses of the n-gram models on the validation text."""
        size = self.vocabulary.tokenizer.vocab_size
        return ngram_losses(self.corpus.train, self.corpus.valid, size)

    def held_out(self, split: str) -> list[Batch]:
        """All full windows of a text, side by side."""
        stream = getattr(self.corpus, split)
        if not len(stream):
            return []
        ids, targets = evaluation_windows(stream, self.settings.context)
        starts = range(0, len(ids), ROWS)
        return [{"ids": ids[i : i + ROWS], "targets": targets[i : i + ROWS]} for i in starts]
