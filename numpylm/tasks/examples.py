"""§3.3 step 2: examples of the downstream tasks, and text split into tokens.

    Pair        source -> target          translation, summarisation, copy, reverse, sort
    Labelled    text -> label             classification
    Tagged      words -> labels           sequence labelling
    Question    question, story -> span   question answering

Texts are already split: tokens with one blank between them, so ``text.split()`` gives the tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

# Ideographs and their marks, kana: scripts that are written without blanks between words.
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORDS = re.compile(r"\w+|[^\w\s]")
CHARACTERS = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
HAS_CJK = re.compile(f"[{CJK}]")


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


def split_words(text: str, lower: bool = True) -> str:
    """Words and punctuation marks with one blank between them: ``don't!`` is ``don ' t !``.

    A word is a run of letters, digits and underscores of any script, after Unicode's composition
    (NFC), so that an accent never stands alone where one character holds both.
    """
    return _split(WORDS, text, lower)


def split_characters(text: str, lower: bool = True) -> str:
    """Like ``split_words``, but every Chinese or Japanese character is a token of its own."""
    return _split(CHARACTERS, text, lower)


def split_text(text: str, lower: bool = True) -> str:
    """By characters if the text has any Chinese or Japanese one, otherwise by words."""
    return (split_characters if HAS_CJK.search(text) else split_words)(text, lower)


def _split(token: re.Pattern[str], text: str, lower: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    return " ".join(token.findall(text.lower() if lower else text))
