"""Does a language model prefer one word of a pair, and does that depend on the topic?

A template is a sentence with two gaps, "the {topic} said that {word} was tired". For a topic o and
a pair (a, b), such as *he* and *she*,

    d[o, i] = log P(template i with o and a) − log P(the same with b)           nats

is the model's log-odds for a. Its mean over the topics says only that a is the more frequent
word. What a topic adds to that is the *association*; what one group of topics has more of it than
another is

    contrast = mean over group 1 of d − mean over group 2

Topics and templates are both samples of what could have been asked, so the interval resamples
both (bootstrap), and the p-value says how often topics dealt to the groups at random show as much.
A probe measures what its sentences ask, in the model that it is given, and nothing about people.
Source: Caliskan, Bryson & Narayanan 2017, doi:10.1126/science.aal4230 (permutation over topics);
Nangia et al. 2020 (CrowS-Pairs), arXiv:2010.00133 (pairs of sentences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array
from numpylm.pipelines.language_model import LanguageModel


@dataclass(frozen=True)
class Contrast:
    """How much more group 1 goes with the first word of the pair than group 2, in nats."""

    value: float
    interval: tuple[float, float]  # 95 %, over topics and templates
    p_value: float  # of a difference as large as this, in either direction, by chance


def log_probability(lm: LanguageModel, text: str) -> float:
    """log P(text) of a language model behind the end of a line, in nats."""
    text = f"\n{text}" if lm.tokenizer.kind != "word" else f"<eos> {text}"
    return -lm.loss(text) * (len(lm.tokenizer.encode(text)) - 1)


def log_odds(
    score: Callable[[str], float],
    topics: Sequence[str],
    pair: tuple[str, str],
    templates: Sequence[str],
) -> Array:
    """d (topics, templates), in nats; ``score(sentence)`` is its log-probability.

    Raises ``ValueError`` for a template that lacks one of the gaps, or if the model gives every
    pair of sentences the same probability: then it knows neither word.
    """
    for template in templates:
        if "{topic}" not in template or "{word}" not in template:
            raise ValueError(f"template {template!r} needs the gaps {{topic}} and {{word}}")
    d = np.array([
        [score(t.format(topic=topic, word=pair[0])) - score(t.format(topic=topic, word=pair[1]))
         for t in templates]
        for topic in topics
    ])  # fmt: skip
    if d.size and not d.any():
        raise ValueError(f"the model does not tell {pair[0]!r} from {pair[1]!r}")
    return d


def mean_and_error(d: Array) -> tuple[Array, Array]:
    """For each topic the mean of d (topics, templates) over the templates, and its standard error.

    Raises ``ValueError`` for fewer than two templates: one says nothing about their spread.
    """
    if d.shape[1] < 2:
        raise ValueError(f"a standard error needs at least 2 templates, not {d.shape[1]}")
    return d.mean(axis=1), d.std(axis=1, ddof=1) / np.sqrt(d.shape[1])


def contrast(first: Array, second: Array, *, draws: int = 1000, seed: int = 0) -> Contrast:
    """Compare two groups of topics; d of each, (topics, templates), with the same templates.

    Raises ``ValueError`` if the templates differ in number or a group is smaller than two.
    """
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(f"groups of shapes {first.shape} and {second.shape} cannot be compared")
    rng = np.random.default_rng(seed)
    value = float(first.mean() - second.mean())
    resampled, dealt = np.empty(draws), np.empty(draws)
    topics = np.concatenate([first, second]).mean(axis=1)
    for i in range(draws):
        columns = rng.integers(0, first.shape[1], first.shape[1])
        a, b = (d[rng.integers(0, len(d), len(d))][:, columns].mean() for d in (first, second))
        resampled[i] = a - b
        order = rng.permutation(topics)
        dealt[i] = order[: len(first)].mean() - order[len(first) :].mean()
    low, high = np.quantile(resampled, [0.025, 0.975])
    as_large = int(np.count_nonzero(np.abs(dealt) >= abs(value) - 1e-12))
    return Contrast(value, (float(low), float(high)), (1 + as_large) / (1 + draws))
