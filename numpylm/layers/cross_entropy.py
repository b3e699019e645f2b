"""§2.3 Softmax cross-entropy, the loss of a language model, in nats per token.

    loss = −(1 / n) Σ_t log softmax(logits_t)[target_t],      n = number of predicted tokens

Softmax and loss are one function: log softmax = x − max − log Σ exp(x − max) cannot overflow, and
the gradient of the two together is just softmax − one-hot.
"""

from __future__ import annotations

import numpy as np

from numpylm.parameters import Array

IGNORE = -1  # the target of a position that is not to be predicted


def cross_entropy_forward(
    logits: Array, targets: Array, *, ignore_index: int = IGNORE, normalizer: float | None = None
) -> tuple[Array, tuple]:
    """Mean −log probability of the targets; logits (..., V), integer targets (...) -> scalar.

    Positions whose target is ``ignore_index`` count neither in the sum nor in n. ``normalizer``
    replaces n: a shard of a batch divides by the tokens of the *whole* batch, and then shard
    losses and gradients just add up. Raises ``ValueError`` if shapes disagree, if a target is
    outside the vocabulary, or if there is nothing to predict.
    """
    vocab_size = logits.shape[-1]
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets {targets.shape} do not match logits {logits.shape}")
    rows = logits.reshape(-1, vocab_size)
    predicted = np.flatnonzero(targets.ravel() != ignore_index)
    wanted = targets.ravel()[predicted]
    if wanted.size and (wanted.min() < 0 or wanted.max() >= vocab_size):
        raise ValueError(
            f"targets span {wanted.min()} to {wanted.max()}, the vocabulary has {vocab_size}"
        )
    n = wanted.size if normalizer is None else normalizer
    if normalizer is not None and not normalizer > 0:
        raise ValueError(f"the normalizer is {normalizer}; it must be positive")
    if n == 0:
        raise ValueError(f"no token to predict: every target is the ignore index {ignore_index}")
    shifted = rows - rows.max(axis=-1, keepdims=True)
    log_likelihood = shifted[predicted, wanted].sum()
    probabilities = np.exp(shifted, out=shifted)
    total = probabilities.sum(axis=-1, keepdims=True)
    log_likelihood -= np.log(total[predicted]).sum()
    probabilities /= total
    loss = np.asarray(-log_likelihood / rows.dtype.type(n))
    return loss, (probabilities.reshape(logits.shape), predicted, wanted, n)


def cross_entropy_backward(dloss: Array, cache: tuple) -> Array:
    """dlogits = dloss / n · (softmax(logits) − one_hot(target)); zero where nothing is predicted.

    Derivation: ∂(log Σ_j exp x_j)/∂x_i = softmax(x)_i, and −x_target contributes −1 at the target.
    """
    probabilities, predicted, wanted, n = cache
    scale = probabilities.dtype.type(float(dloss) / n)  # a float32 dloss must not round 1 / n
    dlogits = probabilities * scale
    rows = dlogits.reshape(-1, dlogits.shape[-1])
    rows[predicted, wanted] -= scale
    if predicted.size < len(rows):
        rows[np.setdiff1d(np.arange(len(rows)), predicted)] = 0.0
    return dlogits
