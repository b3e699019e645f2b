"""How a text is cut into chunks before byte-pair encoding: merges never cross a chunk's border.

The published patterns put a blank before its word, keep letters, digits and punctuation apart, and
leave the last blank of several to the word behind them. They need classes of Unicode such as
``\\p{L}``, which Python's ``re`` lacks and the ``regex`` package has.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import regex

SPLITS = {
    # Radford et al. 2019, openai/gpt-2, encoder.py
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # Llama 3: numbers in threes, a word may begin with any one mark, line ends stand together
    "llama3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # Qwen 2 and 3: as Llama 3, but each digit alone
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
LONGEST_PATTERN = 10_000  # characters; the published ones have about a hundred


@lru_cache(maxsize=64)
def compiled(pattern: str) -> regex.Pattern[str]:
    """The pattern, ready to match. Raises ``ValueError`` if it is none."""
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"a split pattern of {len(pattern):,} characters is too long")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
        raise ValueError(f"the split pattern {pattern!r:.80} is none: {error!s:.80}") from None


def time_limit(text: str) -> float:
    """Seconds that a pattern may take for a text, some fifty times what the published ones do."""
    return 2.0 + len(text) / 50_000


def split(text: str, patterns: tuple[str, ...]) -> Iterator[str]:
    """The chunks of a text in order, without empty ones: what matches, and what stands between.

    Each further pattern cuts the chunks of the one before it; together they are the text again.
    Raises ``ValueError`` if a stranger's pattern takes longer than ``time_limit``; the published
    ones are linear, and watching the clock would cost them a third more.
    """
    if not patterns:
        return iter([text] if text else [])
    chunks = _matches_and_gaps(text, patterns[0])
    if len(patterns) == 1:
        return chunks
    return (piece for chunk in chunks for piece in split(chunk, patterns[1:]))


def _matches_and_gaps(text: str, pattern: str) -> Iterator[str]:
    last, limit = 0, None if pattern in SPLITS.values() else time_limit(text)
    try:
        for match in compiled(pattern).finditer(text, timeout=limit):
            start, end = match.span()
            if start > last:
                yield text[last:start]
            if end > start:
                yield text[start:end]
            last = max(last, end)
    except TimeoutError:
        raise ValueError(
            f"the split pattern {pattern!r:.80} took more than {limit:.0f} s "
            f"on {len(text):,} characters"
        ) from None
    if last < len(text):
        yield text[last:]
