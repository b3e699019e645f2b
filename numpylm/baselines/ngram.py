"""§1.1 N-gram models: predict the next token from the last n − 1 by counting.

    unigram    P(w)              how often w occurs
    bigram     P(w | u)          how often w follows u
    trigram    P(w | t u)        how often w follows t u

Counts are sparse, so two classical ways of smoothing:

    add-k          P(w | h) = (c(h w) + k) / (c(h ·) + k V)
    Witten-Bell    P(w | h) = (c(h w) + N(h) P(w | h′)) / (c(h ·) + N(h))

N(h) is the number of different tokens seen after h, and h′ is h without its oldest token: the more
kinds of continuation, the more is left to the shorter history. The empty history falls back to
1 / V; one that was never seen leaves all to the shorter one. Nothing is tuned. A neural model that
does not beat the trigram has learned no more than counting gives. Source: Chen & Goodman 1999,
Computer Speech & Language 13:359–394, §2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array


@dataclass(frozen=True)
class _Counts:
    """c(h w) and, for each history h, c(h ·) and N(h), as sorted keys."""

    grams: Array
    gram_counts: Array
    histories: Array
    history_counts: Array
    history_types: Array


@dataclass(frozen=True)
class NGram:
    """An n-gram model over V ids; build it with ``train_ngram``."""

    order: int
    vocab_size: int
    add_k: float | None  # k, or None for Witten-Bell
    counts: tuple[_Counts, ...]  # of orders 1 … n

    def probabilities(self, stream: Array) -> Array:
        """P(stream[t] | the order − 1 tokens before it) for t = 1 … T − 1; shape (T − 1,).

        At the start of the stream the history is shorter: there Witten-Bell uses a shorter order,
        add-k, which has none, 1 / V. Raises ``ValueError`` if T < 2 or an id is not below V.
        """
        if len(stream) < 2:
            raise ValueError(f"{len(stream)} tokens: nothing to predict, at least 2 are needed")
        _check_ids(stream, self.vocab_size)
        p = np.full(len(stream) - 1, 1.0 / self.vocab_size)
        for order in range(1, min(self.order, len(stream)) + 1):
            if self.add_k is not None and order < self.order:
                continue  # add-k looks at no shorter history
            first = max(order - 1, 1)
            grams = _keys(stream, order, self.vocab_size)[first - (order - 1) :]
            p[first - 1 :] = self._smooth(self.counts[order - 1], grams, p[first - 1 :])
        return p

    def loss(self, stream: Array) -> float:
        """Mean −ln P over the tokens 1 … T − 1 of a stream, in nats per token."""
        return float(-np.log(self.probabilities(stream)).mean())

    def _smooth(self, counts: _Counts, grams: Array, shorter: Array) -> Array:
        c_gram = _look_up(counts.grams, counts.gram_counts, grams)
        histories = grams // self.vocab_size
        c_history = _look_up(counts.histories, counts.history_counts, histories)
        if self.add_k is not None:
            return (c_gram + self.add_k) / (c_history + self.add_k * self.vocab_size)
        types = _look_up(counts.histories, counts.history_types, histories)
        seen = c_history > 0
        total = np.where(seen, c_history + types, 1)
        return np.where(seen, (c_gram + types * shorter) / total, shorter)


def train_ngram(stream: Array, order: int, vocab_size: int, *, add_k: float | None = None) -> NGram:
    """Count a stream of ids (T,). Witten-Bell by default, add-k if ``add_k`` is given.

    Raises ``ValueError`` if the order is below 1, the stream is shorter than the order, k is not
    positive, V ** order does not fit 63 bits, or an id is not one of 0 … V − 1.
    """
    if order < 1 or len(stream) < order:
        raise ValueError(f"{len(stream)} tokens cannot make {order}-grams")
    if add_k is not None and not add_k > 0:
        raise ValueError(f"add-k needs k > 0, not {add_k}")
    if vocab_size**order >= 2**63:
        raise ValueError(f"{order}-grams over a vocabulary of {vocab_size} do not fit 63 bits")
    _check_ids(stream, vocab_size)
    counts = tuple(_count(stream, n, vocab_size) for n in range(1, order + 1))
    return NGram(order, vocab_size, add_k, counts)


def ngram_losses(train: Array, valid: Array, vocab_size: int) -> dict[str, float]:
    """Validation loss of the three classical models, in nats per token.

    Without the trigram for a vocabulary so large that its keys do not fit 63 bits.
    """
    names = {"unigram": 1, "bigram": 2, "trigram": 3}
    return {
        name: train_ngram(train, n, vocab_size).loss(valid)
        for name, n in names.items()
        if vocab_size**n < 2**63
    }


def _check_ids(stream: Array, vocab_size: int) -> None:
    """Two n-grams would get the same key if an id were not a digit in base V."""
    low, high = np.min(stream), np.max(stream)
    if low < 0 or high >= vocab_size:
        raise ValueError(f"ids from {low} to {high} do not fit a vocabulary of {vocab_size}")


def _count(stream: Array, order: int, vocab_size: int) -> _Counts:
    grams, gram_counts = np.unique(_keys(stream, order, vocab_size), return_counts=True)
    histories, starts = np.unique(grams // vocab_size, return_index=True)
    history_counts = np.add.reduceat(gram_counts, starts)
    history_types = np.diff(np.append(starts, len(grams)))
    return _Counts(grams, gram_counts, histories, history_counts, history_types)


def _keys(stream: Array, order: int, vocab_size: int) -> Array:
    """One integer for each n-gram, its ids as digits in base V; the last id is the last digit."""
    keys = np.zeros(len(stream) - order + 1, np.int64)
    for i in range(order):
        keys = keys * vocab_size + stream[i : i + len(keys)]
    return keys


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """values[keys == wanted], 0 where there is none; keys are sorted."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
