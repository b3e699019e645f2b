"""Word-by-word translation with a dictionary learned from sentence pairs: IBM model 1.

Each target word t is thought to come from one word s of its source sentence, any of them equally
likely before t is seen. Expectation maximisation, from t(t | s) equal for all:

    E    c(s, t) = Σ over pairs and places of t    t(t | s) / Σ_{s′ in the source} t(t | s′)
    M    t(t | s) = c(s, t) / Σ_{t′} c(s, t′)

A word is then translated by the t with the largest t(t | s), in the order of the source. No word
is moved, inflected by its context, added or left out: what a model must beat. Only words that
occur together are counted, so a table of 10⁴ × 10⁴ words stays small.

Source: Brown et al. 1993, Computational Linguistics 19:263–311, §4.1 (without the empty word).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np

from numpylm.parameters import Array


def train_word_table(pairs: Sequence[tuple[str, str]], steps: int = 5) -> dict[str, str]:
    """The best target word for each source word, from (source, target) texts with blanks.

    Ties go to the target word that was seen first. Raises ``ValueError`` if there is no pair.
    """
    if not pairs:
        raise ValueError("a dictionary cannot be learned from no pairs")
    sources, targets = _number(s for s, _ in pairs), _number(t for _, t in pairs)
    keys, places = _together(sources[1], targets[1], len(targets[0]))
    entries, entry = np.unique(keys, return_inverse=True)
    source, target = entries // len(targets[0]), entries % len(targets[0])
    table = np.ones(len(entries))
    for _ in range(steps):
        likely = table[entry]
        likely /= np.bincount(places, likely)[places]
        counts = np.bincount(entry, likely)
        table = counts / np.bincount(source, counts)[source]
    best = np.lexsort((target, -table, source))
    first = best[np.unique(source[best], return_index=True)[1]]
    return {sources[0][s]: targets[0][t] for s, t in zip(source[first], target[first], strict=True)}


def translate_words(table: dict[str, str], text: str) -> str:
    """Each word by its entry; a word without one stays as it is."""
    return " ".join(table.get(word, word) for word in text.split())


def _number(texts: Iterable[str]) -> tuple[list[str], list[Array]]:
    """All words in the order of their first occurrence, and the texts as their numbers."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    ids = [np.array([numbers[word] for word in text.split()], np.int64) for text in texts]
    return list(numbers), ids


def _together(sources: list[Array], targets: list[Array], base: int) -> tuple[Array, Array]:
    """For each source and target word of each pair: a key of both, and the target's place."""
    keys = [(s[None, :] * base + t[:, None]).ravel() for s, t in zip(sources, targets, strict=True)]
    widths = np.repeat([len(s) for s in sources], [len(t) for t in targets])
    return np.concatenate(keys), np.repeat(np.arange(len(widths)), widths)
