"""Examples of the downstream tasks.

    Pair        source -> target          translation, summarisation, copy, reverse, sort
    Labelled    text -> label             classification
    Tagged      words -> labels           sequence labelling
    Question    question, story -> span   question answering

Texts are already split: tokens with one blank between them, so ``text.split()`` gives the tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from numpylm.tasks.task import Task
from numpylm.tasks.trained import Vocabulary


class Pair(NamedTuple):
    """A text and the text that is to be written for it."""

    source: str
    target: str


class Labelled(NamedTuple):
    """A text and its class."""

    text: str
    label: str


class Tagged(NamedTuple):
    """Words and one label for each."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


class Question(NamedTuple):
    """A question whose answer is ``story.split()[start:end]``."""

    question: str
    story: str
    start: int
    end: int

    @property
    def answer(self) -> str:
        """The words of the span."""
        return " ".join(self.story.split()[self.start : self.end])


@dataclass(frozen=True)
class Dataset:
    """Three lists of examples of one kind."""

    name: str
    train: list[Any]
    valid: list[Any]
    test: list[Any]

    @property
    def sha256(self) -> str:
        """Of all examples in their order, so that a run can tell whether its data have changed."""
        parts = json.dumps([self.train, self.valid, self.test])
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def parts(self) -> dict[str, list[Any]]:
        """The examples of "train", "valid" and "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def counts(self) -> dict[str, int]:
        """How many examples each part has."""
        return {part: len(examples) for part, examples in self.parts.items()}


class TaskData(NamedTuple):
    """``load(source, **settings)``, ``baselines(dataset)`` and ``score(predictions, references)``.

    ``score`` has the main metric first; ``baselines`` gives that metric on the test part.
    Predictions and references are targets (``Pair``), labels (``Labelled``), sequences of labels
    (``Tagged``) or answers as texts (``Question``).
    """

    load: Callable[..., Dataset]
    baselines: Callable[[Dataset], dict[str, float]]
    score: Callable[..., dict[str, float]]


class DatasetTask(Task):
    """Base of the downstream tasks, which learn from examples."""

    data: ClassVar[TaskData]

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        summary = {"name": dataset.name, "sha256": dataset.sha256, **dataset.counts}
        known = {example[:-1] for example in dataset.train}  # without the label, target or end
        for part in ("valid", "test"):
            if twice := sum(example[:-1] in known for example in dataset.parts[part]):
                summary[f"{part}_also_in_train"] = twice
        super().__init__(settings, vocabulary, summary)
        self.dataset = dataset

    @classmethod
    def read(cls, settings: Any) -> Dataset:
        """The examples of the settings' corpus."""
        return cls.data.load(settings.corpus)

    def baselines(self) -> dict[str, float]:
        """The task's trivial solutions on the test part."""
        return self.data.baselines(self.dataset)
