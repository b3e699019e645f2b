"""§5.1 Vocabulary and tokenizers: text to integer ids and back.

    char    one id for each character of the corpus; any other character is an error
    word    words between white space, ``<eos>`` at the end of each line, ``<unk>`` for words that
            are rarer than a threshold (the WikiText-2 convention, Merity et al. 2016)
    byte    the 256 bytes of UTF-8: any text round-trips exactly
    bpe     subwords that are learned from the text (``data/bpe.py``): exact, and shorter

A tokenizer is written to ``tokenizer.json`` and read back from it; the file is data, never code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from numpylm.files import parse_json
from numpylm.parameters import Array

UNKNOWN, END = "<unk>", "<eos>"


class Tokenizer(Protocol):
    """What the kinds have in common."""

    @property
    def kind(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    def encode(self, text: str) -> Array: ...
    def decode(self, ids: Sequence[int] | Array) -> str: ...
    def to_json(self) -> str: ...


@dataclass(frozen=True)
class CharTokenizer:
    """One id for each character; ``symbols`` are sorted and different."""

    symbols: str
    kind: str = field(default="char", init=False)

    def __post_init__(self) -> None:
        if not self.symbols or list(self.symbols) != sorted(set(self.symbols)):
            raise ValueError("a character vocabulary must be non-empty, sorted and without repeats")

    @classmethod
    def train(cls, text: str) -> CharTokenizer:
        """The characters of a text."""
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        return len(self.symbols)

    @cached_property
    def _code_points(self) -> Array:
        return np.array([ord(c) for c in self.symbols], np.int64)

    def encode(self, text: str) -> Array:
        """(n,) int64 ids. Raises ``ValueError`` naming the characters that are not known."""
        encoded = text.encode("utf-32-le", "surrogatepass")
        points = np.frombuffer(encoded, "<u4").astype(np.int64)
        ids = np.searchsorted(self._code_points, points).clip(max=self.vocab_size - 1)
        unknown = points[self._code_points[ids] != points]
        if unknown.size:
            different = list(dict.fromkeys(unknown.tolist()))
            names = " ".join(repr(chr(c)) for c in different[:10])
            others = f" and {len(different) - 10} more" if len(different) > 10 else ""
            raise ValueError(f"the character vocabulary does not know {names}{others}")
        return ids

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The text of the ids."""
        return "".join(self.symbols[i] for i in np.asarray(ids).ravel().tolist())

    def to_json(self) -> str:
        """As written to ``tokenizer.json``."""
        return json.dumps({"kind": self.kind, "symbols": self.symbols})


@dataclass(frozen=True)
class WordTokenizer:
    """White-space words. ``words`` are different and hold ``<unk>`` and ``<eos>``."""

    words: tuple[str, ...]
    kind: str = field(default="word", init=False)

    def __post_init__(self) -> None:
        if len(set(self.words)) != len(self.words) or not {UNKNOWN, END} <= set(self.words):
            raise ValueError(f"a word vocabulary must hold {UNKNOWN} and {END} and no word twice")

    @classmethod
    def train(cls, text: str, min_count: int = 1) -> WordTokenizer:
        """Words that occur at least ``min_count`` times, the most frequent first."""
        counts = Counter(_words(text))
        counts.pop(UNKNOWN, None)
        counts.pop(END, None)
        known = [w for w, n in counts.items() if n >= min_count]
        return cls((UNKNOWN, END, *sorted(known, key=lambda w: (-counts[w], w))))

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> Array:
        """(n,) int64 ids; a line's end is ``<eos>``, a word that is not known ``<unk>``."""
        unknown = self._ids[UNKNOWN]
        return np.array([self._ids.get(w, unknown) for w in _words(text)], np.int64)

    def unknown_share(self, ids: Array) -> float:
        """The share of ``<unk>`` among ids: a low loss on a text of unknown words means nothing."""
        return float(np.mean(ids == self._ids[UNKNOWN])) if len(ids) else 0.0

    def unknown_words(self, text: str) -> float:
        """The share of a text's words that are not known; ends of lines are no words."""
        words = text.split()
        return sum(w == UNKNOWN or w not in self._ids for w in words) / max(len(words), 1)

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The words of a line with blanks between them; ``<eos>`` becomes the end of the line.

        The text of more ids begins with the text of fewer, so it can be written as it is drawn.
        """
        text, in_line = [], False
        for i in np.asarray(ids).ravel().tolist():
            end = self.words[i] == END
            text.append("\n" if end else " " * in_line + self.words[i])
            in_line = not end
        return "".join(text)

    def to_json(self) -> str:
        """As written to ``tokenizer.json``."""
        return json.dumps({"kind": self.kind, "words": self.words})


@dataclass(frozen=True)
class ByteTokenizer:
    """The bytes of UTF-8."""

    kind: str = field(default="byte", init=False)
    vocab_size: int = field(default=256, init=False)

    def encode(self, text: str) -> Array:
        """(n,) int64 ids from 0 to 255. Raises ``ValueError`` for half a surrogate pair."""
        try:
            return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)
        except UnicodeEncodeError as error:
            what = text[error.start]
            raise ValueError(f"{what!r} at {error.start} is no character of UTF-8") from None

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The text; bytes that are not UTF-8, as in half a character, become U+FFFD."""
        return np.asarray(ids).astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def to_json(self) -> str:
        """As written to ``tokenizer.json``."""
        return json.dumps({"kind": self.kind})


def train_tokenizer(
    kind: str, train: str, others: str = "", min_count: int = 1, vocab_size: int = 8192
) -> Tokenizer:
    """A tokenizer of that kind for a corpus.

    Words and subwords are counted in the training text alone. The characters are those of the whole
    corpus (``others`` too): an alphabet gives nothing away, and the text needs no ``<unk>``.
    """
    if kind == "char":
        return CharTokenizer.train(train + others)
    if kind == "word":
        return WordTokenizer.train(train, min_count)
    if kind == "byte":
        return ByteTokenizer()
    if kind == "bpe":
        from numpylm.data.bpe import train_bpe

        return train_bpe(train, vocab_size)
    raise ValueError(f"tokenizer {kind!r} is none of char, word, byte, bpe")


def tokenizer_from_json(text: str) -> Tokenizer:
    """Read back what ``to_json`` wrote, or Hugging Face's ``tokenizer.json``.

    Raises ``ValueError`` for anything else.
    """
    try:
        data: Any = parse_json(text)
        if isinstance(data, dict) and "model" in data:  # Hugging Face's format, also of our bpe
            from numpylm.data.tokenizer_json import parse_tokenizer

            return parse_tokenizer(data)
        kind = data["kind"]
        if kind == "char" and type(data["symbols"]) is str:
            return CharTokenizer(data["symbols"])
        if kind == "word" and type(data["words"]) is list:
            if all(type(word) is str for word in data["words"]):
                return WordTokenizer(tuple(data["words"]))
        if kind == "byte":
            return ByteTokenizer()
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the tokenizer file is damaged: {error!s:.200}") from None
    raise ValueError(f"the tokenizer file holds no vocabulary of a known kind: {kind!r:.40}")


def _words(text: str) -> list[str]:
    """Words with ``<eos>`` after each line; a last line without an end gets none."""
    *lines, rest = text.split("\n")
    return [w for line in lines for w in (*line.split(), END)] + rest.split()
