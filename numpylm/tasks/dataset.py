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
from dataclasses import dataclass
from typing import Any, NamedTuple


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
    def counts(self) -> dict[str, int]:
        """How many examples each part has."""
        return {"train": len(self.train), "valid": len(self.valid), "test": len(self.test)}
