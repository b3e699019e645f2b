"""A tokenizer from a file or folder, ours or a stranger's, told apart by content."""

from __future__ import annotations

from pathlib import Path

from numpylm.data.sentencepiece import read_llama2c
from numpylm.data.vocabulary import Tokenizer, tokenizer_from_json
from numpylm.files import read_utf8

LARGEST_FILE = 64 * 2**20  # bytes; Gemma's 262,144 tokens take half of it


def load_tokenizer(path: Path | str) -> Tokenizer:
    """The tokenizer of a run, a Hugging Face folder, a ``tokenizer.json`` or llama2.c's ``.bin``.

    Raises ``ValueError`` with one line that names the file. Its size is looked at before it is
    read.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file() and (size := path.stat().st_size) > LARGEST_FILE:
        raise ValueError(f"{path} has {size:,} bytes; a tokenizer has at most {LARGEST_FILE:,}")
    if path.suffix == ".bin":
        return read_llama2c(path)
    try:
        return tokenizer_from_json(read_utf8(path))
    except ValueError as error:
        known = str(path) in str(error)
        raise ValueError(str(error) if known else f"{path}: {error}") from None
