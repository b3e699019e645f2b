"""§6.6 The probability that a whole answer is right: what "exact match" scores, made smooth.

    J = (1 / B) Σ_b Π_t P(y_bt)  =  (1 / B) Σ_b exp(−Σ_t ℓ_bt),        loss = 1 − J

A model that samples its answer token by token, given the right ones before, gets all of it right
with this probability; ℓ_bt = −log P(y_bt) is the surprise of one token in nats. A loss that falls
smoothly becomes a step: at a mean of L nats per token an answer of n tokens has J ≈ exp(−n L).

Source: Section 6.6; Schaeffer et al. 2023, arXiv:2304.15004, §2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numpylm.layers.cross_entropy import IGNORE, counted_targets
from numpylm.layers.softmax import softmax_forward
from numpylm.parameters import Array


class ExactMatchCache(NamedTuple):
    probabilities: Array  # (B, T, V), softmax
    targets: Array  # (B, T)
    right: Array  # (B,), the probability that all of an answer is right


def exact_match_forward(
    logits: Array, targets: Array, *, ignore_index: int = IGNORE
) -> tuple[Array, ExactMatchCache]:
    """1 − the mean probability of the whole answer; logits (B, T, V), targets (B, T) -> scalar.

    Positions whose target is ``ignore_index`` are no part of an answer. Raises ``ValueError`` if
    shapes disagree, a target is outside the vocabulary, or nothing is to be predicted.
    """
    counted_targets(logits, targets, ignore_index, None)
    probabilities, _ = softmax_forward(logits)
    counts = targets != ignore_index
    wanted = np.take_along_axis(probabilities, np.where(counts, targets, 0)[..., None], -1)[..., 0]
    right = np.where(counts, wanted, 1.0).prod(axis=-1)
    loss = np.asarray(1.0 - right.mean(), logits.dtype)
    return loss, ExactMatchCache(probabilities, np.where(counts, targets, -1), right)


def exact_match_backward(dloss: Array, cache: ExactMatchCache) -> Array:
    """dlogits_bt = dloss · (J_b / B) · (softmax(logits_bt) − one-hot of the target).

    Derivation: d(1 − J) = −(1/B) Σ_b d exp(−Σ_t ℓ_bt) = (1/B) Σ_b J_b Σ_t dℓ_bt, and dℓ_bt is that
    of cross-entropy. The factor J_b is why nobody trains on it: while an answer is hardly ever
    right, it has hardly any gradient.
    """
    probabilities, targets, right = cache
    one_hot = targets[..., None] == np.arange(probabilities.shape[-1])
    dsurprise = np.where(targets[..., None] >= 0, probabilities - one_hot, 0.0)
    return float(dloss) / right.size * right[:, None, None] * dsurprise
