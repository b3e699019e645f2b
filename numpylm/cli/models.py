"""``numpylm models``: published models that are known by name, and how each is had."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def models(arguments: argparse.Namespace) -> int:
    """Print name, size, licence and command of each; and what else may stand for a model."""
    from numpylm.hub.known import KNOWN

    rows = [asdict(m) | {"installed": m.find() is not None} for m in KNOWN.values()]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        there = "installed" if row["installed"] else "not installed"
        print(f"{row['name']:<10} {row['what']}; {row['size']}, {row['licence']}; {there}")
        print(f"{'':<10} {row['command']}")
    print("\nor a Hugging Face folder (GPT-2, Llama, Mistral, Qwen 2 and 3), a .gguf file,")
    print("llama2.c's .bin with its tok*.bin; or OWNER/NAME, with pip install -e .[hub]")
    return 0
