"""A published model with its tokenizer, whatever kind of file it comes in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.data.sentencepiece import read_llama2c as read_llama2c_tokenizer
from numpylm.data.tokenizer_files import load_tokenizer
from numpylm.data.tokenizer_json import parse_tokenizer
from numpylm.data.vocabulary import Tokenizer
from numpylm.fast import IMPLEMENTATION
from numpylm.hub.gguf import load_gguf
from numpylm.hub.hugging_face import load_folder
from numpylm.hub.llama2c import read_llama2c
from numpylm.hub.settings import read_settings

CONTROL, USER_DEFINED = 3, 4  # GGUF's types of tokens that a text may hold as they are written
GPT2_SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
SPLITS = {  # by GGUF's name for them
    "gpt-2": GPT2_SPLIT,
    "default": GPT2_SPLIT,
    "smollm": {"type": "Sequence", "pretokenizers": [DIGITS, GPT2_SPLIT]},
}


class Published(NamedTuple):
    """Parameters, configuration and tokenizer; ``ends`` are ids after which a text is over."""

    p: Any
    config: Any
    tokenizer: Tokenizer
    ends: tuple[int, ...]


def is_published(path: Path) -> bool:
    """Is it a model of someone else's, and no run of ours? Told by content."""
    if path.is_file():
        return path.suffix in (".gguf", ".bin")
    settings = path / "config.json"
    return settings.is_file() and "model_type" in read_settings(settings).entries


def load_published(path: Path) -> Published:
    """The model of a GGUF file, a llama2.c file or a Hugging Face folder.

    Raises ``ValueError`` with one clear line for what cannot be read, or a tokenizer whose tokens
    the model does not know.
    """
    load = _of_folder
    if path.suffix == ".gguf":
        load = _of_gguf
    elif path.suffix == ".bin":
        load = _of_llama2c
    found = load(path)
    if found.tokenizer.vocab_size > found.config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {found.tokenizer.vocab_size} tokens, "
            f"the model {found.config.vocab_size}"
        )
    return found._replace(config=replace(found.config, implementation=IMPLEMENTATION))


def _of_folder(path: Path) -> Published:
    p, config = load_folder(path)
    ends = read_settings(path / "config.json").entries.get("eos_token_id")
    ids = ends if isinstance(ends, list) else [ends]
    return Published(p, config, load_tokenizer(path), tuple(i for i in ids if type(i) is int))


def _of_llama2c(path: Path) -> Published:
    p, config = read_llama2c(path)
    for candidate in sorted(path.parent.glob("tok*.bin")):
        try:
            tokenizer = read_llama2c_tokenizer(candidate, config.vocab_size)
        except ValueError:
            continue
        return Published(p, config, tokenizer, (1, 2))
    raise ValueError(f"beside {path} lies no tok*.bin with its {config.vocab_size} tokens")


def _of_gguf(path: Path) -> Published:
    p, config, settings = load_gguf(path)
    end = settings.get("tokenizer.ggml.eos_token_id")
    try:
        tokenizer = parse_tokenizer(_tokenizer_json(settings))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Published(p, config, tokenizer, (end,) if type(end) is int else ())


def _tokenizer_json(settings: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer of a GGUF file in the words of a tokenizer.json."""
    kind, split = (settings.get(f"tokenizer.ggml.{n}") for n in ("model", "pre"))
    if kind != "gpt2" or split not in SPLITS:
        raise ValueError(f"the tokenizer {kind!r:.40} with split {split!r:.40} is not read here")
    tokens, merges = (settings.get(f"tokenizer.ggml.{n}") for n in ("tokens", "merges"))
    kinds = settings.get("tokenizer.ggml.token_type")
    if not all(isinstance(x, list) for x in (tokens, merges, kinds)):
        raise ValueError("the tokenizer has no tokens, merges or token_type")
    added = [
        {"id": i, "content": token, "special": kind == CONTROL, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for i, (token, kind) in enumerate(zip(tokens or [], kinds or [], strict=False))
        if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    return {
        "version": "1.0", "added_tokens": added, "pre_tokenizer": SPLITS[split],
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "merges": merges,
                  "vocab": {token: i for i, token in enumerate(tokens or [])}},
    }  # fmt: skip
