"""Special tokens, and sequences of different lengths as one array.

They stand behind the tokenizer's own ids, in the same order for every architecture, so that a
model keeps them when it is fine-tuned:

    [PAD]  [CLS]  [SEP]  [MASK]  <s>  </s>  <0> … <31>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array

N_SENTINELS = 32
N_SPECIAL = 6 + N_SENTINELS


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the special tokens of a vocabulary of ``size`` ordinary ones."""

    size: int

    @property
    def pad(self) -> int:
        """Fills short sequences; a mask hides it."""
        return self.size

    @property
    def cls(self) -> int:
        """The first token of an encoder's input; its vector stands for the whole."""
        return self.size + 1

    @property
    def sep(self) -> int:
        """Ends each part of an encoder's input."""
        return self.size + 2

    @property
    def mask(self) -> int:
        """Stands for a token that is to be predicted."""
        return self.size + 3

    @property
    def start(self) -> int:
        """What a decoder sees first."""
        return self.size + 4

    @property
    def end(self) -> int:
        """What a decoder says last."""
        return self.size + 5

    @property
    def sentinels(self) -> Array:
        """Stand for spans that were left out, (32,)."""
        return np.arange(self.size + 6, self.size + N_SPECIAL)

    @property
    def vocab_size(self) -> int:
        """Ordinary and special tokens, V."""
        return self.size + N_SPECIAL

    @property
    def ordinary(self) -> Array:
        """All other ids, (size,)."""
        return np.arange(self.size)


def pad_rows(rows: Sequence[Array], fill: int) -> Array:
    """Sequences of ids side by side, (B, length of the longest), ``fill`` at the end of others."""
    table = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
