"""Sequence labelling, one label for each word.

pydoc       the tokens of small functions of the standard library, and what each of them is:
            keyword, parameter, attribute, ... (``generated/python_tokens.py``; default, no
            download); all functions of a file are in one part
FILE        one word a line with its label in the last column, a blank line after each sentence,
            as in CoNLL-2003; columns stand between tabs, or between blanks if there are no
            tabs; ``-DOCSTART-`` ends a sentence, ``# …`` is a comment; 90 : 5 : 5
FOLDER      train*, valid* (or val*, dev*) and test* of that format: .conll, .conllu, .txt, .tsv,
            .bio, .iob

A model of a file's words labels those that stand between blanks: ``U.S.`` and ``n't`` are words.
"""

from __future__ import annotations

import re
import textwrap
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.pydoc import cached, stdlib_folder, stdlib_sources
from numpylm.data.words import rules, split_text
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.heads import classifier_forward
from numpylm.parameters import Array
from numpylm.tasks.data_files import load_files, read_lines, split_groups
from numpylm.tasks.dataset import Dataset, Tagged, TaskData
from numpylm.tasks.fine_tuning import HeadTask, Row, word_pieces
from numpylm.tasks.generated.python_tokens import label_tokens, outermost_functions, tokens
from numpylm.tasks.scores import accuracy, is_bio, macro_f1, span_f1
from numpylm.tasks.task import Prediction
from numpylm.tasks.trained import Trained, Vocabulary

DEFAULT = "pydoc"
SHARES = (0.8, 0.1, 0.1)
WORDS_ARE = "words"  # of a file: "between blanks"; else they are split by the tokens of a text
NONE = ""  # what is predicted for a word beyond the context: no label is empty, so it is wrong
SHORTEST, LONGEST = 10, 40  # tokens of a function
SUFFIXES = (".conll", ".conllu", ".txt", ".tsv", ".bio", ".iob", ".iob2")


def load(source: str | Path = DEFAULT, *, lower: bool = False, seed: int = 0) -> Dataset:
    """The labelled sequences of that name or path (see the module's table).

    Raises ``ValueError`` with file and line for what cannot be read.
    """
    if str(source) != DEFAULT:
        return load_files(
            source, lambda path: read_tagged(path, lower), lambda e: e.words, SUFFIXES, seed,
            lambda e: e.labels,
        )  # fmt: skip
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

    Of CoNLL-U (ten columns with tabs, the first a number) they are FORM and UPOS; lines of several
    words (``1-2``) and empty nodes (``1.1``) are left out.

    Raises ``ValueError`` naming file and line if a line has another number of columns than the
    first one, or no word or label.
    """
    if rules() == 1:
        return _read_blanks(path, lower)
    lines = read_lines(path)
    tabs = any("\t" in line for line in lines if not line.startswith("#"))
    rows = [_columns(line, tabs) for line in lines]
    first = next((r for r in rows if _is_token(r) and not r[0].startswith("#")), [])
    conllu = tabs and len(first) == 10 and first[0][:1].isdigit()
    word, label = (1, 3) if conllu else (0, -1)
    labels = {r[label] for r in rows if len(r) == len(first) > 1 and not r[0].startswith("#")}
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        if not _is_token(row):
            sentences.append([])
        elif line.startswith("#") and (conllu or len(row) != len(first) or row[-1] not in labels):
            continue  # a comment
        elif len(row) < 2:
            raise ValueError(f"{path}:{number}: expected a word and its label, not {line!r:.80}")
        elif len(row) != len(first):
            raise ValueError(f"{path}:{number}: expected {len(first)} columns as before, "
                             f"not {line!r:.80}")  # fmt: skip
        elif not (row[word] and row[label]):
            what = "label" if row[word] else "word"
            raise ValueError(f"{path}:{number}: the {what} is empty in {line!r:.80}")
        elif not conllu or row[0].isdigit():
            sentences[-1].append((row[word].lower() if lower else row[word], row[label]))
    return _tagged(sentences, path)


def _columns(line: str, tabs: bool) -> list[str]:
    """The columns of a line: a word may hold a blank where tabs separate, and a hard one always."""
    if tabs and "\t" in line:
        return [column.strip() for column in line.split("\t")]
    return [column for column in re.split("[ \t]+", line) if column]


def _is_token(row: list[str]) -> bool:
    """Whether a row is neither blank nor the beginning of a document, which end a sentence."""
    return any(row) and row[0] != "-DOCSTART-"


def _read_blanks(path: Path, lower: bool) -> list[Tagged]:
    """As version 1 read it, for the runs of its time."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split()
        if not columns:
            sentences.append([])
        elif len(columns) == 1 and columns[0] != "-DOCSTART-":
            raise ValueError(f"{path}:{number}: expected a word and its label, not {line!r:.80}")
        elif columns[0] != "-DOCSTART-":
            sentences[-1].append((columns[0].lower() if lower else columns[0], columns[-1]))
    return _tagged(sentences, path)


def _tagged(sentences: list[list[tuple[str, str]]], path: Path) -> list[Tagged]:
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
    scored = {"accuracy": accuracy(p_all, r_all), "macro_f1": macro_f1(p_all, r_all, NONE)}
    if is_bio(set(r_all)):
        scored["span_f1"] = span_f1(predictions, references)
    return scored


class Labelling(HeadTask):
    """A label for each word."""

    name = "labelling"
    data = TaskData(load, baselines, score)
    unit = "word"

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        super().__init__(settings, vocabulary, dataset)
        if settings.corpus != DEFAULT and vocabulary.rules > 1:
            self.summary[WORDS_ARE] = "between blanks"

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
        numbers = np.array([self.number[label] for label in example.labels])
        return {"ids": np.append(ids, self.special.sep), "labels": framed, "all": numbers}

    def answer(self, row: Row, logits: Array) -> tuple[str, ...]:
        places = np.flatnonzero(row["labels"] != IGNORE)
        found = [self.vocabulary.labels[i] for i in logits[places].argmax(axis=-1).tolist()]
        return (*found, *[NONE] * (len(row["all"]) - len(found)))

    def reference(self, row: Row) -> tuple[str, ...]:
        return tuple(self.vocabulary.labels[i] for i in row["all"].tolist())

    @classmethod
    def split(cls, text: str) -> str:
        """Words and punctuation; code keeps its case."""
        return split_text(text, lower=False)

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The words and the most probable label of each; "" for one beyond the context."""
        blanks = WORDS_ARE in trained.summary
        split = " ".join(text.split()) if blanks else cls.split(text)
        trained.ids(split, text)  # raises if the vocabulary knows nothing of it
        words = tuple(split.split())
        pieces = word_pieces(trained.vocabulary.tokenizer, words)
        ids, cut = trained.framed_and_cut(*pieces)
        logits, _ = classifier_forward(trained.p, ids, config=trained.model)
        first = 1 + np.cumsum([0, *map(len, pieces[:-1])])
        best = logits[0, first[first < ids.shape[1] - 1]].argmax(axis=-1)
        labels = [trained.vocabulary.labels[i] for i in best.tolist()]
        labels += [NONE] * (len(words) - len(labels))
        return {"words": list(words), "labels": labels} | cut

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """Each word with its label."""
        both = zip(found["words"], found["labels"], strict=True)
        return " ".join(f"{w}/{x or '(cut)'}" for w, x in both)


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
