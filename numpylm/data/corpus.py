"""Where the text comes from.

pydoc        the English prose that every Python carries (default; no download)
wikitext2    WikiText-2, downloaded once, with checksums
FILE         a UTF-8 text file: the first 90 % train, the rest validates
FOLDER       with train.txt, valid.txt and, if there is one, test.txt
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from numpylm.data.pydoc import cache_folder, pydoc_splits
from numpylm.data.words import line_feeds

WIKITEXT2 = (
    "https://raw.githubusercontent.com/pytorch/examples/"
    "77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/"
)
WIKITEXT2_GIT_BLOBS = {  # sha1(b"blob SIZE\0" + data), as git names the published files
    "train.txt": "2d84b35af79e411d73ea7cae83c73964c6ac83b4",
    "valid.txt": "eec944eb2d9e46061cd34a6913528797db6842fc",
    "test.txt": "6f3fc88e4cd88456ea892971f9f12243e8428624",
}


BUILT_IN = ("pydoc", "wikitext2")


@dataclass(frozen=True)
class Corpus:
    """Three texts; ``test`` may be empty. Those of pydoc share no paragraph."""

    name: str
    train: str
    valid: str
    test: str

    @property
    def sha256(self) -> str:
        """Of the three texts, so that a run can tell whether its corpus has changed."""
        parts = (self.train, self.valid, self.test)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def load_corpus(source: str | Path) -> Corpus:
    """The corpus of that name or path (see the module's table).

    Raises ``ValueError`` with one clear line if it is missing, empty, binary, not UTF-8, or cannot
    be downloaded.
    """
    path = Path(source)
    if str(source) == "pydoc":
        return Corpus("pydoc", *pydoc_splits())
    if str(source) == "wikitext2":
        return _load_folder(_download_wikitext2(), "wikitext2")
    if path.is_dir():
        return _load_folder(path, path.name)
    if path.is_file():
        text = read_text(path)
        cut = int(0.9 * len(text))
        return Corpus(path.name, text[:cut], text[cut:], "")
    raise ValueError(
        f"corpus {str(source)!r} is neither pydoc nor wikitext2 nor an existing file or folder"
    )


def read_text(path: Path) -> str:
    """A UTF-8 text file, its lines with LF. Raises ``ValueError`` if it is anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if not data.strip():
        raise ValueError(f"{path} is empty")
    if b"\0" in data:
        raise ValueError(f"{path} is a binary file (zero byte at {data.index(0)}), not text")
    try:
        return line_feeds(data.decode("utf-8-sig"))  # without a byte-order mark
    except UnicodeDecodeError as error:
        where = f"byte {data[error.start]:#x} at {error.start}"
        raise ValueError(f"{path} is not UTF-8 text: {where}") from None


def _load_folder(folder: Path, name: str) -> Corpus:
    texts = []
    for part in ("train", "valid", "test"):
        names = (f"{part}.txt", f"wiki.{part}.tokens")  # the second as WikiText is published
        found = [folder / n for n in names if (folder / n).is_file()]
        if not found and part != "test":
            raise ValueError(f"corpus folder {folder} has no {names[0]}")
        texts.append(read_text(found[0]) if found else "")
    return Corpus(name, *texts)


def _download_wikitext2() -> Path:
    """The folder with the published files, fetched on first use with a progress bar."""
    import pooch

    folder = cache_folder() / "wikitext-2"
    for name, expected in WIKITEXT2_GIT_BLOBS.items():
        path = folder / name
        try:
            pooch.retrieve(
                WIKITEXT2 + name, known_hash=None, fname=name, path=folder, progressbar=True
            )
        except OSError as error:
            raise ValueError(
                f"cannot download WikiText-2 ({type(error).__name__}): put train.txt, valid.txt "
                "and test.txt into a folder and give it as the corpus"
            ) from None
        data = path.read_bytes()
        if hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() != expected:
            path.unlink()
            raise ValueError(f"the download of {WIKITEXT2}{name} does not match its checksum")
    return folder
