"""Texts in figures: what a token looks like, and fonts for scripts that the default font lacks.

matplotlib draws a character that no chosen font has as an empty box, and warns. Here the fonts
are chosen from those the machine has, simplified Chinese first; where none has a character it is
written in Latin letters, and one line says so.
"""

from __future__ import annotations

import sys
from functools import cache

FONTS = (  # behind DejaVu Sans, in this order, as far as the machine has them
    *("Noto Sans CJK SC", "Source Han Sans SC", "Noto Sans SC", "PingFang SC", "Heiti SC"),
    *("Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP"),
    *("Droid Sans Fallback", "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Arabic"),
    *("Nirmala UI", "Noto Sans"),
)
LONGEST = 40  # characters of one label
SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥"}


NOTICE = "figures: characters that no font of this machine has stand in Latin letters"


@cache
def font_families() -> tuple[str, ...]:
    """DejaVu Sans, which matplotlib brings, and those of ``FONTS`` that this machine has."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in FONTS if name in installed))


def token_label(token: str) -> str:
    """A token as a figure can show it: ``drawable``, and a blank is ␣, a line end ↵."""
    return drawable("".join(SIGNS.get(c, c) for c in token))


def drawable(text: str) -> str:
    """The text with control characters as ``\\x01``, and in Latin letters what no font of ours has.

    At most 40 characters, the last of them … if it was longer. The first time that letters are
    replaced, one line on stderr says so.
    """
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    text = "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)
    if text.isascii() or _drawn_as_they_are().issuperset(text):
        return text
    from anyascii import anyascii

    _say_so()
    return "".join(c if c in _drawn_as_they_are() else anyascii(c) for c in text) or "?"


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


@cache
def _drawn_as_they_are() -> frozenset[str]:
    """The characters that a chosen font has; a line end parts the lines of a label."""
    from matplotlib import font_manager

    fonts = {font_manager.findfont(family) for family in font_families()}
    return frozenset(
        "\n" + "".join(chr(c) for font in fonts for c in font_manager.get_font(font).get_charmap())
    )


@cache
def _say_so() -> None:
    print(f"{NOTICE} (for Chinese, install a font such as Noto Sans CJK)", file=sys.stderr)
