"""A corpus as documents of sentences, for objectives that need to know where one ends.

    pydoc        a docstring of the standard library is a document
    WikiText     an article, from its heading ``= Title =`` to the next
    other text   what stands between blank lines; if there are none, a document is not known

Words and punctuation are split and lower-cased (``data/words.py``). A sentence ends after ``.``,
``!`` or ``?`` (``。``, ``！``, ``？``), several of which stand together, or with its paragraph.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from numpylm.data.corpus import load_corpus
from numpylm.data.pydoc import prose, stdlib_docstrings
from numpylm.data.words import rules, split_text

Document = list[str]  # sentences: tokens with one blank between them
# A title is alone between blank lines, with one = at each side; in rules 1 anywhere.
HEADING = re.compile(r"(?:\A|(?<=\n))[ \t]*\n = (?!= )\S.*(?<! =) = ?\n(?=[ \t]*(?:\n|\Z))")
OLD_HEADING = re.compile(r"^ = [^=].* = $", re.MULTILINE)
SENTENCE = re.compile(r"(?=\S).*?(?:(?<!\S)[.!?。！？](?: [.!?。！？])*(?!\S)|$)")
MARKUP = (("@-@", "-"), ("@,@", ","), ("@.@", "."))  # WikiText's marks inside numbers and words


@dataclass(frozen=True)
class Documents:
    """Three lists of documents; ``test`` may be empty."""

    name: str
    train: list[Document]
    valid: list[Document]
    test: list[Document]

    @property
    def sha256(self) -> str:
        """Of all sentences in their order."""
        parts = json.dumps([self.train, self.valid, self.test])
        return hashlib.sha256(parts.encode()).hexdigest()


def load_documents(source: str | Path) -> Documents:
    """The documents of a corpus, "pydoc", "wikitext2" or a path as in ``load_corpus``.

    Raises ``ValueError`` if it cannot be read, or if its training text is one document.
    """
    if str(source) == "pydoc":
        return Documents("pydoc", *_pydoc())
    corpus = load_corpus(source)
    parts = [_split(text) for text in (corpus.train, corpus.valid, corpus.test)]
    if len(parts[0]) < 2 or len(parts[1]) < 2:
        raise ValueError(
            f"corpus {source} has no document boundaries: articles begin with ' = Title = ', "
            "other documents are separated by blank lines"
        )
    return Documents(corpus.name, *parts)


def sentences(text: str) -> Document:
    """The sentences of one split paragraph."""
    return SENTENCE.findall(text)


def _pydoc() -> list[list[Document]]:
    """Docstrings with at least two sentences; a paragraph that occurred before is left out."""
    seen: set[str] = set()
    documents = []
    for _, text in stdlib_docstrings():
        new = [p for p in prose(text) if p not in seen]
        seen.update(new)
        documents.append([s for p in new for s in sentences(split_text(p))])
    documents = [d for d in documents if len(d) > 1]
    random.Random(0).shuffle(documents)
    n = round(0.05 * len(documents))
    return [documents[2 * n :], documents[:n], documents[n : 2 * n]]


def _split(text: str) -> list[Document]:
    """Articles of WikiText, or blocks between blank lines, that hold a sentence."""
    heading = OLD_HEADING if rules() == 1 else HEADING
    if heading.search(text):
        blocks = heading.split(text)
        paragraphs = [[p for p in b.split("\n") if p.strip() and " = = " not in p] for b in blocks]
        clean = [[" ".join(p.lower().split()) for p in block] for block in paragraphs]
    else:
        clean = [[split_text(p)] for p in re.split(r"\n\s*\n", text) if p.strip()]
    documents = [[_plain(s) for p in block for s in sentences(p)] for block in clean]
    return [d for d in documents if d]


def _plain(sentence: str) -> str:
    """Without WikiText's marks; only now, as the point of ``5 @.@ 5`` ends no sentence."""
    for mark, plain in MARKUP:
        sentence = sentence.replace(mark, plain)
    return sentence
