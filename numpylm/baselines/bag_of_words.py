"""Logistic regression on the words of a text, in any order: what a classifier must beat.

A text with the set of words S, each seen at least twice in training, is x = Σ_{w in S} e_w / √|S|,
a unit vector; b is a bias for each class.

    z = x W + b        p = softmax(z)        L = mean(−log p[label]) + λ/2 ‖W‖²
    dz = (p − one-hot(label)) / n            dW = xᵀ dz + λ W            db = Σ dz

L is convex, so there is one answer, and a small gradient shows that it is reached. Nesterov's
accelerated gradient finds it, with a step for each word: since x ≥ 0 and softmax's curvature is at
most 1/2, L's is at most that of the diagonal h_w = mean(x_w Σ_v x_v) / 2 + λ (v runs over the words
of the text and the bias), and the step is 1 / h_w, long for rare words: on SST-2 and for λ = 10⁻⁴,
53 steps instead of 541. When a step points uphill the momentum starts anew (O'Donoghue & Candès
2015, Found. Comput. Math. 15:715–732, §3.2). λ is the one that is most accurate on the validation
texts. Source of the model: Jurafsky & Martin, *Speech and Language Processing*, ch. 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array, pack

PENALTIES = (1e-2, 1e-3, 1e-4)  # from strong to weak: each starts where the last one ended


@dataclass
class Regression:
    """weight (V, K) for each word and class, bias (K,)."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Bags:
    """n texts: x[texts[i], words[i]] = values[i], and 0 elsewhere."""

    n: int
    texts: Array
    words: Array
    values: Array


def regression_forward(
    p: Regression, x: Bags, labels: Array, *, penalty: float
) -> tuple[float, Array]:
    """The loss in nats, and as the cache dz (n, K) for ``labels`` (n,) of class numbers."""
    z = _multiply(x.texts, x.words, x.values, p.weight, x.n) + p.bias
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    rows = np.arange(x.n)
    loss = penalty / 2 * np.sum(p.weight**2) - log_p[rows, labels].mean()
    dz = np.exp(log_p)
    dz[rows, labels] -= 1
    return float(loss), dz / x.n


def regression_backward(
    p: Regression, dp: Regression, dz: Array, x: Bags, *, penalty: float
) -> None:
    """Add the loss's gradient to ``dp``."""
    dp.weight += _multiply(x.words, x.texts, x.values, dz, len(p.weight)) + penalty * p.weight
    dp.bias += dz.sum(axis=0)


def fit(
    p: Regression, x: Bags, labels: Array, penalty: float, tolerance: float = 1e-2
) -> Regression:
    """The minimum of L, sought from p on, until ‖gradient‖ <= tolerance · √λ.

    Raises ``ValueError`` if 5000 steps are not enough.
    """
    theta, _ = pack(p)
    ahead, q = pack(p)  # where the momentum leads: there the gradient is taken
    gradient, dp = pack(p)
    step, momentum = 1 / (_curvature(x, p) + penalty), 1.0
    for _ in range(5000):
        gradient[:] = 0
        _, dz = regression_forward(q, x, labels, penalty=penalty)
        regression_backward(q, dp, dz, x, penalty=penalty)
        if np.square(gradient).sum() <= tolerance**2 * penalty:
            return q
        following = ahead - step * gradient
        if (gradient * (following - theta)).sum() > 0:
            momentum = 1.0
        larger = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead[:] = following + (momentum - 1) / larger * (following - theta)
        theta, momentum = following, larger
    raise ValueError(f"logistic regression did not converge for λ = {penalty}")


def _curvature(x: Bags, p: Regression) -> Array:
    """The diagonal above without λ, for every element of the flat vector of p."""
    sums = np.bincount(x.texts, x.values, x.n) + 1
    words = np.bincount(x.words, x.values * sums[x.texts], len(p.weight)) / (2 * x.n)
    bias = np.full(p.bias.shape, sums.mean() / 2)
    return pack(Regression(np.repeat(words[:, None], len(bias), axis=1), bias))[0]


def bag_of_words(
    train: Sequence[tuple[str, str]], valid: Sequence[tuple[str, str]], texts: Sequence[str]
) -> list[str]:
    """The predicted label of each text, learned from (text, label) pairs; texts have blanks."""
    words = Counter(word for text, _ in train for word in dict.fromkeys(text.split()))
    vocabulary = {word: i for i, word in enumerate(w for w, n in words.items() if n >= 2)}
    classes = sorted({label for _, label in train})
    x = _bags([text for text, _ in train], vocabulary)
    labels = np.array([classes.index(label) for _, label in train])
    x_valid = _bags([text for text, _ in valid], vocabulary)
    p = Regression(np.zeros((len(vocabulary), len(classes))), np.zeros(len(classes)))
    fitted, right = [], []
    for penalty in PENALTIES:
        p = fit(p, x, labels, penalty)
        answers = zip(_predict(p, x_valid), valid, strict=True)
        fitted.append(p)
        right.append(sum(classes[k] == label for k, (_, label) in answers))
    best = fitted[int(np.argmax(right))]
    return [classes[k] for k in _predict(best, _bags(texts, vocabulary))]


def _predict(p: Regression, x: Bags) -> list[int]:
    z = _multiply(x.texts, x.words, x.values, p.weight, x.n) + p.bias
    return z.argmax(axis=1).tolist()


def _bags(texts: Sequence[str], vocabulary: dict[str, int]) -> Bags:
    found = [[vocabulary[w] for w in sorted(set(t.split())) if w in vocabulary] for t in texts]
    lengths = np.array([len(words) for words in found], np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    columns = np.array([word for words in found for word in words], np.int64)
    return Bags(len(texts), rows, columns, 1 / np.sqrt(lengths[rows]))


def _multiply(rows: Array, columns: Array, values: Array, matrix: Array, n: int) -> Array:
    """The sparse (n, M) matrix with ``values`` at (rows, columns) times a dense one (M, K)."""
    by_class = (np.bincount(rows, values * column[columns], n) for column in matrix.T.copy())
    return np.stack(list(by_class), axis=1)
