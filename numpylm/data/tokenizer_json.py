"""Hugging Face's ``tokenizer.json``: byte-level BPE, SentencePiece's BPE, WordPiece.

The file names its steps: normaliser, pre-tokeniser, model, post-processor, added tokens. A step
that we have gives the same ids as the ``tokenizers`` library; any other is refused by its name, for
ids that are nearly right are wrong.
"""

from __future__ import annotations

from typing import Any

import regex

from numpylm.data.bpe import BYTE_ALPHABET, FORMS, BPETokenizer, Pair
from numpylm.data.sentencepiece import SentencePieceTokenizer
from numpylm.data.split_patterns import SPLITS
from numpylm.data.subword import AddedToken, SubwordTokenizer, require_utf8
from numpylm.data.tokenizer_json_writer import BLANK, METASPACE, PREPEND_AND_REPLACE
from numpylm.data.wordpiece import WordPieceTokenizer

LARGEST_ID = 2**24
BYTE_OF = {ord(c): b for b, c in BYTE_ALPHABET.items()}


def parse_tokenizer(data: Any) -> SubwordTokenizer:
    """The tokenizer that the parsed file describes. Raises ``ValueError`` for a step we lack."""
    if not isinstance(data, dict):
        raise ValueError("it holds no object")
    model = _get(data, "model", dict)
    vocabulary = _vocabulary(_get(model, "vocab", dict))
    added = tuple(_added_token(token, vocabulary) for token in _get(data, "added_tokens", list, []))
    names = {token.content: token.id for token in added}
    if len(added) + len(vocabulary.keys() - names) > len({*names.values(), *vocabulary.values()}):
        raise ValueError("an added token has the id or the text of another token")
    before, after = _around(data.get("post_processor"))
    common = {"added": added, "before": before, "after": after}
    kind = model.get("type", "BPE" if "merges" in model else "WordPiece")
    if kind == "WordPiece":
        return _wordpiece(data, model, vocabulary, common)
    if kind != "BPE":
        raise ValueError(f"model type {kind!r:.40} is none of BPE, WordPiece")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise ValueError(f"BPE with {name} {model[name]!r:.40} is not supported")
    if _get(model, "byte_fallback", bool, False):
        return _sentencepiece(data, model, vocabulary, common)
    return _byte_level(data, model, vocabulary, common)


def _byte_level(data: dict, model: dict, vocabulary: dict, common: dict) -> BPETokenizer:
    standing = {token.content for token in common["added"]}
    pieces = {_bytes(name): i for name, i in vocabulary.items() if name not in standing}
    pairs = _merges(model, vocabulary)
    patterns, prefix_space = _patterns(data.get("pre_tokenizer"))
    return BPETokenizer(
        pieces=pieces, merges=pairs, patterns=patterns, prefix_space=prefix_space,
        form=_form(data.get("normalizer")),
        whole_chunks=_get(model, "ignore_merges", bool, False), **common,
    )  # fmt: skip


def _sentencepiece(
    data: dict, model: dict, vocabulary: dict, common: dict
) -> SentencePieceTokenizer:
    steps = data.get("normalizer"), data.get("pre_tokenizer")
    if steps not in ((PREPEND_AND_REPLACE, None), (None, METASPACE)):
        raise ValueError(f"byte fallback with these steps is not supported: {steps!s:.120}")
    if _get(model, "ignore_merges", bool, False):
        raise ValueError("byte fallback with ignore_merges is not supported")
    standing = {token.content for token in common["added"]}
    pieces = {
        name.replace(BLANK, " ").encode(): i
        for name, i in vocabulary.items()
        if name not in standing
    }
    ranked = {p: (float(r), new) for r, (p, new) in enumerate(_merges(model, vocabulary).items())}
    return SentencePieceTokenizer(pieces=pieces, merges=ranked, **common)


def _wordpiece(data: dict, model: dict, vocabulary: dict, common: dict) -> WordPieceTokenizer:
    normalizer = _get(data, "normalizer", dict)
    before = data.get("pre_tokenizer")
    if normalizer.get("type") != "BertNormalizer" or before != {"type": "BertPreTokenizer"}:
        raise ValueError(f"WordPiece without BERT's normaliser and pre-tokeniser: {before!s:.60}")
    for token in data.get("added_tokens", []):
        if token.get("normalized"):
            raise ValueError(f"added token {token['content']!r:.40}: normalized is not supported")
    accents = normalizer.get("strip_accents")
    if accents is not None and type(accents) is not bool:
        raise ValueError(f"strip_accents is {accents!r:.40}")
    return WordPieceTokenizer(
        pieces={name.encode(): i for name, i in vocabulary.items()},
        unknown=_get(model, "unk_token", str), strip_accents=accents,
        prefix=_get(model, "continuing_subword_prefix", str, "##"),
        longest_word=_get(model, "max_input_chars_per_word", int, 100),
        clean_text=_get(normalizer, "clean_text", bool, True),
        chinese=_get(normalizer, "handle_chinese_chars", bool, True),
        lowercase=_get(normalizer, "lowercase", bool, True), **common,
    )  # fmt: skip


def _get(data: dict, key: str, kind: type, *default: Any) -> Any:
    value = data.get(key, *default)
    if type(value) is not kind:
        raise ValueError(f"{key} is {value!r:.40}, no {kind.__name__}")
    if isinstance(value, str):
        _require_utf8(value)
    return value


def _vocabulary(data: dict) -> dict[str, int]:
    for name, i in data.items():
        if type(i) is not int or not 0 <= i < LARGEST_ID:
            raise ValueError(f"token {name!r:.40} has the id {i!r:.40}")
        _require_utf8(name)
    if not data or len(set(data.values())) < len(data):
        raise ValueError("the vocabulary is empty or gives an id twice")
    return data


def _require_utf8(name: str) -> None:
    try:
        require_utf8(name)
    except ValueError:
        raise ValueError(f"{name!r:.40} cannot be written in UTF-8") from None


def _added_token(data: Any, vocabulary: dict[str, int]) -> AddedToken:
    if not isinstance(data, dict):
        raise ValueError(f"added token {data!r:.40} is no object")
    content, i = _get(data, "content", str), _get(data, "id", int)
    if not 0 <= i < LARGEST_ID or vocabulary.get(content, i) != i:
        raise ValueError(f"added token {content!r:.40} has the id {i}")
    if data.get("single_word"):
        raise ValueError(f"added token {content!r:.40}: single_word is not supported")
    flags = {name: _get(data, name, bool, False) for name in ("special", "lstrip", "rstrip")}
    return AddedToken(content, i, **flags)


def _bytes(name: str) -> bytes:
    try:
        return bytes([BYTE_OF[ord(c)] for c in name])
    except KeyError:
        raise ValueError(f"token {name!r:.40} is not written in GPT-2's alphabet") from None


def _merges(model: dict, vocabulary: dict[str, int]) -> dict[Pair, int]:
    merges: dict[Pair, int] = {}
    for number, merge in enumerate(_get(model, "merges", list)):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or [type(part) for part in parts] != [str, str]:
            raise ValueError(f"merge {number} is {merge!r:.60}, no pair")
        left, right = parts
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise ValueError(f"merge {number}, {merge!r:.60}, is not of the vocabulary's tokens")
        pair = vocabulary[left], vocabulary[right]
        if pair in merges:
            raise ValueError(f"merge {number}, {merge!r:.60}, occurs twice")
        merges[pair] = vocabulary[left + right]
    return merges


def _form(data: Any) -> str:
    """The Unicode normal form that a normaliser names."""
    sequence = isinstance(data, dict) and data.get("type") == "Sequence"
    steps = _get(data, "normalizers", list) if sequence else [data]
    if steps in ([], [None]):
        return ""
    form = steps[0].get("type") if isinstance(steps[0], dict) else None
    if len(steps) > 1 or form not in FORMS:
        raise ValueError(f"the normaliser {data!s:.80} is not supported for BPE")
    return form


def _patterns(data: Any) -> tuple[tuple[str, ...], bool]:
    """Split patterns, and whether a blank is put before a text."""
    if isinstance(data, dict) and data.get("type") == "Sequence":
        steps = _get(data, "pretokenizers", list)
    else:
        steps = [data]
    patterns: list[str] = []
    for number, step in enumerate(steps):
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "ByteLevel" and number == len(steps) - 1:
            if _get(step, "use_regex", bool, True):
                patterns.append(SPLITS["gpt2"])
            prefix = _get(step, "add_prefix_space", bool, True)
            if prefix and len(steps) > 1:
                raise ValueError("add_prefix_space behind other pre-tokenisers is not supported")
            return tuple(patterns), prefix
        if kind == "Digits":
            single = _get(step, "individual_digits", bool, False)
            patterns.append(r"\p{N}" if single else r"\p{N}+")
        elif kind == "Split":
            patterns.append(_split_pattern(step))
        else:
            break
    raise ValueError(f"the pre-tokeniser {data!s:.120} is not supported for byte-level BPE")


def _split_pattern(step: dict) -> str:
    how = step.get("behavior"), step.get("invert", False)
    if how not in (("Isolated", False), ("Isolated", True), ("Removed", True)):
        raise ValueError(f"a split with behavior {how[0]!r:.40}, invert {how[1]!r:.40}")
    pattern = _get(step, "pattern", dict)
    if "String" in pattern:
        return regex.escape(_get(pattern, "String", str))
    return _get(pattern, "Regex", str)


def _around(data: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before and after a single text."""
    if data is None:
        return (), ()
    kind = data.get("type") if isinstance(data, dict) else None
    if kind == "Sequence":
        found = [_around(step) for step in _get(data, "processors", list)]
        return sum((f[0] for f in found), ()), sum((f[1] for f in found), ())
    if kind == "ByteLevel":
        return (), ()
    if kind in ("BertProcessing", "RobertaProcessing"):
        cls, sep = (_get(data, name, list) for name in ("cls", "sep"))
        if [type(x) for x in cls + sep] != [str, int, str, int]:
            raise ValueError(f"cls and sep are {cls!s:.40} and {sep!s:.40}")
        return (cls[1],), (sep[1],)
    if kind != "TemplateProcessing":
        raise ValueError(f"the post-processor {kind!r:.40} is not supported")
    sides: tuple[list[int], list[int]] = [], []
    texts = 0
    for step in _get(data, "single", list):
        if isinstance(step, dict) and "Sequence" in step:
            texts += 1
            continue
        name = _get(_get(step, "SpecialToken", dict), "id", str) if type(step) is dict else ""
        ids = _get(_get(_get(data, "special_tokens", dict), name, dict), "ids", list)
        if any(type(i) is not int for i in ids):
            raise ValueError(f"the special token {name!r:.40} has the ids {ids!s:.40}")
        sides[min(texts, 1)].extend(ids)
    if texts != 1:
        raise ValueError(f"the template holds the text {texts} times")
    return tuple(sides[0]), tuple(sides[1])
