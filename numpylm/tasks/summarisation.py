"""Summarisation, a text to one that says it in a line.

pydoc       the body of a docstring to its first line, as PEP 257 wants it to be a summary (default,
            no download); all docstrings of a file are in one part
FILE.tsv    text and summary, 90 : 5 : 5, equal texts in one part
FOLDER      train.tsv, valid.tsv (val, dev), test.tsv with text and summary

Texts are lower-cased and split into words and punctuation, those with Chinese or Japanese
characters into single characters. Of a long text the beginning is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from numpylm.data.pydoc import prose, stdlib_docstrings
from numpylm.data.words import split_text
from numpylm.tasks.data_files import load_files, read_table, split_groups
from numpylm.tasks.dataset import Dataset, Pair, TaskData
from numpylm.tasks.scores import accuracy, token_f1
from numpylm.tasks.text_to_text import PairTask

DEFAULT = "pydoc"
SHARES = (0.8, 0.1, 0.1)
SHORTEST = 3  # words of a summary
ROUGE = ("rougeL", "rouge1", "rouge2")


def load(
    source: str | Path = DEFAULT,
    *,
    lower: bool = True,
    longest_text: int = 100,
    longest_summary: int = 20,
    seed: int = 0,
) -> Dataset:
    """The texts and summaries of that name or path (see the module's table).

    Texts are cut after ``longest_text`` tokens; of pydoc, docstrings whose summary has more than
    ``longest_summary`` are left out. Raises ``ValueError`` with file and line for what cannot be
    read, or if a limit is below 1.
    """
    if min(longest_text, longest_summary) < 1:
        raise ValueError(f"longest_text={longest_text}, longest_summary={longest_summary}: below 1")

    def pair(text: str, summary: str) -> Pair:
        words = split_text(text, lower).split()
        return Pair(" ".join(words[:longest_text]), split_text(summary, lower))

    if str(source) != DEFAULT:
        return load_files(
            source, lambda path: read_table(path, 2, pair), lambda pair: pair.source, seed=seed
        )
    found: dict[str, tuple[Pair, str]] = {}
    for file, docstring in stdlib_docstrings():
        example = pair(*_body_and_summary(docstring))
        if example.source and 0 < len(example.target.split()) <= longest_summary:
            found.setdefault(example.source, (example, file))
    if len({file for _, file in found.values()}) < len(SHARES):
        raise ValueError("this Python carries no documentation (no .py sources): pass a TSV file")
    pairs, files = zip(*found.values(), strict=True)
    return split_groups("pydoc summaries", pairs, files, SHARES, seed)


def baselines(dataset: Dataset) -> dict[str, float]:
    """The main score on the test part of the text's first sentence, and of its first words.

    There are as many first words as a summary of the training part has on average.
    """
    references = [pair.target for pair in dataset.test]
    lengths = [len(pair.target.split()) for pair in dataset.train]
    n = round(sum(lengths) / len(lengths))
    texts = [pair.source.split() for pair in dataset.test]
    answers = {
        "first sentence": [" ".join(_first_sentence(words)) for words in texts],
        f"first {n} words": [" ".join(words[:n]) for words in texts],
    }
    return {name: next(iter(score(a, references).values())) for name, a in answers.items()}


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """ROUGE-L, -1 and -2 (F1) if rouge-score is installed; token F1 and exact match. 0 to 1."""
    simple = {
        "token_f1": token_f1(predictions, references),
        "exact_match": accuracy(predictions, references),
    }
    try:
        return rouge(predictions, references) | simple
    except ValueError:
        return simple


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Mean F1 of ROUGE-L, -1 and -2 of texts that are split already; of the package rouge-score.

    Punctuation does not count, as in that package's own splitting, which however knows ASCII words
    only. Raises ``ValueError`` if it is not installed. Source: Lin 2004, W04-1013.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise ValueError("ROUGE needs rouge-score: pip install numpylm[scores]") from None
    scorer = RougeScorer(ROUGE, tokenizer=_Words())
    scores = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
    return {name: sum(s[name].fmeasure for s in scores) / len(scores) for name in ROUGE}


class Summarisation(PairTask):
    """A text to one that says it in a line."""

    name = "summarisation"
    data = TaskData(load, baselines, score)


class _Words:
    """The tokens that hold a letter or a digit."""

    def tokenize(self, text: str) -> list[str]:
        return [w for w in text.lower().split() if any(c.isalnum() for c in w)]


def _body_and_summary(docstring: str) -> tuple[str, str]:
    """All prose after the first paragraph; and that paragraph, or "" if it is code or no ASCII."""
    first, _, rest = docstring.strip().partition("\n\n")
    words = first.split()
    plain = first.isascii() and len(words) >= SHORTEST and not set(first) & set("=<>|[]{}\\")
    return " ".join(prose(rest)), " ".join(words) if plain else ""


def _first_sentence(words: list[str]) -> list[str]:
    ends = [i for i, word in enumerate(words) if word in (".", "!", "?", "。", "！", "？")]
    return words[: ends[0] + 1] if ends else words
