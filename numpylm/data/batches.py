"""§5.1 Batches: from one long stream of ids to (ids, targets) of shape (B, T).

Targets are the ids shifted by one: the target of position t is the token at t + 1.

    windows    each row starts at a random place of the stream
    bptt       the textbook's columns: the stream is cut into B equal parts that run side by side;
               step s takes the next T tokens of each, the last chunk may be shorter

A batch is a function of (seed, step) alone. Nothing needs to be remembered to resume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array

STREAM = 101  # keeps the random numbers of batches apart from those of other purposes


@dataclass(frozen=True)
class RandomWindows:
    """B windows of T tokens from random places. Raises ``ValueError`` if none fits."""

    stream: Array  # (n,) ids
    batch_size: int
    length: int
    seed: int

    def __post_init__(self) -> None:
        require_window(self.stream, self.length, "training")

    def batch(self, step: int) -> tuple[Array, Array]:
        """ids and targets (B, T) of a step."""
        rng = np.random.default_rng([STREAM, self.seed, step])
        starts = rng.integers(0, len(self.stream) - self.length, self.batch_size)
        index = starts[:, None] + np.arange(self.length)
        return self.stream[index], self.stream[index + 1]


@dataclass(frozen=True)
class BPTTColumns:
    """The stream in B columns, T tokens a step, over and over.

    A column holds ⌊n / B⌋ tokens; the n mod B tokens at the end are left out. A pass has
    ⌈(⌊n / B⌋ − 1) / T⌉ chunks. Raises ``ValueError`` if a column has fewer than 2 tokens.
    """

    stream: Array  # (n,) ids
    batch_size: int
    length: int

    def __post_init__(self) -> None:
        if len(self.stream) // self.batch_size < 2:
            raise ValueError(
                f"{len(self.stream)} training tokens cannot fill {self.batch_size} columns"
            )

    @property
    def columns(self) -> Array:
        """(B, ⌊n / B⌋), a view."""
        height = len(self.stream) // self.batch_size
        return self.stream[: height * self.batch_size].reshape(self.batch_size, height)

    @property
    def chunks_per_epoch(self) -> int:
        """Batches in one pass over the stream."""
        return -(-(self.columns.shape[1] - 1) // self.length)

    def batch(self, step: int) -> tuple[Array, Array]:
        """ids and targets (B, T) of a step; the last chunk of a pass may be shorter."""
        columns = self.columns
        start = step % self.chunks_per_epoch * self.length
        stop = min(start + self.length, columns.shape[1] - 1)
        return columns[:, start:stop], columns[:, start + 1 : stop + 1]


def evaluation_windows(stream: Array, length: int) -> tuple[Array, Array]:
    """All full windows side by side, without overlap: ids and targets (⌊(n − 1) / T⌋, T).

    Raises ``ValueError`` if not even one fits.
    """
    require_window(stream, length, "evaluation")
    count = (len(stream) - 1) // length
    used = stream[: count * length + 1]
    return used[:-1].reshape(count, length), used[1:].reshape(count, length)


def require_window(stream: Array, length: int, what: str) -> None:
    """Raise ``ValueError`` unless a window and the target of its last token fit."""
    if len(stream) < length + 1:
        raise ValueError(
            f"the {what} text has {len(stream)} tokens, a context of {length} needs {length + 1}"
        )
