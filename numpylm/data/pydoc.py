"""The default corpus, English prose that every Python carries. No download.

The text is Python's own documentation: the reference topics behind ``help("FOR")``
(``pydoc_data.topics``) and the docstrings of the standard library's source files. Both are read
with ``ast``: nothing is imported, no code runs. Kept are paragraphs of prose: at least 8 words,
ASCII, at least 95 % letters and plain punctuation, with an end. They are de-duplicated *before* the
split, since a paragraph in both halves would reward memory; then shuffled by a fixed seed.

The text differs between Python versions, so a run records its sha256. Licence: PSF-2.0.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpylm.files import write_atomically

SKIPPED_FOLDERS = {
    "site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3",
    "turtledemo", "ensurepip", "pydoc_data", "_bundled",
}  # fmt: skip
PLAIN = frozenset(" .,;:'\"()-?!")
VALID_SHARE = TEST_SHARE = 0.05


def pydoc_splits(stdlib: Path | None = None) -> tuple[str, str, str]:
    """(train, valid, test) text, one paragraph a line, 90 : 5 : 5 of the paragraphs.

    ``stdlib`` is the folder of the standard library, by default the running Python's. Raises
    ``ValueError`` if it holds no documentation (a build without ``.py`` sources).
    """
    paragraphs = pydoc_paragraphs(stdlib or stdlib_folder())
    if len(paragraphs) < 100:
        raise ValueError(
            "this Python carries no documentation to learn from (no .py sources): "
            "pass a text file or a folder as the corpus"
        )
    random.Random(0).shuffle(paragraphs)
    n_valid, n_test = (round(share * len(paragraphs)) for share in (VALID_SHARE, TEST_SHARE))
    lines = [p + "\n" for p in paragraphs]
    held_out = n_valid + n_test
    return "".join(lines[held_out:]), "".join(lines[:n_valid]), "".join(lines[n_valid:held_out])


def pydoc_paragraphs(stdlib: Path) -> list[str]:
    """All different paragraphs of prose, in the order of the files. About 5 s; cached on disk."""

    def extract() -> list[str]:
        texts = [*_topics(stdlib), *(text for _, text in _docstrings(stdlib))]
        return list(dict.fromkeys(p for text in texts for p in prose(text)))

    return cached("paragraphs", stdlib, extract)


def stdlib_docstrings(stdlib: Path | None = None) -> list[tuple[str, str]]:
    """(file, docstring) of all that is documented, files relative to ``stdlib``; cached on disk."""
    folder = stdlib or stdlib_folder()
    found = cached("docstrings", folder, lambda: list(_docstrings(folder)))
    return [(file, text) for file, text in found]


def stdlib_folder() -> Path:
    """The standard library of the running Python."""
    return Path(sysconfig.get_paths()["stdlib"])


def cached(name: str, stdlib: Path, extract: Callable[[], list[Any]]) -> list[Any]:
    """``extract()``, from the second time on as it was written to the user's cache (JSON).

    Whoever changes what is extracted raises the number in the key.
    """
    key = hashlib.sha256(f"{stdlib} {platform.python_version()} 2".encode()).hexdigest()[:16]
    path = None
    try:
        path = cache_folder() / f"pydoc-{platform.python_version()}-{name}-{key}.json"
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ImportError, ValueError):
        pass  # not there yet, or damaged
    extracted = extract()
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(extracted))
    except OSError:
        pass  # a read-only home costs the seconds again, nothing else
    return extracted


def cache_folder() -> Path:
    """Where downloads and the extracted text are kept, the user's cache folder of the system."""
    import pooch

    return Path(pooch.os_cache("numpylm"))


def _topics(stdlib: Path) -> list[str]:
    """The dictionary literal in pydoc_data/topics.py; empty where it is not installed."""
    try:
        tree = ast.parse((stdlib / "pydoc_data" / "topics.py").read_text(encoding="utf-8"))
    except OSError:
        return []
    node = next(n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign))
    topics = ast.literal_eval(node.value)
    return [topics[name] for name in sorted(topics)]


def stdlib_sources(stdlib: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """(file, text, syntax tree) of each source file that this Python can read, in a fixed order."""
    for folder, folders, files in os.walk(stdlib):
        folders[:] = sorted(
            f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("config-")
        )
        for name in sorted(files):
            if not name.endswith(".py") or name.startswith("_sysconfigdata"):
                continue
            path = Path(folder, name)
            try:
                text = path.read_text(encoding="utf-8")
                tree = ast.parse(text)
            except (OSError, SyntaxError, UnicodeDecodeError):
                continue  # a file for another Python, such as a template
            yield path.relative_to(stdlib).as_posix(), text, tree


def _docstrings(stdlib: Path) -> Iterator[tuple[str, str]]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for file, _, tree in stdlib_sources(stdlib):
        for node in ast.walk(tree):
            if isinstance(node, documented) and (text := ast.get_docstring(node)):
                yield file, text


def prose(text: str) -> Iterator[str]:
    """The paragraphs of a text that are prose (see the module), each on one line."""
    for paragraph in re.split(r"\n\s*\n", text):
        p = " ".join(paragraph.split())
        if len(p.split()) >= 8 and p.isascii() and ">>>" not in p and p[-1] in ".:?!":
            if sum(c.isalpha() or c in PLAIN for c in p) >= 0.95 * len(p):
                yield p
