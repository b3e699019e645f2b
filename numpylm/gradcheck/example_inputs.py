"""Example inputs on which gradients are checked: small, of sizes that differ pairwise.

Ids repeat and leave out words, targets have gaps, masks hide the end of some sequences: what a
wrong backward could hide behind is not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.layers.cross_entropy import IGNORE
from numpylm.parameters import Array, pack

B, T, S, D, F, V = 3, 5, 7, 8, 10, 11  # batch, queries, keys, d_model, d_ff, vocabulary
HEADS, CONTEXT = 2, 9  # d_head is 4: no two sizes are equal


def token_ids(rng: np.random.Generator) -> Array:
    """(B, T) ids of 8 of the V words: some repeat, three are absent."""
    return rng.integers(0, V - 3, (B, T))


def source_ids(rng: np.random.Generator) -> Array:
    """(B, S) ids, as ``token_ids``."""
    return rng.integers(0, V - 3, (B, S))


def segment_ids(rng: np.random.Generator) -> Array:
    """(B, T), 0 or 1."""
    return rng.integers(0, 2, (B, T))


def pair_labels(rng: np.random.Generator) -> Array:
    """(B,), 0 or 1."""
    return np.array([1, 0, 1])


def token_labels(rng: np.random.Generator) -> Array:
    """(B, T), 0 or 1, some places to ignore."""
    labels = rng.integers(0, 2, (B, T))
    labels[0, -2:] = labels[:, 0] = IGNORE
    return labels


def answer_spans(rng: np.random.Generator) -> Array:
    """(B, 2), first and last place of an answer, inside ``story_places``."""
    return np.array([[2, 3], [1, 1], [1, 2]])


def story_places(rng: np.random.Generator) -> Array:
    """(B, T) booleans, True where an answer may be."""
    return padding(T) & (np.arange(T) > 0)


def targets(rng: np.random.Generator) -> Array:
    """(B, T) ids, some places to ignore."""
    targets = rng.integers(0, V, (B, T))
    targets[0, -2:] = targets[2, 0] = IGNORE
    return targets


def padding(length: int) -> Array:
    """(B, length), False at the end of sequences that are shorter than the first."""
    return np.arange(length) < length - np.arange(B)[:, None]


def visible_pairs(blind: bool = False) -> Array:
    """(B, T, S), a random pattern; ``blind`` hides every key from one query."""
    mask = np.random.default_rng(3).random((B, T, S)) < 0.6
    mask[..., 0] = True
    mask[1, 2] = not blind
    return mask


def jittered(
    tree: Any,
    rng: np.random.Generator | int | list[int],
    *,
    size: float = 0.5,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, Any]:
    """``(theta, p)`` of a tree of parameters, moved away from its start by normal numbers.

    At the start every γ is 1 and every bias 0, and what a backward does to them cannot be seen.
    """
    theta, p = pack(tree, dtype)
    theta += (size * np.random.default_rng(rng).standard_normal(theta.shape)).astype(theta.dtype)
    return theta, p


def frozen_dropout(name: str = "dropout") -> dict[str, Any]:
    """A rate and a generator: every forward pass copies it, so the mask is the same."""
    return {name: 0.3, "rng": np.random.default_rng(2)}
