"""Scores from 0 to 1 that count what is right, without any other package.

    accuracy      how many predictions equal their reference
    precision     of what was predicted, how much is right      P = hits / predicted
    recall        of what was to be found, how much was         R = hits / wanted
    F1            their harmonic mean                           2 P R / (P + R)
    macro F1      the mean of the labels' F1: rare labels count as much as frequent ones

Sources: van Rijsbergen 1979, *Information Retrieval*, ch. 7; token F1 as in Rajpurkar et al. 2016,
arXiv:1606.05250 §6.1; spans as in Tjong Kim Sang & De Meulder 2003, W03-0419.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any


def accuracy(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """The share of predictions that equal their reference, also called exact match."""
    _check(predictions, references)
    return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(references)


def macro_f1(predictions: Sequence[str], references: Sequence[str]) -> float:
    """The mean F1 over the labels that occur among predictions or references."""
    _check(predictions, references)
    predicted, wanted = Counter(predictions), Counter(references)
    hits = Counter(p for p, r in zip(predictions, references, strict=True) if p == r)
    labels = sorted(predicted | wanted)
    return sum(2 * hits[k] / (predicted[k] + wanted[k]) for k in labels) / len(labels)


def token_accuracy(predictions: Sequence[str], references: Sequence[str]) -> float:
    """The share of the references' tokens that stand at the same place in the prediction."""
    _check(predictions, references)
    both = list(zip(map(str.split, predictions), map(str.split, references), strict=True))
    right = sum(a == b for p, r in both for a, b in zip(p, r, strict=False))
    total = sum(len(r) for _, r in both)
    return right / total if total else 1.0


def token_f1(predictions: Sequence[str], references: Sequence[str]) -> float:
    """The mean F1 of the tokens, as bags, of each prediction against its reference."""
    _check(predictions, references)
    total = 0.0
    for p, r in zip(map(str.split, predictions), map(str.split, references), strict=True):
        hits = sum((Counter(p) & Counter(r)).values())
        total += 2 * hits / (len(p) + len(r)) if p or r else 1.0
    return total / len(references)


def span_f1(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """F1 of whole spans in BIO labels: kind, start and end must all be right. 1 if there are none.

    A span begins at ``B-x``, or at an ``I-x`` that no ``x`` precedes.
    """
    _check(predictions, references)
    both = [(_spans(p), _spans(r)) for p, r in zip(predictions, references, strict=True)]
    total = sum(len(p) + len(r) for p, r in both)
    return 2 * sum(len(p & r) for p, r in both) / total if total else 1.0


def is_bio(labels: Collection[str]) -> bool:
    """Whether all labels are ``O``, ``B-…`` or ``I-…``, and some are not ``O``."""
    return any(k != "O" for k in labels) and all(k == "O" or k[:2] in ("B-", "I-") for k in labels)


def _spans(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    spans, start = set(), 0
    kinds = [*labels, "O"]
    for i, label in enumerate(kinds):
        before = kinds[i - 1] if i else "O"
        if label.startswith("I-") and before != "O" and before[2:] == label[2:]:
            continue
        if before != "O":
            spans.add((before[2:], start, i))
        start = i
    return spans


def _check(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references) or not len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
