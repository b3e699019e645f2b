"""A run that learns to restore what was masked or deleted, with an encoder-decoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from numpylm.data.batches import Batch, RandomWindows, evaluation_windows
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.tokenized_corpus import TokenizedCorpus
from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.denoising import (
    corrupt_spans,
    delete_tokens,
    denoising_backward,
    denoising_forward,
)
from numpylm.parameters import Array
from numpylm.tasks.task import Task, Vocabulary

STREAM, HELD_OUT = 106, 107


class Denoising(Task):
    """Windows of a corpus, corrupted anew in every batch; one vocabulary for both sides."""

    functions = denoising_forward, denoising_backward
    counted = "target_out"

    def __init__(self, settings: Any, vocabulary: Vocabulary | None) -> None:
        if vocabulary is not None and vocabulary.target is not None:
            raise ValueError(f"{settings.objective} has one vocabulary for both sides: it cannot "
                             "start from a run with separate vocabularies")  # fmt: skip
        self.corpus = TokenizedCorpus.load(settings, vocabulary.tokenizer if vocabulary else None)
        super().__init__(
            settings, vocabulary or Vocabulary(self.corpus.tokenizer), self.corpus.summary
        )
        self.special = SpecialTokens(self.vocabulary.tokenizer.vocab_size)
        self.length = settings.context - 1  # the decoder's start token takes one place
        self.windows = RandomWindows(
            self.corpus.train, settings.batch_size, self.length, settings.seed
        )

    def training_settings(self) -> dict[str, Any]:
        """Label smoothing changes the loss, so it is left out of what is reported."""
        return {"label_smoothing": self.settings.label_smoothing}

    def batch(self, step: int) -> Batch:
        """source (B, S), source_mask, target_in (B, T), target_out (B, T)."""
        rng = np.random.default_rng([STREAM, self.settings.seed, step])
        return self._corrupted(self.windows.batch(step)[0], rng)

    def held_out(self, split: str) -> list[Batch]:
        """All windows of a text, always corrupted in the same way."""
        stream = getattr(self.corpus, split)
        if not len(stream):
            return []
        rng = np.random.default_rng([HELD_OUT, self.settings.seed])
        rows, _ = evaluation_windows(stream, self.length)
        return [self._corrupted(rows[i : i + 32], rng) for i in range(0, len(rows), 32)]

    def _corrupted(self, rows: Array, rng: np.random.Generator) -> Batch:
        rate, special = self.settings.mask_rate, self.special
        pairs = []
        for row in rows:
            if self.settings.objective == "spans":
                source, target = corrupt_spans(row, rng, sentinels=special.sentinels, rate=rate)
            else:
                source, target = delete_tokens(row, rng, rate=rate)
            pairs.append((np.append(source, special.end), np.append(target, special.end)))
        longest = max(len(side) for pair in pairs for side in pair)
        if longest > self.settings.context:
            raise ValueError(f"mask_rate {rate} is too high: a target of {longest} tokens does not "
                             f"fit the context of {self.settings.context}")  # fmt: skip
        source = pad_rows([s for s, _ in pairs], special.pad)
        starts = [np.concatenate([[special.start], t[:-1]]) for _, t in pairs]
        return {
            "source": source,
            "source_mask": source != special.pad,
            "target_in": pad_rows(starts, special.pad),
            "target_out": pad_rows([t for _, t in pairs], IGNORE),
        }
