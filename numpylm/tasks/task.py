"""What a run learns: a model, its loss, and the batches of every step and of held-out text.

The trainer knows nothing else of a task, so all of them share one loop, one kind of
checkpoint and one way to resume. A batch is a function of (seed, step) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from numpylm.data.batches import Batch
from numpylm.data.vocabulary import Tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.counting import parameter_counts
from numpylm.parameters import Array
from numpylm.tasks.architectures import model_of


@dataclass(frozen=True)
class Vocabulary:
    """What stands between text and ids: it belongs to a run for good."""

    tokenizer: Tokenizer
    target: Tokenizer | None = None  # of an encoder-decoder whose target has its own
    labels: tuple[str, ...] = ()  # the classes of a head


class Evaluation(Protocol):
    """What ``measure`` is given: the parameters, and ways to work through batches at once."""

    p: Any

    def losses(self, batches: list[Batch], normalizer: Any) -> list[float]:
        """The loss of each batch over a common normalizer, without dropout."""

    def run(self, f: Callable[[Any], Any], items: Iterable[Any]) -> list:
        """[f(item) for item in items]."""


@dataclass
class Task:
    """Base of all tasks. ``settings`` are the run's (``TrainConfig``)."""

    settings: Any
    vocabulary: Vocabulary
    summary: dict[str, Any]  # what config.json says of the data; has "name" and "sha256"

    functions: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]  # forward and backward
    counted: ClassVar[str] = "targets"  # the array of a batch whose entries the loss is a mean of
    evaluation_passes: ClassVar[int] = 1  # how often ``measure`` reads a split with the model

    @property
    def model(self) -> Any:
        """The configuration of the model."""
        return model_of(self.settings, *self.sizes())[0]

    def sizes(self) -> tuple[int, int | None, int]:
        """Vocabulary sizes of source and target (None: shared), and the number of labels."""
        return model_sizes(self.settings, self.vocabulary)

    def init(self, seed: int) -> tuple[Array, Any]:
        """Random parameters, ``(theta, p)``. Raises ``MemoryError`` before they fill the memory."""
        config, init = model_of(self.settings, *self.sizes())
        np.empty(parameter_counts(config)["total"], np.float32)  # asked for in one piece, and freed
        return init(seed)

    def training_settings(self) -> dict[str, Any]:
        """What the forward is told in training and not in evaluation."""
        return {}

    def batch(self, step: int) -> Batch:
        """The batch of a step, drawn from (seed, step)."""
        raise NotImplementedError

    def held_out(self, split: str) -> list[Batch]:
        """All of "train", "valid" or "test" in batches that are the same each time.

        Raises ``ValueError`` if there is no such text.
        """
        raise NotImplementedError

    def baselines(self) -> dict[str, float]:
        """Loss or main score of trivial solutions, measured when a run starts."""
        return {}

    def count(self, batch: Batch) -> Any:
        """What the loss of a batch is divided by."""
        return float(np.count_nonzero(batch[self.counted] != IGNORE))

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The mean loss over all of a split, and the scores that cost no more than it."""
        batches = self.held_out(split)
        if not batches:
            raise ValueError(f"{self.summary['name']} has no {split} split")
        total = sum(self.count(batch) for batch in batches)
        return {"loss": sum(evaluation.losses(batches, total))}


def model_sizes(settings: Any, vocabulary: Vocabulary) -> tuple[int, int | None, int]:
    """Sizes for ``model_of``: all models but the language model have special tokens too."""
    from numpylm.data.special import SpecialTokens

    size = vocabulary.tokenizer.vocab_size
    if settings.objective == "causal":
        return size, None, 0
    target = vocabulary.target
    return (
        SpecialTokens(size).vocab_size,
        None if target is None else SpecialTokens(target.vocab_size).vocab_size,
        len(vocabulary.labels),
    )


def share_right(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Accuracy over arrays that are compared entry by entry; ``IGNORE`` is not counted."""
    right = sum(int(((f == w) & (w != IGNORE)).sum()) for f, w in zip(found, wanted, strict=True))
    return right / max(sum(int((w != IGNORE).sum()) for w in wanted), 1)
