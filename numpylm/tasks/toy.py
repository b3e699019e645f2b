"""Copy, reverse and sort sequences of symbols, the smallest tasks for two stacks.

    copy       c a b  ->  c a b     attention must follow the position
    reverse    c a b  ->  b a c     attention must run against it
    sort       c a b  ->  a b c     attention must follow the content

Every source is drawn once, so no part shares one with another: what is learned by heart is no use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from numpylm.tasks.dataset import Dataset, Pair, TaskData
from numpylm.tasks.scores import accuracy, token_accuracy
from numpylm.tasks.text_to_text import PairTask

DEFAULT = "generated"
STREAM = 302
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
OPERATIONS: dict[str, Callable[[str], str]] = {
    "copy": lambda s: s,
    "reverse": lambda s: s[::-1],
    "sort": lambda s: "".join(sorted(s)),
}


def load(
    source: str | Path = DEFAULT,
    *,
    operation: str = "reverse",
    symbols: int = 20,
    length: int = 10,
    sizes: tuple[int, int, int] = (20_000, 500, 1_000),
    seed: int = 0,
) -> Dataset:
    """Sequences of 1 to ``length`` symbols; lengths are equally likely while they last.

    ``symbols`` letters from a on, ``sizes`` of train, valid and test. Raises ``ValueError`` for
    another source, an operation that is not known, symbols outside 1 to 26, or more sequences
    than half of those that exist.
    """
    if str(source) != DEFAULT:
        raise ValueError(f"the task {operation} is only {DEFAULT}, not {str(source)!r}")
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is none of {', '.join(OPERATIONS)}")
    if not (1 <= symbols <= len(ALPHABET) and length >= 1 and min(sizes) >= 0):
        raise ValueError(f"symbols={symbols}, length={length}, sizes={sizes} make no sequences")
    exist = sum(symbols**n for n in range(1, length + 1))
    if 2 * sum(sizes) > exist:
        raise ValueError(f"{sum(sizes)} is more than half of the {exist} sequences that exist")
    strings = _distinct(symbols, length, sum(sizes), seed)
    act = OPERATIONS[operation]
    pairs = [Pair(" ".join(s), " ".join(act(s))) for s in strings]
    n, m = sizes[0], sizes[0] + sizes[1]
    return Dataset(operation, pairs[:n], pairs[n:m], pairs[m:])


def _distinct(symbols: int, length: int, count: int, seed: int) -> list[str]:
    """``count`` different strings, drawn in rounds until there are enough, then shuffled."""
    rng = np.random.default_rng([STREAM, seed])
    strings: dict[str, None] = {}
    while len(strings) < count:
        letters = rng.integers(symbols, size=(count, length)).tolist()
        lengths = rng.integers(1, length + 1, size=count).tolist()
        for row, n in zip(letters, lengths, strict=True):
            strings["".join(ALPHABET[i] for i in row[:n])] = None
    drawn = list(strings)[:count]
    return [drawn[i] for i in rng.permutation(count)]


def baselines(dataset: Dataset) -> dict[str, float]:
    """Exact match on the test part of answering with the source as it is."""
    references = [pair.target for pair in dataset.test]
    return {"copy the source": accuracy([pair.source for pair in dataset.test], references)}


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Exact match, and the share of the symbols that are right at their place."""
    return {
        "exact_match": accuracy(predictions, references),
        "token_accuracy": token_accuracy(predictions, references),
    }


class Copy(PairTask):
    """The sequence as it is."""

    name = "copy"
    data = TaskData(partial(load, operation="copy"), baselines, score)
    default = DEFAULT


class Reverse(PairTask):
    """The sequence from its end."""

    name = "reverse"
    data = TaskData(partial(load, operation="reverse"), baselines, score)
    default = DEFAULT


class Sort(PairTask):
    """The sequence in the order of the alphabet."""

    name = "sort"
    data = TaskData(partial(load, operation="sort"), baselines, score)
    default = DEFAULT
