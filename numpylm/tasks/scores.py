"""Scores from 0 to 1 that count what is right, without any other package.

    accuracy      how many predictions equal their reference
    precision     of what was predicted, how much is right      P = hits / predicted
    recall        of what was to be found, how much was         R = hits / wanted
    F1            their harmonic mean                           2 P R / (P + R)
    macro F1      the mean of the labels' F1: rare labels count as much as frequent ones

Sources: van Rijsbergen 1979, *Information Retrieval*, ch. 7; token F1 as in Rajpurkar et al. 2016,
arXiv:1606.05250 §6.1 (``squad_normalized``: its evaluate-v1.1.py); spans as in
Tjong Kim Sang & De Meulder 2003, W03-0419.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

SCHEMES = ("BI", "BIES", "BILU")
BEGINS, INSIDE, ENDS = {"B", "S", "U"}, {"I", "E", "L"}, {"E", "L", "S", "U"}


def accuracy(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """The share of predictions that equal their reference, also called exact match."""
    _check(predictions, references)
    return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(references)


def macro_f1(
    predictions: Sequence[str], references: Sequence[str], none: str | None = None
) -> float:
    """The mean F1 over the labels that occur among predictions or references.

    A prediction ``none`` finds nothing, and is no label of its own.
    """
    _check(predictions, references)
    predicted, wanted = Counter(predictions), Counter(references)
    hits = Counter(p for p, r in zip(predictions, references, strict=True) if p == r)
    labels = sorted(k for k in predicted | wanted if k != none or k in wanted)
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


def squad_normalized(answer: str) -> str:
    """As SQuAD's official script compares: lower-cased, without punctuation, a, an and the."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def span_f1(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """F1 of whole spans: kind, start and end must all be right. 1 if there are none.

    A span begins at ``B-x``, ``S-x`` or ``U-x``, or at another place of ``x`` that no open span of
    ``x`` precedes; it ends with ``E-x``, ``L-x``, ``S-x``, ``U-x``, or where it does not go on.
    """
    _check(predictions, references)
    both = [(_spans(p), _spans(r)) for p, r in zip(predictions, references, strict=True)]
    total = sum(len(p) + len(r) for p, r in both)
    return 2 * sum(len(p & r) for p, r in both) / total if total else 1.0


def is_bio(labels: Collection[str]) -> bool:
    """Whether all labels are ``O`` or a place of one scheme with its kind, and some are not ``O``.

    The schemes are BIO, BIOES (End, Single) and BILOU (Last, Unit).
    """
    places = {k[:2] for k in labels if k != "O"}
    return bool(places) and any(places <= {f"{c}-" for c in scheme} for scheme in SCHEMES)


def _spans(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    spans: set[tuple[str, int, int]] = set()
    start, kind = -1, ""  # of the span that is open; -1: none is
    for i, label in enumerate([*labels, "O"]):
        place, _, name = label.partition("-")
        goes_on = start >= 0 and place in INSIDE and name == kind
        if start >= 0 and not goes_on:
            spans.add((kind, start, i))
            start = -1
        if place in BEGINS or (place in INSIDE and not goes_on):
            start, kind = i, name
        if place in ENDS:
            spans.add((kind, start, i + 1))
            start = -1
    return spans


def _check(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references) or not len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
