"""Text split into words and punctuation, Chinese and Japanese into characters."""

from __future__ import annotations

import re
import unicodedata

# Ideographs and their marks, kana: scripts that are written without blanks between words.
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORDS = re.compile(r"\w+|[^\w\s]")
CHARACTERS = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
HAS_CJK = re.compile(f"[{CJK}]")


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
    # Lower-cased first: J with a caron is two characters, its small letter is one.
    text = unicodedata.normalize("NFC", text.lower() if lower else text)
    return " ".join(token.findall(text))
