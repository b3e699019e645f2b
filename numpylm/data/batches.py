"""Batches: from one long stream of ids to (ids, targets) of shape (B, T).

Targets are the ids shifted by one: the target of position t is the token at t + 1.

    windows    each row is a window of the stream, the windows of a pass in random order
    buckets    examples of similar length, so that little is padding
    bptt       the textbook's columns: the stream is cut into B equal parts that run side by side;
               step s takes the next T tokens of each, the last chunk may be shorter

A batch is a function of (seed, step) alone. Nothing needs to be remembered to resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from numpylm.parameters import Array

Batch = dict[str, Array]  # the inputs of an objective by name; the first axis counts sequences

STREAM = 101  # keeps the random numbers of batches apart from those of other purposes


@dataclass(frozen=True)
class RandomWindows:
    """B windows of T tokens, shuffled: a pass cuts the stream into windows that lie side by side
    behind a random offset, and visits each of them once, in random order.

    Drawing every window anew would leave a share of e^−k of the text unseen after as many tokens
    as k passes have. Raises ``ValueError`` if no window fits.
    """

    stream: Array  # (n,) ids
    batch_size: int
    length: int
    seed: int

    def __post_init__(self) -> None:
        require_window(self.stream, self.length, "training")

    @property
    def windows_per_pass(self) -> int:
        """One fewer than fit, so that the offset has room."""
        return max((len(self.stream) - 1) // self.length - 1, 1)

    def batch(self, step: int) -> tuple[Array, Array]:
        """ids and targets (B, T) of a step."""
        count = self.windows_per_pass
        room = len(self.stream) - count * self.length  # offsets that leave a target for the last
        place = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        starts = np.empty(self.batch_size, np.int64)
        for number in np.unique(place // count):
            here = place // count == number
            offset, order = _shuffled_pass(self.seed, int(number), count, room)
            starts[here] = offset + order[place[here] % count] * self.length
        index = starts[:, None] + np.arange(self.length)
        return self.stream[index], self.stream[index + 1]

    def batches(self, step: int) -> list[Batch]:
        """The same, named as a causal objective names them, as a training loop asks for it."""
        ids, targets = self.batch(step)
        return [{"ids": ids, "targets": targets}]


@lru_cache(maxsize=4)
def _shuffled_pass(seed: int, number: int, count: int, room: int) -> tuple[int, Array]:
    """The offset of a pass and the order of its windows."""
    rng = np.random.default_rng([STREAM, seed, number])
    return int(rng.integers(room)), rng.permutation(count)


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


@dataclass(frozen=True)
class LengthBuckets:
    """Indices of examples, B a step, of similar length; every pass visits each of them once.

    In a pool of 50 batches, drawn at random, neighbours in length go together; then the batches
    are shuffled. The last batch of a pass may be smaller.
    """

    lengths: Array  # (n,)
    batch_size: int
    seed: int

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over the examples."""
        return -(-len(self.lengths) // self.batch_size)

    def batch(self, step: int) -> list[int]:
        """The examples of a step."""
        number, place = divmod(step, self.batches_per_epoch)
        lengths = np.asarray(self.lengths, np.int64).tobytes()
        return _bucketed_pass(lengths, self.batch_size, self.seed, number)[place]


@lru_cache(maxsize=2)
def _bucketed_pass(lengths: bytes, batch_size: int, seed: int, number: int) -> list[list[int]]:
    """The batches of a pass over all examples."""
    rng = np.random.default_rng([STREAM, seed, number])
    length = np.frombuffer(lengths, np.int64)
    order, pool, batches = rng.permutation(len(length)), 50 * batch_size, []
    for i in range(0, len(order), pool):
        chunk = order[i : i + pool]
        chunk = chunk[np.argsort(length[chunk], kind="stable")].tolist()
        batches += [chunk[j : j + batch_size] for j in range(0, len(chunk), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


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
