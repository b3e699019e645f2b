"""An encoder-decoder learns to write one text for another (translation and its kin).

    source    x_1 … x_n </s>
    target    <s> y_1 … y_m  ->  y_1 … y_m </s>

Pairs of similar length share a batch. A pair that is longer than the context is left out, and
``config.json`` says how many were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch, LengthBuckets
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import Tokenizer, train_tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.seq2seq import cross_attention_weights, decode_forward, encode_forward
from numpylm.objectives.denoising import denoising_backward, denoising_forward
from numpylm.parameters import Array
from numpylm.tasks.architectures import ENCODER_DECODER
from numpylm.tasks.dataset import Dataset, DatasetTask, Pair
from numpylm.tasks.task import Evaluation, Prediction, Shape, Task
from numpylm.tasks.trained import Trained, Vocabulary, decode_ordinary, encode_known
from numpylm.tasks.writer import Writer


class EncoderDecoderTask(Task):
    """Base of the tasks with a source and a target, pairs of texts or corrupted ones."""

    architecture = ENCODER_DECODER
    functions = denoising_forward, denoising_backward
    counted = "target_out"
    reads: ClassVar[tuple[str, ...]] = ("label_smoothing", "tied")

    @classmethod
    def sizes(cls, vocabulary: Vocabulary) -> dict[str, Any]:
        """The target's vocabulary has a size of its own, unless the two are shared."""
        target = vocabulary.target
        own = None if target is None else SpecialTokens(target.vocab_size).vocab_size
        return super().sizes(vocabulary) | {"target_vocab_size": own}

    def training_settings(self) -> dict[str, Any]:
        """Label smoothing changes the loss, so it is left out of what is reported."""
        return {"label_smoothing": self.settings.label_smoothing}

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """Every token of the target is predicted."""
        rows, length = batch["target_in"].shape
        return Shape(rows, length, batch["source"].shape[1], predicted=None)

    @classmethod
    def tokens(cls, batch: Batch) -> int:
        """Tokens of the targets, without padding."""
        return int(np.count_nonzero(batch["target_out"] != IGNORE))

    @classmethod
    def source_ids(cls, trained: Trained, text: str) -> Array:
        """Ids of a source with its end. Raises ``ValueError`` if nothing of it is known."""
        return np.append(trained.ids(cls.split(text), text), trained.special.end)

    @classmethod
    def written(cls, trained: Trained, ids: tuple[int, ...]) -> str:
        """The text of target ids."""
        return decode_ordinary(trained.vocabulary.target or trained.vocabulary.tokenizer, ids)

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The text that is written."""
        source = cls.source_ids(trained, text)
        trained.require_room(len(source))
        writer = Writer(trained.p, trained.model, trained.vocabulary)
        return {"text": cls.written(trained, writer.write_ids([source], beam=beam)[0])}

    @classmethod
    def attention(
        cls, trained: Trained, text: str, *, beam: int = 1
    ) -> tuple[list[str], list[str], Array]:
        p, model = trained.p, trained.model
        writer, source = Writer(p, model, trained.vocabulary), cls.source_ids(trained, text)
        trained.require_room(len(source))
        target = np.array(writer.write_ids([source], beam=beam)[0][: model.context - 1], np.int64)
        memory, _ = encode_forward(p, source[None], config=model)
        start = SpecialTokens(writer.target_tokenizer.vocab_size).start
        shifted = np.append([start], target)[None].astype(np.int64)
        _, cache = decode_forward(p, memory, shifted, config=model)
        weights = cross_attention_weights(cache)[-1, 0].mean(axis=0)
        source_tokens = token_names(trained.vocabulary.tokenizer, source[:-1])
        return source_tokens, token_names(writer.target_tokenizer, target), weights


class PairTask(DatasetTask, EncoderDecoderTask):
    """Base of the tasks that learn from pairs of texts."""

    shortest = 2
    reads = ("shared_vocabulary", *EncoderDecoderTask.reads)

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        super().__init__(settings, vocabulary, dataset)
        self.source = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.target_tokenizer = vocabulary.target or vocabulary.tokenizer
        self.target = SpecialTokens(self.target_tokenizer.vocab_size)
        self.encoded = {split: self._encoded(pairs) for split, pairs in dataset.parts.items()}
        for split, pairs in self.encoded.items():
            if left_out := dataset.counts[split] - len(pairs):
                self.summary[f"{split}_longer_than_context"] = left_out
        if not self.encoded["train"] or not self.encoded["valid"]:
            raise ValueError(
                f"no pair of {dataset.name} is short enough for a context of "
                f"{settings.context} tokens: raise --context"
            )
        lengths = np.array([len(s) + len(t) for s, t in self.encoded["train"]], np.int64)
        self.buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> PairTask:
        dataset = cls.read(settings)
        return cls(settings, vocabulary or pair_vocabulary(settings, dataset.train), dataset)

    def _encoded(self, pairs: list[Pair]) -> list[tuple[Array, Array]]:
        """(source with its end, target with start and end) of the pairs that fit the context."""
        encoded = []
        for pair in pairs:
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

    def held_out(self, split: str) -> list[Batch]:
        """All pairs, in batches by length."""
        pairs = sorted(self.encoded[split], key=lambda pair: len(pair[0]))
        return [self.padded(pairs[i : i + 64]) for i in range(0, len(pairs), 64)]

    def writer(self, evaluation: Evaluation) -> Writer:
        """The model with its vocabulary."""
        return Writer(evaluation.p, self.model, self.vocabulary, evaluation.run)

    def scores(self, evaluation: Evaluation, split: str, *, beam: int = 1) -> dict[str, float]:
        """The task's own scores of what the model writes for every source of a split.

        A source that is longer than the context gets an empty answer, which counts as wrong;
        ``cut`` says how many pairs are longer, in their source or their target.
        Raises ``ValueError`` if there is no such split.
        """
        pairs: list[Pair] = self.dataset.parts[split]
        if not pairs:
            raise ValueError(f"{self.summary['name']} has no {split} split")
        found = self.writer(evaluation).write([pair.source for pair in pairs], beam=beam)
        scores = self.data.score(found, [pair.target for pair in pairs])
        cut = self.summary.get(f"{split}_longer_than_context")
        return scores | ({"cut": cut} if cut else {})

    def samples(self, evaluation: Evaluation, count: int = 3) -> list[str]:
        """Source, answer and reference of the first validation pairs."""
        pairs = self.dataset.valid[:count]
        written = self.writer(evaluation).write([pair.source for pair in pairs])
        return [
            f"source     {pair.source}\nwritten    {text}\nreference  {pair.target}"
            for pair, text in zip(pairs, written, strict=True)
        ]


def pair_vocabulary(settings: Any, pairs: Iterable[Pair]) -> Vocabulary:
    """Tokenizers of the training pairs: one for both sides, or one each."""

    def tokenizer(texts: list[str]) -> Tokenizer:
        kind, size = settings.tokenizer, settings.vocab_size
        return train_tokenizer(kind, "\n".join(texts), "", settings.min_count, size)

    sources, targets = [p.source for p in pairs], [p.target for p in pairs]
    if settings.shared_vocabulary:
        return Vocabulary(tokenizer(sources + targets))
    return Vocabulary(tokenizer(sources), tokenizer(targets))


def token_names(tokenizer: Tokenizer, ids: Array) -> list[str]:
    """Each token as a text, sentinels as ``<0>``, ``<1>``, …, and ``</s>`` at the end."""
    first, size = int(SpecialTokens(tokenizer.vocab_size).sentinels[0]), tokenizer.vocab_size
    names = [
        tokenizer.decode(np.array([i])) if i < size else f"<{i - first}>" for i in ids.tolist()
    ]
    return [*names, "</s>"]
