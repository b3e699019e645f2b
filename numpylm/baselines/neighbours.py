"""The floors of masked language modelling: guess a hidden word without reading the text.

    unigram       the most frequent token of all
    neighbours    argmax_x  c(l, x) · (c(x, r) + k) / c(x)      l, r: the tokens beside the gap

The second is P(x | l) P(r | x) with counts of pairs; where no x was seen after l, the most frequent
x before r, and without that the unigram.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from numpylm.parameters import Array


class NeighbourModel:
    """Counts of a training stream (n,) of ids."""

    def __init__(self, stream: Array, k: float = 0.01) -> None:
        ids = stream.tolist()
        self.k, self.counts = k, Counter(ids)
        self.after: dict[int, Counter] = defaultdict(Counter)
        self.before: dict[int, Counter] = defaultdict(Counter)
        for left, right in pairwise(ids):
            self.after[left][right] += 1
            self.before[right][left] += 1
        self.most_frequent = self.counts.most_common(1)[0][0]

    def guess(self, left: int, right: int) -> int:
        """The best token between two others."""
        follow, precede = self.after.get(left), self.before.get(right, Counter())
        if follow:
            return max(follow, key=lambda x: follow[x] * (precede[x] + self.k) / self.counts[x])
        return precede.most_common(1)[0][0] if precede else self.most_frequent


def masked_baselines(
    stream: Array, corrupted: Array, targets: Array, ignore: int
) -> dict[str, float]:
    """Accuracy on the masked tokens (targets other than ``ignore``, both (B, T)).

    The neighbours are read from the corrupted text, as the model reads it.
    """
    model = NeighbourModel(stream)
    rows, columns = np.nonzero(targets != ignore)
    wanted = targets[rows, columns]
    padded = np.pad(corrupted, ((0, 0), (1, 1)), constant_values=-1)
    guesses = [
        model.guess(int(padded[i, j]), int(padded[i, j + 2]))
        for i, j in zip(rows, columns, strict=True)
    ]
    return {
        "unigram": float(np.mean(wanted == model.most_frequent)),
        "neighbours": float(np.mean(wanted == np.array(guesses))),
    }
