"""A tokenizer written as Hugging Face's ``tokenizer.json``, which its library reads."""

from __future__ import annotations

import json
from typing import Any

from numpylm.data.bpe import BYTE_ALPHABET, BPETokenizer
from numpylm.data.sentencepiece import SentencePieceTokenizer
from numpylm.data.split_patterns import SPLITS
from numpylm.data.subword import AddedToken, SubwordTokenizer
from numpylm.data.wordpiece import WordPieceTokenizer

BLANK = "▁"  # U+2581, how SentencePiece writes a blank
PREPEND_AND_REPLACE = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": BLANK},
        {"type": "Replace", "pattern": {"String": " "}, "content": BLANK},
    ],
}
METASPACE = {
    "type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always", "split": False,
}  # fmt: skip
Steps = dict[str, Any]


def write_tokenizer_json(tokenizer: SubwordTokenizer) -> str:
    """The text of the file. Raises ``ValueError`` for a kind that has no such form."""
    if isinstance(tokenizer, BPETokenizer):
        steps = _byte_level(tokenizer)
    elif isinstance(tokenizer, SentencePieceTokenizer):
        steps = _sentencepiece(tokenizer)
    elif isinstance(tokenizer, WordPieceTokenizer):
        steps = _wordpiece(tokenizer)
    else:
        raise ValueError(f"{type(tokenizer).__name__} has no form in tokenizer.json")
    data = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [_added_token(token) for token in tokenizer.added],
        "normalizer": None, "pre_tokenizer": None,
        "post_processor": _template(tokenizer), **steps,
    }  # fmt: skip
    return json.dumps(data, ensure_ascii=False)


def _byte_level(tokenizer: BPETokenizer) -> Steps:
    *patterns, last = tokenizer.patterns or ("",)
    gpt2 = last == SPLITS["gpt2"]
    splits = [
        {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        for p in (patterns if gpt2 or not last else (*patterns, last))
    ]
    flags = {"add_prefix_space": tokenizer.prefix_space, "trim_offsets": True, "use_regex": gpt2}
    steps = [*splits, {"type": "ByteLevel", **flags}]
    names = {i: "".join(BYTE_ALPHABET[b] for b in piece) for piece, i in tokenizer.pieces.items()}
    return {
        "normalizer": {"type": tokenizer.form} if tokenizer.form else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps} if splits else steps[0],
        "decoder": {"type": "ByteLevel", **flags},
        "model": _bpe(names, list(tokenizer.merges), ignore_merges=tokenizer.whole_chunks),
    }


def _sentencepiece(tokenizer: SentencePieceTokenizer) -> Steps:
    names = {i: p.decode("utf-8", "replace").replace(" ", BLANK) for i, p in _by_id(tokenizer)}
    ordered = sorted(tokenizer.merges, key=lambda pair: tokenizer.merges[pair][0])
    known = {token.id: token.content for token in tokenizer.added}
    decoder = [
        {"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]  # fmt: skip
    return {
        "normalizer": PREPEND_AND_REPLACE,
        "decoder": {"type": "Sequence", "decoders": decoder},
        "model": _bpe(known | names, ordered, byte_fallback=True, fuse_unk=True),
    }


def _by_id(tokenizer: SubwordTokenizer) -> list[tuple[int, bytes]]:
    return [(i, piece) for piece, i in tokenizer.pieces.items()]


def _bpe(names: dict[int, str], pairs: list[tuple[int, int]], **flags: bool) -> Steps:
    plain = {
        "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
        "ignore_merges": False,
    }  # fmt: skip
    vocabulary = {names[i]: i for i in sorted(names)}
    merges = [[names[left], names[right]] for left, right in pairs]
    return {"type": "BPE", **plain, **flags, "vocab": vocabulary, "merges": merges}


def _wordpiece(tokenizer: WordPieceTokenizer) -> Steps:
    return {
        "normalizer": {
            "type": "BertNormalizer", "clean_text": tokenizer.clean_text,
            "handle_chinese_chars": tokenizer.chinese, "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": tokenizer.prefix, "cleanup": False},
        "model": {
            "type": "WordPiece", "unk_token": tokenizer.unknown,
            "continuing_subword_prefix": tokenizer.prefix,
            "max_input_chars_per_word": tokenizer.longest_word,
            "vocab": {piece.decode(): i for i, piece in sorted(_by_id(tokenizer))},
        },
    }  # fmt: skip


def _added_token(token: AddedToken) -> Steps:
    return {
        "id": token.id, "content": token.content, "single_word": False, "lstrip": token.lstrip,
        "rstrip": token.rstrip, "normalized": False, "special": token.special,
    }  # fmt: skip


def _template(tokenizer: SubwordTokenizer) -> Steps | None:
    """``before A after``, and for two texts ``before A after B after``."""
    before, after = tokenizer.before, tokenizer.after
    if not before + after:
        return None
    names = {i: tokenizer.piece_of[i].decode("utf-8", "replace") for i in before + after}

    def special(ids: tuple[int, ...], part: int) -> list[Steps]:
        return [{"SpecialToken": {"id": names[i], "type_id": part}} for i in ids]

    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    single = [*special(before, 0), first, *special(after, 0)]
    rest = [second, *special(after, 1)] if after else [*special(before, 1), second]
    return {
        "type": "TemplateProcessing", "single": single, "pair": single + rest,
        "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for i, n in names.items()},
    }  # fmt: skip
