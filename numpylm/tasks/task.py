"""What a run learns: a model, its loss, its batches, how it is measured and what it answers.

The trainer knows nothing else of a task, so all of them share one loop, one kind of
checkpoint and one way to resume. A batch is a function of (seed, step) alone. The class says
what does not depend on data, so that no corpus is read to check settings or to predict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from numpylm.data.batches import Batch
from numpylm.data.special import SpecialTokens
from numpylm.data.words import split_text
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.counting import parameter_counts
from numpylm.parameters import Array
from numpylm.tasks.architectures import Architecture
from numpylm.tasks.trained import Trained, Vocabulary

Prediction = dict[str, Any]  # plain values


class Evaluation(Protocol):
    """What ``measure`` is given: the parameters, and ways to work through batches at once."""

    p: Any

    def losses(self, batches: list[Batch], normalizer: Any) -> list[float]:
        """The loss of each batch over a common normalizer, without dropout."""

    def run(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list:
        """[f(item) for item in items]."""


@dataclass(frozen=True)
class Shape:
    """What the cost of a batch depends on; the words of ``models.counting.forward_flops``."""

    batch: int  # sequences, B
    length: int  # T, of the target in an encoder-decoder
    source_length: int | None = None  # S, in an encoder-decoder
    predicted: int | None = 0  # tokens that go through the output matrix; None: all
    pairs: int = 0  # next-sentence predictions


@dataclass
class Task:
    """Base of all tasks. ``settings`` are the run's (``TrainConfig``)."""

    settings: Any
    vocabulary: Vocabulary
    summary: dict[str, Any]  # what config.json says of the data; has "name" and "sha256"

    name: ClassVar[str]
    architecture: ClassVar[Architecture]
    functions: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]  # forward and backward
    counted: ClassVar[str] = "targets"  # the array of a batch whose entries the loss is a mean of
    unit: ClassVar[str | None] = None  # what they are, if not tokens
    one_loss: ClassVar[bool] = True  # a mean of −log P, so that exp of it is a perplexity
    evaluation_passes: ClassVar[int] = 1  # how often ``measure`` reads a split with the model
    shortest: ClassVar[int] = 1  # the shortest context that holds something to learn, in tokens
    reads: ClassVar[tuple[str, ...]] = ()  # the settings that not every task reads
    default: ClassVar[str] = "pydoc"  # the corpus where none is named
    texts: ClassVar[tuple[int, ...]] = (1,)  # how many texts ``predict`` takes
    language_model: ClassVar[bool] = False  # which continues a text in place of an answer

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> Task:
        """The task with its data, read and encoded; with an earlier run's vocabulary if given.

        Raises ``ValueError`` with one clear line for data that cannot be read or used.
        """
        raise NotImplementedError

    @classmethod
    def model_config(cls, settings: Any, vocab_size: int, **sizes: Any) -> Any:
        """The configuration of the model. Raises ``ValueError`` for a shape that cannot work."""
        return cls.architecture.model(settings, vocab_size=vocab_size, **sizes)

    @classmethod
    def sizes(cls, vocabulary: Vocabulary) -> dict[str, Any]:
        """The model's sizes that the vocabulary decides: with special tokens."""
        return {"vocab_size": SpecialTokens(vocabulary.tokenizer.vocab_size).vocab_size}

    @classmethod
    def model_of(cls, settings: Any, vocabulary: Vocabulary) -> Any:
        """The configuration of the model for a vocabulary."""
        return cls.model_config(settings, **cls.sizes(vocabulary))

    @property
    def model(self) -> Any:
        """The configuration of the model."""
        return self.model_of(self.settings, self.vocabulary)

    def init(self, seed: int) -> tuple[Array, Any]:
        """Random parameters, ``(theta, p)``. Raises ``MemoryError`` before they fill the memory."""
        config = self.model
        np.empty(parameter_counts(config)["total"], np.float32)  # asked for in one piece, and freed
        return self.architecture.init(seed, config)

    def training_settings(self) -> dict[str, Any]:
        """What the forward is told in training and not in evaluation."""
        return {}

    def batch(self, step: int) -> Batch:
        """The batch of a step, drawn from (seed, step)."""
        raise NotImplementedError

    def has(self, split: str) -> bool:
        """Whether there is a "train", "valid" or "test" split with something to measure."""
        return bool(self.held_out(split))

    def held_out(self, split: str) -> list[Batch]:
        """All of "train", "valid" or "test" in batches that are the same each time.

        Empty if there is no such split. Raises ``ValueError`` for a text shorter than a context.
        """
        raise NotImplementedError

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """What the cost of a batch depends on."""
        return Shape(*batch["ids"].shape)

    @classmethod
    def positions(cls, batch: Batch) -> int:
        """Positions of a batch, padding included: of the target where there are two sequences."""
        shape = cls.shape(batch)
        return shape.batch * shape.length

    @classmethod
    def tokens(cls, batch: Batch) -> int:
        """Tokens of a batch, without padding: of the target where there are two sequences."""
        return cls.positions(batch)

    def baselines(self) -> dict[str, float]:
        """Loss or main score of trivial solutions, measured when a run starts."""
        return {}

    def count(self, batch: Batch) -> Any:
        """What the loss of a batch is divided by."""
        return float(np.count_nonzero(batch[self.counted] != IGNORE))

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The mean loss over all of a split, and the scores that cost no more than it.

        Raises ``ValueError`` if there is no such split.
        """
        batches = self.held_out(split)
        if not batches:
            raise ValueError(f"{self.summary['name']} has no {split} split")
        total = sum(self.count(batch) for batch in batches)
        return {"loss": sum(evaluation.losses(batches, total))}

    def scores(self, evaluation: Evaluation, split: str, *, beam: int = 1) -> dict[str, float]:
        """The scores that cost more than the loss: those of texts that the model writes."""
        return {}

    def describe(self) -> str:
        """A line that says what is learned, and on how much of which data."""
        counts = [
            f"{value:.1%} {name}" if isinstance(value, float) else f"{value:,} {name}"
            for name, value in self.summary.items()
            if not isinstance(value, str)  # the corpus, its sha256, what its words are
        ]
        what = f"{self.name} on {self.summary['name']} ({self.settings.tokenizer} tokens)"
        return f"{what}: {', '.join(counts)}"

    def samples(self, evaluation: Evaluation, count: int = 3) -> list[str]:
        """What the model writes for the first validation examples, beside the reference."""
        return []

    @classmethod
    def split(cls, text: str) -> str:
        """A text as those of training were: lower-cased words and punctuation."""
        return split_text(text)

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The answer to a text, and to a second one where it takes two (``texts``).

        Raises ``ValueError`` for a text of which the vocabulary knows nothing, or that is longer
        than the context.
        """
        raise NotImplementedError

    @classmethod
    def attention(
        cls, trained: Trained, text: str, *, beam: int = 1
    ) -> tuple[list[str], list[str], Array]:
        """(source tokens, target tokens, weights (T, S)) of what an encoder-decoder writes.

        Row t is where the decoder's last layer looked, averaged over its heads, when it wrote
        target token t; both sequences end with ``</s>``.
        """
        raise NotImplementedError

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """A prediction as a line for a reader."""
        return str(next(iter(found.values())))


def share_right(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Accuracy over arrays that are compared entry by entry; ``IGNORE`` is not counted."""
    right = sum(int(((f == w) & (w != IGNORE)).sum()) for f, w in zip(found, wanted, strict=True))
    return right / max(sum(int((w != IGNORE).sum()) for w in wanted), 1)
