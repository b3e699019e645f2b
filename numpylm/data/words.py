"""Text split into words and punctuation, Chinese and Japanese into characters.

A word is a run of letters, digits and underscores of any script with the marks that belong to them:
vowel signs, points and accents (Unicode's category M), and the joiners U+200C and U+200D.

What a reader of texts makes of a file is fixed by ``RULES``, a number that a run keeps with its
vocabulary: a run of an earlier version goes on, and predicts, with the rules it was trained with.

    1    marks are tokens of their own; articles of WikiText by headings anywhere, LF alone ends a
         line, CoNLL columns as they come
    2    the above
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

RULES = 2
_RULES: ContextVar[int] = ContextVar("rules", default=RULES)

# Ideographs and their marks, kana: scripts that are written without blanks between words.
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORDS = re.compile(r"\w+|[^\w\s]")
CHARACTERS = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
HAS_CJK = re.compile(f"[{CJK}]")
JOINERS = "\u200c\u200d"


def rules() -> int:
    """The rules that hold here: the newest, or those of ``with using_rules(number):``."""
    return _RULES.get()


@contextmanager
def using_rules(number: int) -> Iterator[None]:
    """Read and split as a version did that a run was trained with."""
    token = _RULES.set(number)
    try:
        yield
    finally:
        _RULES.reset(token)


def line_feeds(text: str) -> str:
    """A text whose lines end with LF, also if they ended with CR LF, or all with CR alone."""
    if rules() == 1 or "\r" not in text:
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def split_words(text: str, lower: bool = True) -> str:
    """Words and punctuation marks with one blank between them: ``don't!`` is ``don ' t !``.

    Letters are those after Unicode's composition (NFC), so that an accent is part of one character
    where there is one that holds both.
    """
    return _split(text, lower, characters=False)


def split_characters(text: str, lower: bool = True) -> str:
    """Like ``split_words``, but every Chinese or Japanese character is a token of its own."""
    return _split(text, lower, characters=True)


def split_text(text: str, lower: bool = True) -> str:
    """By characters if the text has any Chinese or Japanese one, otherwise by words."""
    return (split_characters if HAS_CJK.search(text) else split_words)(text, lower)


def _split(text: str, lower: bool, *, characters: bool) -> str:
    # Lower-cased first: J with a caron is two characters, its small letter is one.
    text = unicodedata.normalize("NFC", text.lower() if lower else text)
    marks = "" if text.isascii() or rules() == 1 else _marks(text)
    if marks:
        return " ".join(_with_marks(marks, characters).findall(text))
    return " ".join((CHARACTERS if characters else WORDS).findall(text))


def _marks(text: str) -> str:
    """The different marks and joiners of a text."""
    return "".join(
        c for c in sorted(set(text)) if c in JOINERS or unicodedata.category(c).startswith("M")
    )


@lru_cache(maxsize=256)
def _with_marks(marks: str, characters: bool) -> re.Pattern[str]:
    """``WORDS`` or ``CHARACTERS``, where these marks belong to what they follow."""
    m = re.escape(marks)
    if characters:
        return re.compile(rf"[{CJK}][{m}]*|[^\W{CJK}](?:[^\W{CJK}]|[{m}])*|[^\w\s][{m}]*")
    return re.compile(rf"\w[\w{m}]*|[^\w\s][{m}]*")
