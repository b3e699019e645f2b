"""An encoder-decoder learns to write one text for another (translation and its kin).

    source    x_1 … x_n </s>
    target    <s> y_1 … y_m  ->  y_1 … y_m </s>

Pairs of similar length share a batch. A pair that is longer than the context is left out, and
``config.json`` says how many were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from numpylm.data.batches import Batch, LengthBuckets
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import Tokenizer, train_tokenizer
from numpylm.generation.beam_search import beam_search, greedy_search
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.seq2seq import Seq2Seq, Seq2SeqConfig
from numpylm.objectives.denoising import denoising_backward, denoising_forward
from numpylm.parameters import Array
from numpylm.tasks.dataset import Pair
from numpylm.tasks.registry import TASKS
from numpylm.tasks.task import Evaluation, Task, Vocabulary


class PairTask(Task):
    """Pairs of texts."""

    functions = denoising_forward, denoising_backward
    counted = "target_out"

    def __init__(self, settings: Any, vocabulary: Vocabulary | None) -> None:
        self.data = TASKS[settings.objective]
        options = {}
        if settings.objective == "translation" and settings.source_language:
            options = {
                "source_language": settings.source_language,
                "target_language": settings.target_language,
            }
        self.dataset = self.data.load(settings.corpus, **options)
        vocabulary = vocabulary or pair_vocabulary(settings, self.dataset.train)
        summary = {"name": self.dataset.name, "sha256": self.dataset.sha256, **self.dataset.counts}
        super().__init__(settings, vocabulary, summary)
        self.source = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.target_tokenizer = vocabulary.target or vocabulary.tokenizer
        self.target = SpecialTokens(self.target_tokenizer.vocab_size)
        self.encoded = {s: self._encoded(s) for s in ("train", "valid", "test")}
        kept = {split: len(pairs) for split, pairs in self.encoded.items()}
        for split, number in kept.items():
            if number < len(getattr(self.dataset, split)):
                left_out = len(getattr(self.dataset, split)) - number
                summary[f"{split}_longer_than_context"] = left_out
        if not self.encoded["train"] or not self.encoded["valid"]:
            raise ValueError(
                f"no pair of {self.dataset.name} is short enough for a context of "
                f"{settings.context} tokens: raise --context"
            )

        lengths = np.array([len(s) + len(t) for s, t in self.encoded["train"]], np.int64)
        self.buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)

    def _encoded(self, split: str) -> list[tuple[Array, Array]]:
        """(source with its end, target with start and end) of the pairs that fit the context."""
        encoded = []
        for pair in getattr(self.dataset, split):
            source, target = self.encode_source(pair.source), self.encode_target(pair.target)
            if max(len(source), len(target) - 1) <= self.settings.context:
                encoded.append((source, target))
        return encoded

    def encode_source(self, text: str) -> Array:
        """Ids of a source and its end."""
        return np.append(encode_known(self.vocabulary.tokenizer, text), self.source.end)

    def encode_target(self, text: str) -> Array:
        """Ids of a target between its start and its end."""
        ids = encode_known(self.target_tokenizer, text)
        return np.concatenate([[self.target.start], ids, [self.target.end]])

    def training_settings(self) -> dict[str, Any]:
        """Label smoothing changes the loss, so it is left out of what is reported."""
        return {"label_smoothing": self.settings.label_smoothing}

    def batch(self, step: int) -> Batch:
        """source (B, S), source_mask, target_in (B, T), target_out (B, T)."""
        pairs = self.encoded["train"]
        return self.padded([pairs[i] for i in self.buckets.batch(step)])

    def padded(self, pairs: list[tuple[Array, Array]]) -> Batch:
        """A batch of encoded pairs."""
        source = pad_rows([s for s, _ in pairs], self.source.pad)
        return {
            "source": source,
            "source_mask": source != self.source.pad,
            "target_in": pad_rows([t[:-1] for _, t in pairs], self.target.pad),
            "target_out": pad_rows([t[1:] for _, t in pairs], IGNORE),
        }

    def baselines(self) -> dict[str, float]:
        """The task's trivial solutions on the test part."""
        return self.data.baselines(self.dataset)

    def held_out(self, split: str) -> list[Batch]:
        """All pairs, in batches by length."""
        pairs = sorted(self.encoded[split], key=lambda pair: len(pair[0]))
        return [self.padded(pairs[i : i + 64]) for i in range(0, len(pairs), 64)]

    def writer(self, evaluation: Evaluation) -> Writer:
        """The model with its vocabulary."""
        return Writer(evaluation.p, self.model, self.vocabulary, evaluation.run)

    def scores(self, evaluation: Evaluation, split: str, *, beam: int = 1) -> dict[str, float]:
        """The task's own scores of what the model writes for every source of a split.

        A source that is longer than the context gets an empty answer, which counts as wrong.
        """
        pairs: list[Pair] = getattr(self.dataset, split)
        if not pairs:
            raise ValueError(f"{self.summary['name']} has no {split} split")
        found = self.writer(evaluation).write([pair.source for pair in pairs], beam=beam)
        return self.data.score(found, [pair.target for pair in pairs])


@dataclass(frozen=True)
class Writer:
    """An encoder-decoder with its vocabulary. ``run(f, items)`` may use several threads."""

    p: Seq2Seq
    model: Seq2SeqConfig
    vocabulary: Vocabulary
    run: Callable[..., list] = lambda f, items: list(map(f, items))

    @property
    def source(self) -> SpecialTokens:
        """The special tokens of the source's vocabulary."""
        return SpecialTokens(self.vocabulary.tokenizer.vocab_size)

    @property
    def target_tokenizer(self) -> Tokenizer:
        """The target's own tokenizer, or the shared one."""
        return self.vocabulary.target or self.vocabulary.tokenizer

    def write(self, sources: list[str], *, beam: int = 1) -> list[str]:
        """What the model writes for each source, as in ``write_ids``, without special tokens."""
        tokenizer, end = self.vocabulary.tokenizer, self.source.end
        encoded = [np.append(encode_known(tokenizer, text), end) for text in sources]
        written = self.write_ids(encoded, beam=beam)
        return [decode_ordinary(self.target_tokenizer, ids) for ids in written]

    def write_ids(
        self, sources: list[Array], *, beam: int = 1, alpha: float = 0.6
    ) -> list[tuple[int, ...]]:
        """Target ids for source ids that end with ``</s>``: greedy, or with a beam.

        A source that is longer than the context gives none. Sources of one length go together, so
        that no answer depends on the others. Raises ``ValueError`` for a beam below 1.
        """
        if beam < 1:
            raise ValueError(f"beam is {beam}; it must be at least 1")
        limit, ends = self.model.context, SpecialTokens(self.target_tokenizer.vocab_size)
        fitting = [i for i, ids in enumerate(sources) if len(ids) <= limit]
        fitting.sort(key=lambda i: len(sources[i]))
        groups: list[list[int]] = []
        for _, same in groupby(fitting, key=lambda i: len(sources[i])):
            numbers = list(same)
            groups += [numbers[i : i + 16] for i in range(0, len(numbers), 16)]
        search = partial(beam_search, beam=beam) if beam > 1 else greedy_search

        def answers(group: list[int]) -> list[tuple[int, ...]]:
            source = np.stack([sources[i] for i in group])
            found = search(
                self.p, source, config=self.model, start=ends.start, end=ends.end, alpha=alpha,
                max_tokens=min(limit, 2 * source.shape[1] + 10),
            )  # fmt: skip
            return [h.ids for h in found]

        written: list[tuple[int, ...]] = [()] * len(sources)
        for group, found in zip(groups, self.run(answers, groups), strict=True):
            for i, ids in zip(group, found, strict=True):
                written[i] = ids
        return written


def pair_vocabulary(settings: Any, pairs: Iterable[Pair]) -> Vocabulary:
    """Tokenizers of the training pairs: one for both sides, or one each."""

    def tokenizer(texts: list[str]) -> Tokenizer:
        return train_tokenizer(settings.tokenizer, "\n".join(texts), "", settings.min_count)

    sources, targets = [p.source for p in pairs], [p.target for p in pairs]
    if settings.shared_vocabulary:
        return Vocabulary(tokenizer(sources + targets))
    return Vocabulary(tokenizer(sources), tokenizer(targets))


def encode_known(tokenizer: Tokenizer, text: str) -> Array:
    """Ids of a text; the characters that a character vocabulary does not know are left out."""
    if tokenizer.kind == "char":
        # Only a character tokenizer has symbols, which its kind tells and its type does not.
        known = set(tokenizer.symbols)  # type: ignore[attr-defined]
        text = "".join(c for c in text if c in known)
    return tokenizer.encode(text)


def decode_ordinary(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of the ids, without special tokens."""
    return tokenizer.decode(np.array([i for i in ids if i < tokenizer.vocab_size], np.int64))
