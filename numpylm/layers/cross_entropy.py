"""Softmax cross-entropy, the loss of a language model, in nats per token.

    loss = −(1 / n) Σ_t log softmax(logits_t)[target_t],      n = number of predicted tokens

Label smoothing ε asks for (1 − ε) one-hot + ε / V in place of the one-hot target, so that the model
does not drive probabilities to 0 and 1 (Szegedy et al. 2016, §7; Vaswani et al. 2017, §5.4):

    loss = −(1 / n) Σ_t [(1 − ε) log p_t[target_t] + (ε / V) Σ_j log p_t[j]]

Softmax and loss are one function: log softmax = x − max − log Σ exp(x − max) cannot overflow, and
the gradient of the two together is just softmax − target distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numpylm.parameters import Array

IGNORE = -1  # the target of a position that is not to be predicted


class CrossEntropyCache(NamedTuple):
    probabilities: Array  # (m, V), softmax at the m positions that are predicted
    wanted: Array  # (m,), their targets
    chosen: Array  # (...), booleans: which positions these are
    n: float  # what the loss was divided by
    label_smoothing: float


def cross_entropy_forward(
    logits: Array,
    targets: Array,
    *,
    ignore_index: int = IGNORE,
    normalizer: float | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Array, CrossEntropyCache]:
    """Mean −log probability of the targets; logits (..., V), integer targets (...) -> scalar.

    Positions whose target is ``ignore_index`` count neither in the sum nor in n. ``normalizer``
    replaces n: a shard of a batch divides by the tokens of the *whole* batch, and then shard
    losses and gradients just add up. Raises ``ValueError`` if shapes disagree, if a target is
    outside the vocabulary, if there is nothing to predict, or unless 0 ≤ label_smoothing < 1.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing {label_smoothing} is not in [0, 1)")
    n = counted_targets(logits, targets, ignore_index, normalizer)
    chosen = targets != ignore_index
    x, wanted = logits[chosen], targets[chosen]
    shifted = x - x.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_likelihood = log_p[np.arange(len(wanted)), wanted].sum()
    if label_smoothing:
        uniform = log_p.mean(axis=-1).sum()
        log_likelihood = (1.0 - label_smoothing) * log_likelihood + label_smoothing * uniform
    loss = np.asarray(-log_likelihood / n, logits.dtype)
    return loss, CrossEntropyCache(np.exp(log_p), wanted, chosen, n, label_smoothing)


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache) -> Array:
    """dlogits = dloss / n · (softmax(logits) − target distribution); 0 where nothing is wanted.

    Derivation: ∂(log Σ_j exp x_j)/∂x_i = softmax(x)_i, and −x_target contributes −1 at the target;
    smoothed, −(1 − ε) there and −ε / V everywhere.
    """
    probabilities, wanted, chosen, n, smoothing = cache
    vocab_size = probabilities.shape[-1]
    dx = probabilities - smoothing / vocab_size
    dx[np.arange(len(wanted)), wanted] -= 1.0 - smoothing
    dlogits = np.zeros((*chosen.shape, vocab_size), probabilities.dtype)
    dlogits[chosen] = float(dloss) / n * dx
    return dlogits


def counted_targets(
    logits: Array, targets: Array, ignore_index: int, normalizer: float | None
) -> float:
    """n. Raises ``ValueError`` as ``cross_entropy_forward`` says."""
    vocab_size = logits.shape[-1]
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets {targets.shape} do not match logits {logits.shape}")
    wanted = targets[targets != ignore_index]
    if wanted.size and (wanted.min() < 0 or wanted.max() >= vocab_size):
        raise ValueError(
            f"targets span {wanted.min()} to {wanted.max()}, the vocabulary has {vocab_size}"
        )
    if normalizer is not None and not normalizer > 0:
        raise ValueError(f"the normalizer is {normalizer}; it must be positive")
    n = wanted.size if normalizer is None else float(normalizer)
    if n == 0:
        raise ValueError(f"no token to predict: every target is the ignore index {ignore_index}")
    return n


# Beside the formula stands its quicker twin, if ``numpylm.fast`` is imported.
CROSS_ENTROPY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "plain": (cross_entropy_forward, cross_entropy_backward),
}
