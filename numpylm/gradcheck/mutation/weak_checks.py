"""Checks that cannot fail: published tests re-enacted, each with a bug that it lets through.

Each holds a wrong backward against the right one, which here stands for the reference of the
original (PyTorch, finite differences), in the way the original does. ``passes`` says that the
wrong one passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.gradcheck.mutation.engine import implanted
from numpylm.gradcheck.mutation.published_bugs import (
    SOFTMAX_BY_BATCH,
    TRANSPOSED_DK,
    UNDROPPED_DV,
    ZERO,
    Bug,
)
from numpylm.layers.attention import attention_backward, attention_forward
from numpylm.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from numpylm.layers.multi_head import multi_head_backward, multi_head_forward, multi_head_init
from numpylm.layers.softmax import softmax_backward, softmax_forward
from numpylm.parameters import pack, view


@dataclass(frozen=True)
class WeakCheck:
    """A way to check, where it was found, and a bug that it does not see."""

    title: str
    origin: str
    bug: Bug
    check: Callable[[Bug], bool]

    @property
    def passes(self) -> bool:
        """Does the bug pass?"""
        return self.check(self.bug)


def _ones(bug: Bug) -> bool:
    y, cache = softmax_forward(_normal(3, 5, 7))
    return _agree(bug, softmax_backward, np.ones_like(y), cache)


def _one_key(bug: Bug) -> bool:
    q, k, v = _normal(3, 5, 4), _normal(3, 1, 4), _normal(3, 1, 4)
    y, cache = attention_forward(q, k, v)
    return _agree(bug, attention_backward, _normal(*y.shape), cache)


def _with_itself(bug: Bug) -> bool:
    wrong = implanted(bug.mutant, softmax_backward)
    y, cache = softmax_forward(_normal(3, 5, 7))
    dy = _normal(*y.shape)
    return np.array_equal(wrong(dy, cache), wrong(dy, cache))


def _loose(bug: Bug) -> bool:
    targets = np.random.default_rng(1).integers(0, 11, (4, 64))
    loss, cache = cross_entropy_forward(_normal(4, 64, 11), targets)
    return _agree(bug, cross_entropy_backward, np.ones_like(loss), cache, atol=2e-2)


def _no_dropout(bug: Bug) -> bool:
    y, cache = attention_forward(_normal(3, 5, 4), _normal(3, 7, 4), _normal(3, 7, 6))
    return _agree(bug, attention_backward, _normal(*y.shape), cache)


def _small_weights(bug: Bug) -> bool:
    rng = np.random.default_rng(7)
    theta, p = pack(multi_head_init(rng, 8, bias=False), np.float64)
    theta[:] = 0.02 * rng.standard_normal(theta.size)
    x, dy = rng.standard_normal((2, 2, 4, 8))
    _, cache = multi_head_forward(p, x, n_heads=2, causal=True)
    wrong = implanted(bug.mutant, multi_head_backward)
    right_dx, dx = (f(p, view(p, 0 * theta), dy, cache) for f in (multi_head_backward, wrong))
    return np.allclose(dx, right_dx, rtol=0.0, atol=1e-4)


def _agree(bug: Bug, backward: Callable, dy: Any, cache: Any, *, atol: float = 1e-6) -> bool:
    right, wrong = (f(dy, cache) for f in (backward, implanted(bug.mutant, backward)))
    sides = zip(*(x if isinstance(x, tuple) else (x,) for x in (right, wrong)), strict=True)
    return all(np.allclose(a, b, rtol=0.0, atol=atol) for a, b in sides)


def _normal(*shape: int) -> Any:
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)


WEAK_CHECKS = [
    WeakCheck("an upstream gradient of ones", "ddbourgin/numpy-ml", SOFTMAX_BY_BATCH, _ones),
    WeakCheck("attention with a single key", "ddbourgin/numpy-ml", TRANSPOSED_DK, _one_key),
    WeakCheck("a gradient compared with itself", "linkedin/Liger-Kernel #359", SOFTMAX_BY_BATCH,
              _with_itself),
    WeakCheck("an absolute tolerance of 2e-2", "karpathy/llm.c", ZERO, _loose),
    WeakCheck("weights of 0.02, only dX, atol 1e-4", "codiceSpaghetti/numpyGPT", TRANSPOSED_DK,
              _small_weights),
    WeakCheck("dropout switched off", "Ultron09/Numpy-Transformer", UNDROPPED_DV, _no_dropout),
]  # fmt: skip
