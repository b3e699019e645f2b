"""§1.1, §3.3, §5.3 What is counted: n-gram probabilities, scores of tasks, sizes of steps."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.baselines.ngram import train_ngram
from numpylm.optim import chunks as chunks_module
from numpylm.optim.clipping import clip_factor, global_norm
from numpylm.optim.optimizer import Optimizer
from numpylm.tasks.scores import accuracy, macro_f1, span_f1, token_accuracy, token_f1
from numpylm.training.train_config import CHOICES, TrainConfig
from tests.properties.strategies import SEEDS

V = 4
STREAMS = st.lists(st.integers(0, V - 1), min_size=4, max_size=20).map(np.array)
WORDS = st.lists(st.sampled_from("abc"), max_size=5).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6)
KINDS = st.sampled_from(["", "A", "A-B"])


@given(STREAMS, STREAMS, st.integers(1, 4), st.sampled_from([None, 0.1, 1.0]))
def test_ngram_probabilities_sum_to_one_after_any_history(train, text, order, add_k):
    model = train_ngram(train, order, V, add_k=add_k)
    each = []
    for word in range(V):  # every place of a text with every word that could stand there
        changed = [np.append(text[:i], word) for i in range(1, len(text))]
        each.append([model.probabilities(stream)[-1] for stream in changed])
    np.testing.assert_allclose(np.sum(each, axis=0), 1.0, atol=1e-12)
    assert np.min(each) > 0
    expected = [each[word][i] for i, word in enumerate(text[1:])]  # and no later word matters
    np.testing.assert_allclose(model.probabilities(text), expected, rtol=1e-12)
    assert model.loss(text) == pytest.approx(-np.mean(np.log(expected)))


@given(STREAMS, st.sampled_from([0.5, 2.0]))
def test_add_k_bigrams_are_the_formula_with_loops(train, k):
    pairs, words = Counter(itertools.pairwise(train)), Counter(train[:-1])
    bigrams = itertools.pairwise(train)
    expected = [(pairs[u, w] + k) / (words[u] + k * V) for u, w in bigrams]
    np.testing.assert_allclose(train_ngram(train, 2, V, add_k=k).probabilities(train), expected)


@pytest.mark.parametrize("metric", [accuracy, macro_f1, token_accuracy, token_f1])
@given(pairs=PAIRS, seed=SEEDS)
def test_a_score_is_a_share_whatever_the_order(metric, pairs, seed):
    predictions, references = zip(*pairs, strict=True)
    score = metric(predictions, references)
    assert 0.0 <= score <= 1.0
    assert metric(references, references) == 1.0
    assert (score == 1.0) >= (predictions == references)
    order = np.random.default_rng(seed).permutation(len(pairs))
    shuffled = ([side[i] for i in order] for side in (predictions, references))
    assert metric(*shuffled) == pytest.approx(score)
    if metric is not token_accuracy:  # precision and recall change places
        assert metric(references, predictions) == pytest.approx(score)


@st.composite
def labelled(draw, length):
    """Spans that do not overlap, and their BIO labels: some begin with I- where nothing forbids."""
    spans, labels, at = set(), ["O"] * length, 0
    while at < length:
        size = draw(st.integers(0, length - at))
        if size == 0:
            at += 1
            continue
        kind = draw(KINDS)
        goes_on = at > 0 and labels[at - 1] != "O" and labels[at - 1][2:] == kind
        begin = "B" if goes_on else draw(st.sampled_from("BI"))
        labels[at : at + size] = [f"{begin}-{kind}"] + [f"I-{kind}"] * (size - 1)
        spans.add((kind, at, at + size))
        at += size
    return spans, labels


@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_span_f1_counts_the_spans_that_were_labelled(data, lengths):
    drawn = [(data.draw(labelled(n)), data.draw(labelled(n))) for n in lengths]
    hits = sum(len(p & r) for (p, _), (r, _) in drawn)
    total = sum(len(p) + len(r) for (p, _), (r, _) in drawn)
    predictions, references = ([pair[side][1] for pair in drawn] for side in (0, 1))
    assert span_f1(predictions, references) == pytest.approx(2 * hits / total if total else 1.0)


@st.composite
def schedules(draw):
    rates = sorted(draw(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=2)))
    return TrainConfig(
        schedule=draw(st.sampled_from(CHOICES["schedule"])), lr=rates[1], min_lr=rates[0],
        steps=draw(st.integers(1, 50)), warmup=draw(st.integers(0, 60)),
        decay_every=draw(st.integers(1, 9)), decay_factor=draw(st.floats(0.1, 1.0)),
    )  # fmt: skip


@given(schedules(), st.lists(st.floats(0, 9), max_size=5))
def test_the_learning_rate_rises_while_it_warms_up_and_then_never(config, val_losses):
    rates = [config.learning_rate(step, val_losses) for step in range(60)]
    assert all(0 < rate <= config.lr * (1 + 1e-12) for rate in rates)
    warm, after = rates[: config.warmup], rates[config.warmup :]
    assert all(a < b for a, b in itertools.pairwise(warm))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(after))
    if config.schedule == "cosine" and config.steps < 60 and config.warmup < 60:
        assert rates[max(config.steps, config.warmup + 1) :] == pytest.approx(
            [config.min_lr] * len(rates[max(config.steps, config.warmup + 1) :])
        )


VECTORS = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6))


@given(VECTORS, st.floats(1e-3, 1e3))
def test_a_clipped_gradient_keeps_its_direction_and_is_no_longer(gradient, longest):
    norm = global_norm(gradient)
    assert norm == pytest.approx(math.sqrt(math.fsum(x * x for x in gradient)))
    factor = clip_factor(norm, longest)
    assert 0 < factor <= 1
    assert global_norm(factor * gradient) <= longest * (1 + 1e-12)
    assert (factor == 1.0) == (norm <= longest)
    assert clip_factor(norm, None) == 1.0


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@given(seed=SEEDS, n=st.integers(1, 40), chunk=st.integers(1, 40), steps=st.integers(1, 3))
def test_an_update_in_chunks_has_the_same_bits(name, seed, n, chunk, steps):
    rng = np.random.default_rng(seed)
    start, decay = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    gradients = rng.standard_normal((steps, n)).astype(np.float32)

    def train(size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks_module, "CHUNK", size)
            optimizer = Optimizer(name, start.copy(), np.abs(decay), momentum=0.9)
            for gradient in gradients:
                optimizer.update(gradient, lr=0.01, scale=0.5)
        return [optimizer.theta, *optimizer.state.values()]

    for whole, cut in zip(train(1 << 15), train(chunk), strict=True):
        assert cut.dtype == np.float32
        np.testing.assert_array_equal(whole, cut)
