"""WordPiece, the subwords of BERT: words are cleaned and cut, then read as their longest pieces.

A piece that continues a word begins with ``##``. A word that cannot be read to its end, or is very
long, is ``[UNK]``. What is a letter, a mark or an accent is asked of Python's Unicode tables, which
know some younger characters that the tables of other libraries do not. Devlin et al. 2019
(arXiv:1810.04805); google-research/bert, tokenization.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from numpylm.data.subword import SubwordTokenizer
from numpylm.parameters import Array

CJK = (  # first and last of the blocks that BERT sets blanks around
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class WordPieceTokenizer(SubwordTokenizer):
    """BERT's tokenizer. ``strip_accents`` None means: if ``lowercase``."""

    unknown: str = "[UNK]"
    prefix: str = "##"
    longest_word: int = 100  # characters; a longer word is unknown
    clean_text: bool = True
    chinese: bool = True  # blanks around Chinese characters
    lowercase: bool = True
    strip_accents: bool | None = None
    kind: ClassVar[str] = "wordpiece"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unknown.encode() not in self.pieces:
            raise ValueError(f"the vocabulary lacks its unknown token {self.unknown!r:.40}")

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text without added tokens; each different word is read once."""
        ids: list[int] = []
        known: dict[str, list[int]] = {}
        for word in split_bert(self.normalise(text)):
            if word not in known:
                known[word] = self._read(word)
            ids.extend(known[word])
        return ids

    def normalise(self, text: str) -> str:
        """Control characters out, blanks around Chinese ones, accents off, small letters."""
        if self.clean_text:
            text = "".join(" " if _is_blank(c) else c for c in text if not _is_control(c))
        if self.chinese:
            text = "".join(f" {c} " if _is_chinese(c) else c for c in text)
        if self.lowercase if self.strip_accents is None else self.strip_accents:
            apart = unicodedata.normalize("NFD", text)
            text = "".join(c for c in apart if unicodedata.category(c) != "Mn")
        return "".join(c.lower() for c in text) if self.lowercase else text

    def _read(self, word: str) -> list[int]:
        unknown = [self.pieces[self.unknown.encode()]]
        if len(word) > self.longest_word:
            return unknown
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = self.prefix * (start > 0)
            for end in range(len(word), start, -1):
                if (piece := (prefix + word[start:end]).encode()) in self.pieces:
                    ids.append(self.pieces[piece])
                    start = end
                    break
            else:
                return unknown
        return ids

    def decode(self, ids: Sequence[int] | Array) -> str:
        """Words with blanks between them. What ``normalise`` dropped does not come back."""
        text = ""
        for piece in self.piece_bytes(np.asarray(ids)):
            name = piece.decode("utf-8", errors="replace")
            joined = name.startswith(self.prefix) and bool(text)
            text += name.removeprefix(self.prefix) if joined else " " * bool(text) + name
        return text


def split_bert(text: str) -> Iterator[str]:
    """Words between white space; each punctuation mark stands alone."""
    word = ""
    for c in text:
        if not (_is_blank(c) or _is_punctuation(c)):
            word += c
            continue
        if word:
            yield word
        if not _is_blank(c):
            yield c
        word = ""
    if word:
        yield word


def _is_blank(c: str) -> bool:
    # Unicode's White_Space; Python counts four separators of the C0 controls to it.
    return c.isspace() and not "\x1c" <= c <= "\x1f"


def _is_control(c: str) -> bool:
    other = unicodedata.category(c) in ("Cc", "Cf", "Co")
    return c == "\ufffd" or (other and c not in "\t\n\r")


def _is_chinese(c: str) -> bool:
    return any(first <= ord(c) <= last for first, last in CJK)


def _is_punctuation(c: str) -> bool:
    ascii_mark = c.isascii() and c.isprintable() and not c.isalnum() and c != " "
    return ascii_mark or unicodedata.category(c).startswith("P")
