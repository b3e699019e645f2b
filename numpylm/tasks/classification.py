"""Classification, a text to one of a few labels.

pydoc       a paragraph of documentation to the part of the standard library that it comes from
            (default, no download); all paragraphs of a file are in one part
FILE.tsv    text and label, 90 : 5 : 5, equal texts in one part
FOLDER      train.tsv, valid.tsv (val, dev), test.tsv with text and label, such as SST-2; or
            TREC.train.all and TREC.test.all as Li & Roth's questions are published: label, blank,
            text, in Latin-1; a tenth of the training questions validates

Texts are lower-cased and split into words and punctuation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from numpylm.baselines.bag_of_words import bag_of_words
from numpylm.data.pydoc import prose, stdlib_docstrings
from numpylm.data.words import split_text
from numpylm.layers.softmax import softmax_forward
from numpylm.models.heads import classifier_forward
from numpylm.parameters import Array
from numpylm.tasks.data_files import load_files, read_lines, read_table, split_groups
from numpylm.tasks.dataset import Dataset, Labelled, TaskData
from numpylm.tasks.fine_tuning import HeadTask, Row
from numpylm.tasks.scores import accuracy, macro_f1
from numpylm.tasks.task import Prediction
from numpylm.tasks.trained import Trained, encode_known

DEFAULT = "pydoc"
SHARES = (0.8, 0.1, 0.1)
MOST = 400  # paragraphs of a label, so that no label is much more frequent than the others
GROUPS = {
    "asyncio": "asyncio",
    "concurrency": "concurrent multiprocessing queue sched selectors subprocess threading",
    "debugging": "bdb cProfile dis inspect pdb profile pstats pydoc trace traceback tracemalloc",
    "email": "email imaplib mailbox poplib quopri smtplib",
    "files": "_pyio bz2 filecmp fileinput fnmatch glob gzip lzma ntpath os pathlib posixpath "
    "shutil stat tarfile tempfile zipfile",
    "imports": "importlib modulefinder pkgutil runpy zipimport",
    "interfaces": "cmd curses idlelib tkinter turtle",
    "markup": "html json plistlib xml",
    "network": "ftplib http socket socketserver ssl urllib webbrowser wsgiref xmlrpc",
    "numbers": "_pydatetime _pydecimal calendar datetime decimal fractions ipaddress numbers "
    "random statistics uuid",
    "testing": "doctest unittest",
}


def load(source: str | Path = DEFAULT, *, lower: bool = True, seed: int = 0) -> Dataset:
    """The labelled texts of that name or path (see the module's table).

    Raises ``ValueError`` with file and line for what cannot be read.
    """
    if str(source) == DEFAULT:
        return _load_pydoc(lower, seed)
    if (Path(source) / "TREC.train.all").is_file():
        return _load_trec(Path(source), lower, seed)

    def read(path: Path) -> list[Labelled]:
        return read_table(path, 2, lambda text, label: Labelled(split_text(text, lower), label))

    return load_files(source, read, group=lambda example: example.text, seed=seed,
                      labels=lambda example: (example.label,))  # fmt: skip


def baselines(dataset: Dataset) -> dict[str, float]:
    """Accuracy on the test part of the most frequent label, and of logistic regression."""
    references = [example.label for example in dataset.test]
    counts = Counter(example.label for example in dataset.train)
    majority = max(sorted(counts), key=counts.__getitem__)
    regression = bag_of_words(dataset.train, dataset.valid, [e.text for e in dataset.test])
    return {
        "most frequent label": accuracy([majority] * len(references), references),
        "bag of words": accuracy(regression, references),
    }


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Accuracy, and macro F1: the mean over labels of their F1."""
    return {
        "accuracy": accuracy(predictions, references),
        "macro_f1": macro_f1(predictions, references),
    }


class Classification(HeadTask):
    """One label for a text."""

    name = "classification"
    data = TaskData(load, baselines, score)
    unit = "text"
    pooled = True

    @staticmethod
    def text(example: Labelled) -> str:
        return example.text

    @staticmethod
    def labels(example: Labelled) -> tuple[str, ...]:
        return (example.label,)

    def encode(self, example: Labelled) -> Row:
        ids = encode_known(self.vocabulary.tokenizer, example.text)
        room = self.settings.context - 2
        self.too_long += len(ids) > room
        ids = np.concatenate([[self.special.cls], ids[:room], [self.special.sep]])
        return {"ids": ids, "labels": np.array(self.label_number(example.label))}

    def answer(self, row: Row, logits: Array) -> str:
        return self.vocabulary.labels[int(logits.argmax())]

    def reference(self, row: Row) -> str:
        return self.vocabulary.labels[int(row["labels"])]

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The most probable label and its probability."""
        ids, cut = trained.framed_and_cut(trained.ids(cls.split(text), text))
        logits, _ = classifier_forward(trained.p, ids, config=trained.model)
        probabilities, _ = softmax_forward(logits[0].astype(np.float64))
        best = int(probabilities.argmax())
        label = trained.vocabulary.labels[best]
        return {"label": label, "probability": float(probabilities[best])} | cut

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """Label and probability, and how much of the text was not read."""
        note = f"   (without the last {found['cut']} tokens)" if "cut" in found else ""
        return f"{found['label']}   {found['probability']:.3f}{note}"


def _load_pydoc(lower: bool, seed: int) -> Dataset:
    """Each label's files are split by themselves, so that all parts have the same labels."""
    label_of = {module: label for label, names in GROUPS.items() for module in names.split()}
    found: dict[str, dict[str, str]] = defaultdict(dict)  # label -> paragraph -> file
    seen = set()
    for file, docstring in stdlib_docstrings():
        label = label_of.get(file.split("/")[0].removesuffix(".py"))
        for paragraph in prose(docstring) if label else ():
            text = split_text(paragraph, lower)
            if text not in seen:
                seen.add(text)
                found[label][text] = file
    parts: list[list[Labelled]] = [[], [], []]
    for label, texts in sorted(found.items()):
        if len(set(texts.values())) < len(parts):
            continue  # a Python without these modules, or with too few files for three parts
        split = split_groups(label, list(texts), list(texts.values()), SHARES, seed)
        for part, some, share in zip(
            parts, (split.train, split.valid, split.test), SHARES, strict=True
        ):
            part += [Labelled(text, label) for text in some[: round(share * MOST)]]
    if not parts[0]:
        raise ValueError("this Python carries no documentation (no .py sources): pass a TSV file")
    return Dataset("pydoc parts", *parts)


def _load_trec(folder: Path, lower: bool, seed: int) -> Dataset:
    train, test = (_read_trec(folder / f"TREC.{part}.all", lower) for part in ("train", "test"))
    texts = [example.text for example in train]
    split = split_groups(folder.name, train, texts, (0.9, 0.1, 0.0), seed)
    return Dataset(folder.name, split.train, split.valid, test)


def _read_trec(path: Path, lower: bool) -> list[Labelled]:
    examples = []
    for number, line in enumerate(read_lines(path, "latin-1"), 1):
        label, _, text = line.partition(" ")
        if not (label.isdigit() and text.strip()):
            raise ValueError(f"{path}:{number}: expected label, blank and text, not {line!r:.80}")
        examples.append(Labelled(split_text(text, lower), label))
    return examples
