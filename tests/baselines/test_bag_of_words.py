"""§3.3 Logistic regression: gradient, optimum, and what it can and cannot tell apart."""

import numpy as np
import pytest

from numpylm.baselines import bag_of_words as module
from numpylm.baselines.bag_of_words import (
    Bags,
    Regression,
    bag_of_words,
    fit,
    regression_backward,
    regression_forward,
)
from numpylm.parameters import pack

V, K, N = 6, 3, 8


@pytest.fixture
def example(rng):
    """A dense x (N, V), the same as bags, and labels; one text has no known word."""
    dense = (rng.random((N, V)) < 0.5) * rng.random((N, V))
    dense[3] = 0
    texts, words = np.nonzero(dense)
    return dense, Bags(N, texts, words, dense[texts, words]), rng.integers(K, size=N)


def plain_loss(p, dense, labels, penalty):
    total = 0.0
    for row, label in zip(dense, labels, strict=True):
        z = [sum(row[v] * p.weight[v, k] for v in range(V)) + p.bias[k] for k in range(K)]
        total -= z[label] - np.log(sum(np.exp(z)))
    return total / N + penalty / 2 * sum(w * w for w in p.weight.ravel())


def test_loss_and_gradient(rng, example):
    dense, x, labels = example
    theta, p = pack(Regression(rng.normal(size=(V, K)), rng.normal(size=K)))
    loss, dz = regression_forward(p, x, labels, penalty=0.3)
    assert loss == pytest.approx(plain_loss(p, dense, labels, 0.3), rel=1e-12)
    gradient, dp = pack(Regression(np.ones((V, K)), np.ones(K)))
    regression_backward(p, dp, dz, x, penalty=0.3)
    for i in range(len(theta)):
        theta[i] += 1e-5
        up = plain_loss(p, dense, labels, 0.3)
        theta[i] -= 2e-5
        down = plain_loss(p, dense, labels, 0.3)
        theta[i] += 1e-5
        assert gradient[i] - 1 == pytest.approx((up - down) / 2e-5, abs=1e-8)  # it adds


@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_the_optimum_has_no_gradient_from_any_start(rng, example, penalty):
    _, x, labels = example
    ends = []
    for scale in (0.0, 3.0):
        start = Regression(scale * rng.normal(size=(V, K)), scale * rng.normal(size=K))
        p = fit(start, x, labels, penalty, tolerance=1e-4)
        loss, dz = regression_forward(p, x, labels, penalty=penalty)
        gradient, dp = pack(Regression(np.zeros((V, K)), np.zeros(K)))
        regression_backward(p, dp, dz, x, penalty=penalty)
        assert np.linalg.norm(gradient) <= 1e-4 * penalty**0.5
        ends.append(loss)
    assert ends[0] == pytest.approx(ends[1], abs=1e-7)


def test_the_steps_are_never_too_long(rng, example):
    """The diagonal bounds the curvature: H − diag(h) has no positive eigenvalue."""
    dense, x, _ = example
    p = Regression(rng.normal(size=(V, K)), rng.normal(size=K))
    wide = np.hstack([dense, np.ones((N, 1))])
    z = dense @ p.weight + p.bias
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    hessian = np.zeros(((V + 1) * K,) * 2)
    for row, q in zip(wide, probabilities, strict=True):
        hessian += np.kron(np.outer(row, row), np.diag(q) - np.outer(q, q)) / N
    bound = np.diag(module._curvature(x, p))
    assert np.linalg.eigvalsh(hessian - bound).max() <= 1e-12


def test_words_decide_and_order_does_not():
    rng = np.random.default_rng(0)
    fillers = ["the", "film", "was", "and", "plot"]

    def text(word):
        words = [word, *(fillers[i] for i in rng.integers(5, size=5))]
        return " ".join(words[i] for i in rng.permutation(6))

    words = {"good": "1", "fine": "1", "bad": "0", "dull": "0"}
    examples = [(text(word), label) for word, label in words.items() for _ in range(20)]
    train, valid = examples[::2], examples[1::2]
    assert bag_of_words(train, valid, [text for text, _ in valid]) == [k for _, k in valid]
    order = [("a b", "0"), ("b a", "1")] * 20
    answers = bag_of_words(order, order, ["a b", "b a"])
    assert answers[0] == answers[1]


def test_texts_without_known_words_get_the_most_frequent_label():
    train = [("x y", "b")] * 3 + [("x y", "a")] * 7
    assert bag_of_words(train, train, ["never seen", ""]) == ["a", "a"]
