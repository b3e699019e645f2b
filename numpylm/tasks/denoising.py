"""A run that learns to restore what was masked or deleted, with an encoder-decoder."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from numpylm.data.batches import Batch, RandomWindows, evaluation_windows
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.tokenized_corpus import TokenizedCorpus
from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.denoising import corrupt_spans, delete_tokens
from numpylm.parameters import Array
from numpylm.tasks.text_to_text import EncoderDecoderTask
from numpylm.tasks.trained import Trained, Vocabulary, decode_ordinary, encode_known

STREAM, HELD_OUT = 106, 107


class Denoising(EncoderDecoderTask):
    """Windows of a corpus, corrupted anew in every batch; one vocabulary for both sides."""

    reads = ("mask_rate", *EncoderDecoderTask.reads)

    def __init__(self, settings: Any, vocabulary: Vocabulary, corpus: TokenizedCorpus) -> None:
        super().__init__(settings, vocabulary, corpus.summary)
        self.corpus = corpus
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.length = settings.context - 1  # the decoder's start token takes one place
        self.windows = RandomWindows(corpus.train, settings.batch_size, self.length, settings.seed)

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> Denoising:
        if vocabulary is not None and vocabulary.target is not None:
            raise ValueError(f"{settings.objective} has one vocabulary for both sides: it cannot "
                             "start from a run with separate vocabularies")  # fmt: skip
        corpus = TokenizedCorpus.load(settings, vocabulary.tokenizer if vocabulary else None)
        return cls(settings, vocabulary or Vocabulary(corpus.tokenizer), corpus)

    def corrupt(self, row: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """(source, target) of a window (n,), without their ends."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """source (B, S), source_mask, target_in (B, T), target_out (B, T)."""
        rng = np.random.default_rng([STREAM, self.settings.seed, step])
        return self._corrupted(self.windows.batch(step)[0], rng)

    def has(self, split: str) -> bool:
        """Whether the text holds a window."""
        return len(self.corpus.parts[split]) > self.length

    def held_out(self, split: str) -> list[Batch]:
        """All windows of a text, always corrupted in the same way."""
        stream = self.corpus.parts[split]
        if not len(stream):
            return []
        rng = np.random.default_rng([HELD_OUT, self.settings.seed])
        rows, _ = evaluation_windows(stream, self.length)
        return [self._corrupted(rows[i : i + 32], rng) for i in range(0, len(rows), 32)]

    def _corrupted(self, rows: Array, rng: np.random.Generator) -> Batch:
        special = self.special
        corrupted = [self.corrupt(row, rng) for row in rows]
        pairs = [(np.append(s, special.end), np.append(t, special.end)) for s, t in corrupted]
        longest = max(len(side) for pair in pairs for side in pair)
        if longest > self.settings.context:
            raise ValueError(
                f"mask_rate {self.settings.mask_rate} is too high: a target of {longest} tokens "
                f"does not fit the context of {self.settings.context}"
            )
        source = pad_rows([s for s, _ in pairs], special.pad)
        starts = [np.concatenate([[special.start], t[:-1]]) for _, t in pairs]
        return {
            "source": source,
            "source_mask": source != special.pad,
            "target_in": pad_rows(starts, special.pad),
            "target_out": pad_rows([t for _, t in pairs], IGNORE),
        }

    @classmethod
    def split(cls, text: str) -> str:
        """The text as it is."""
        return text


class Spans(Denoising):
    """Spans are replaced by sentinels; the target says what stood there."""

    name = "spans"
    shortest = 4

    def corrupt(self, row: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        return corrupt_spans(
            row, rng, sentinels=self.special.sentinels, rate=self.settings.mask_rate
        )

    @classmethod
    def source_ids(cls, trained: Trained, text: str) -> Array:
        """Ids of a source with its end; ``<0>``, ``<1>``, … are the sentinels."""
        tokenizer, special = trained.vocabulary.tokenizer, trained.special
        known = {f"<{i}>": sentinel for i, sentinel in enumerate(special.sentinels.tolist())}
        parts = re.split(rf"({'|'.join(known)})", text)
        ids = [np.array([known[x]]) if x in known else encode_known(tokenizer, x) for x in parts]
        return np.concatenate([*ids, [special.end]]).astype(np.int64)

    @classmethod
    def written(cls, trained: Trained, ids: tuple[int, ...]) -> str:
        """The text of target ids, the sentinels by their names."""
        tokenizer = trained.vocabulary.tokenizer
        first, text, ordinary = int(trained.special.sentinels[0]), "", []
        blank = " " if tokenizer.kind == "word" else ""
        for i in (*ids, first - 1):  # the last one ends the text
            if i < tokenizer.vocab_size:
                ordinary.append(i)
                continue
            text += decode_ordinary(tokenizer, ordinary)
            text += f"{blank}<{i - first}>{blank}" if i >= first else ""
            ordinary = []
        return text.strip()


class Deletion(Denoising):
    """Tokens are deleted; the target is the whole window."""

    name = "deletion"
    shortest = 3

    def corrupt(self, row: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        return delete_tokens(row, rng, rate=self.settings.mask_rate)
