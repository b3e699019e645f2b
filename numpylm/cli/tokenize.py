"""``numpylm tokenize``: a text as the tokens of a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_tokenize(commands: Any) -> None:
    """The command's options."""
    from numpylm.cli.parser import add_command

    p = add_command(commands, "tokenize", "show a text as the tokens of a model")
    p.add_argument("model", help="a run, a Hugging Face folder, a tokenizer.json, llama2.c's .bin")
    p.add_argument("text", nargs="?", help="a text; or --file")
    p.add_argument("--file", help="a text file instead")
    p.add_argument("--count", action="store_true", help="how many tokens, not which")


def tokenize(arguments: argparse.Namespace) -> int:
    """Print each token with its id, and how many characters a token holds on average."""
    from numpylm.data.corpus import read_text
    from numpylm.data.subword import SubwordTokenizer
    from numpylm.data.tokenizer_files import load_tokenizer

    if (arguments.text is None) == (arguments.file is None):
        raise ValueError("give a text or --file, one of the two")
    text = arguments.text if arguments.file is None else read_text(Path(arguments.file))
    tokenizer = load_tokenizer(arguments.model)
    ids = tokenizer.encode(text)
    figures = {
        "kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "tokens": len(ids),
        "characters": len(text), "bytes": len(text.encode()),
    }  # fmt: skip
    names: list[str] = []
    if not arguments.count and isinstance(tokenizer, SubwordTokenizer):
        names = [p.decode("utf-8", "backslashreplace") for p in tokenizer.piece_bytes(ids)]
    elif not arguments.count:
        names = [tokenizer.decode([i]) for i in ids.tolist()]
    if arguments.json:
        listed = {} if arguments.count else {"ids": ids.tolist(), "pieces": names}
        print(json.dumps({"tokenizer": arguments.model, **figures, **listed}, ensure_ascii=False))
        return 0
    for i, name in zip(ids.tolist(), names, strict=False):
        print(f"{i:>7}  {name!r}")
    share = f"; {len(text) / len(ids):.2f} characters a token" if len(ids) else ""
    print(f"{len(ids):,} tokens, {len(text):,} characters, {figures['bytes']:,} bytes{share}")
    return 0
