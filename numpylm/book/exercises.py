"""Tell a reader at once whether the answer to a chapter's exercise is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check(answer: Any, is_right: Callable[[Any], Any], hint: str) -> None:
    """Print "right", "not yet" with a hint, or "not answered yet" while the answer is None.

    An answer on which the test itself stops is not right yet; its error is printed, not raised,
    so that the rest of the notebook runs.
    """
    if answer is None:
        print("not answered yet")
        return
    try:
        right = bool(is_right(answer))
    except Exception as error:  # a reader's answer may fail in any way
        print(f"not yet: {type(error).__name__}: {error}. Hint: {hint}")
        return
    print("right" if right else f"not yet. Hint: {hint}")
