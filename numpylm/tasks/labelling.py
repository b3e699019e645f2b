"""Sequence labelling, one label for each word.

pydoc       the tokens of small functions of the standard library, and what each of them is:
            keyword, parameter, attribute, ... (``generated/python_tokens.py``; default, no
            download); all functions of a file are in one part
FILE        one word a line with its label in the last column, a blank line after each sentence,
            as in CoNLL-2003; lines ``-DOCSTART-`` are skipped; 90 : 5 : 5
FOLDER      train*, valid* (or val*, dev*) and test* of that format: .conll, .txt, .tsv, .bio, .iob
"""

from __future__ import annotations

import textwrap
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from numpylm.data.pydoc import cached, stdlib_folder, stdlib_sources
from numpylm.data.words import split_text
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.heads import classifier_forward
from numpylm.parameters import Array
from numpylm.tasks.data_files import load_files, read_lines, split_groups
from numpylm.tasks.dataset import Dataset, Tagged, TaskData
from numpylm.tasks.fine_tuning import HeadTask, Row, word_pieces
from numpylm.tasks.generated.python_tokens import label_tokens, outermost_functions, tokens
from numpylm.tasks.scores import accuracy, is_bio, macro_f1, span_f1
from numpylm.tasks.task import Prediction
from numpylm.tasks.trained import Trained

DEFAULT = "pydoc"
SHARES = (0.8, 0.1, 0.1)
SHORTEST, LONGEST = 10, 40  # tokens of a function
SUFFIXES = (".conll", ".txt", ".tsv", ".bio", ".iob", ".iob2")


def load(source: str | Path = DEFAULT, *, lower: bool = False, seed: int = 0) -> Dataset:
    """The labelled sequences of that name or path (see the module's table).

    Raises ``ValueError`` with file and line for what cannot be read.
    """
    if str(source) != DEFAULT:
        return load_files(
            source, lambda path: read_tagged(path, lower), lambda e: e.words, SUFFIXES, seed
        )
    folder = stdlib_folder()
    files, examples = [], {}
    for file, words, labels in cached("functions", folder, lambda: list(_functions(folder))):
        words = tuple(word.lower() for word in words) if lower else tuple(words)
        if words not in examples:
            examples[words] = Tagged(words, tuple(labels))
            files.append(file)
    if len(set(files)) < len(SHARES):
        raise ValueError("this Python carries no sources (.py files): pass a CoNLL file")
    return split_groups("pydoc tokens", list(examples.values()), files, SHARES, seed)


def read_tagged(path: Path, lower: bool = False) -> list[Tagged]:
    """The sentences of a CoNLL file: the first column and the last one of each line.

    Raises ``ValueError`` naming file and line if a line has one column only.
    """
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split()
        if not columns:
            sentences.append([])
        elif len(columns) == 1 and columns[0] != "-DOCSTART-":
            raise ValueError(f"{path}:{number}: expected a word and its label, not {line!r:.80}")
        elif columns[0] != "-DOCSTART-":
            sentences[-1].append((columns[0].lower() if lower else columns[0], columns[-1]))
    found = [Tagged(*zip(*sentence, strict=True)) for sentence in sentences if sentence]
    if not found:
        raise ValueError(f"{path} has no words")
    return found


def baselines(dataset: Dataset) -> dict[str, float]:
    """Token accuracy on the test part of the most frequent label, over all and of each word.

    A word that the training part does not have gets the label most frequent over all.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in dataset.train:
        for word, label in zip(example.words, example.labels, strict=True):
            counts[word][label] += 1
    overall = _most_frequent(sum(counts.values(), Counter()))
    of_word = {word: _most_frequent(labels) for word, labels in counts.items()}
    references = [example.labels for example in dataset.test]
    always = [[overall for _ in example.words] for example in dataset.test]
    by_word = [[of_word.get(word, overall) for word in e.words] for e in dataset.test]
    return {
        "most frequent label": score(always, references)["accuracy"],
        "most frequent label of the word": score(by_word, references)["accuracy"],
    }


def score(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Token accuracy and macro F1 over all tokens; for BIO labels also F1 of whole spans.

    Raises ``ValueError`` if a prediction has another length than its reference.
    """
    for i, (p, r) in enumerate(zip(predictions, references, strict=False)):
        if len(p) != len(r):
            raise ValueError(f"sequence {i} has {len(r)} labels, but {len(p)} are predicted")
    p_all, r_all = list(chain(*predictions)), list(chain(*references))
    scored = {"accuracy": accuracy(p_all, r_all), "macro_f1": macro_f1(p_all, r_all)}
    if is_bio(set(r_all)):
        scored["span_f1"] = span_f1(predictions, references)
    return scored


class Labelling(HeadTask):
    """A label for each word."""

    name = "labelling"
    data = TaskData(load, baselines, score)
    unit = "word"

    @staticmethod
    def text(example: Tagged) -> str:
        return " ".join(example.words)

    @staticmethod
    def labels(example: Tagged) -> tuple[str, ...]:
        return example.labels

    def encode(self, example: Tagged) -> Row:
        pieces, labels = word_pieces(self.vocabulary.tokenizer, example.words), []
        for piece, label in zip(pieces, example.labels, strict=True):
            labels += [self.label_number(label)] + [IGNORE] * (len(piece) - 1)
        room = self.settings.context - 2
        ids = np.concatenate([[self.special.cls], *pieces])[: room + 1]
        self.too_long += len(labels) > room
        framed = np.array([IGNORE, *labels[:room], IGNORE], np.int64)
        return {"ids": np.append(ids, self.special.sep), "labels": framed}

    def answer(self, row: Row, logits: Array) -> tuple[str, ...]:
        places = np.flatnonzero(row["labels"] != IGNORE)
        return tuple(self.vocabulary.labels[i] for i in logits[places].argmax(axis=-1).tolist())

    def reference(self, row: Row) -> tuple[str, ...]:
        kept = row["labels"][row["labels"] != IGNORE]
        return tuple(self.vocabulary.labels[i] for i in kept.tolist())

    @classmethod
    def split(cls, text: str) -> str:
        """Words and punctuation; code keeps its case."""
        return split_text(text, lower=False)

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The words and the most probable label of each."""
        split = cls.split(text)
        trained.ids(split, text)  # raises if the vocabulary knows nothing of it
        words = tuple(split.split())
        pieces = word_pieces(trained.vocabulary.tokenizer, words)
        logits, _ = classifier_forward(trained.p, trained.framed(*pieces), config=trained.model)
        first = 1 + np.cumsum([0, *map(len, pieces[:-1])])
        labels = [trained.vocabulary.labels[i] for i in logits[0, first].argmax(axis=-1).tolist()]
        return {"words": list(words), "labels": labels}

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """Each word with its label."""
        return " ".join(f"{w}/{x}" for w, x in zip(found["words"], found["labels"], strict=True))


def _functions(stdlib: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """(file, words, labels) of all functions of the right length."""
    for file, text, tree in stdlib_sources(stdlib):
        lines = text.split("\n")
        for function in outermost_functions(tree):
            source = "\n".join(lines[function.lineno - 1 : function.end_lineno]) + "\n"
            if not source.isascii():
                continue
            try:
                source = textwrap.dedent(source)
                if sum(1 for _ in islice(tokens(source), LONGEST + 2)) > LONGEST + 1:
                    continue  # too long even without a docstring: no need to parse it
                words, labels = label_tokens(source)
            except (SyntaxError, tokenize.TokenError):
                continue  # such as a string over lines that begin further left than the function
            if SHORTEST <= len(words) <= LONGEST:
                yield file, words, labels


def _most_frequent(labels: Counter[str]) -> str:
    return max(sorted(labels), key=labels.__getitem__)
