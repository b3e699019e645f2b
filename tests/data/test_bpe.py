"""Byte-level BPE equals Hugging Face's library, minbpe's rule, and plain loops."""

import hashlib
import json
import os
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from numpylm.data.bpe import BYTE_ALPHABET, merge_pairs, replace_pair, train_bpe
from numpylm.data.split_patterns import LONGEST_PATTERN, SPLITS, split

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/tokenizers.json").read_text())
SMALL = train_bpe(GOLDEN["text"], 330)
FEW = st.text("ab c'1\n", max_size=60)
ANY = st.text(st.characters(exclude_categories=["Cs"]))


def by_definition(text, n_merges, order, rule):
    """Merges of the whole list of chunks, counted anew each time."""
    ids = {b: i for i, b in enumerate(order)}
    chunks = [[ids[b] for b in chunk.encode()] for chunk in regex.findall(SPLITS["gpt2"], text)]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(pair for chunk in chunks for pair in pairwise(chunk))
        if not counts:
            break
        if rule == "minbpe":
            pair = max(counts, key=counts.get)  # of equals, the one that was put in first
        else:
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(pair)
        chunks = [replace_pair(chunk, pair, 255 + len(merges)) for chunk in chunks]
    return merges


@pytest.mark.parametrize("pattern", SPLITS)
def test_training_equals_the_library(pattern):
    model = GOLDEN["tokenizers"][pattern]["file"]["model"]
    names = {piece: i for piece, i in model["vocab"].items()}
    ours = train_bpe(GOLDEN["text"], 330, pattern=pattern)
    assert list(ours.merges) == [(names[a], names[b]) for a, b in model["merges"]]
    assert [ours.encode(text).tolist() for text in GOLDEN["texts"]] == (
        GOLDEN["tokenizers"][pattern]["ids"]
    )


@given(FEW, st.integers(0, 40))
def test_the_heap_finds_what_counting_anew_finds(text, n_merges):
    ours = train_bpe(text, 256 + n_merges)
    assert list(ours.merges) == by_definition(text, n_merges, BYTE_ALPHABET, "huggingface")


@given(FEW, st.integers(0, 40))
def test_ties_as_minbpe_breaks_them(text, n_merges):
    ours = train_bpe(text, 256 + n_merges, ties="minbpe")
    assert list(ours.merges) == by_definition(text, n_merges, range(256), "minbpe")
    assert ours.pieces[b"A"] == 65


def test_the_two_rules_differ():
    assert list(train_bpe("b a", 257, ties="minbpe").merges) == [(32, 97)]
    first, second = (
        train_bpe("zb ab", 257, ties=ties).merges for ties in ("minbpe", "huggingface")
    )
    assert list(first) == [(122, 98)]
    assert list(second) == [(64, 65)], "a and b are the 65th and 66th printable characters"


@given(ANY | FEW)
def test_any_text_round_trips(text):
    tokenizer = SMALL
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert tokenizer.decode(ids) == text


def test_ten_thousand_random_texts_round_trip():
    rng = random.Random(7)
    for number in range(10_000):
        points = (
            rng.randrange(0x110000 if number % 2 else 0x250) for _ in range(rng.randrange(30))
        )
        text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        assert SMALL.decode(SMALL.encode(text)) == text


@given(FEW, FEW)
def test_encoding_merges_the_pair_that_was_learned_first(known, text):
    tokenizer = train_bpe(known, 290)
    expected = []
    for chunk in regex.findall(SPLITS["gpt2"], text):
        ids = [tokenizer.pieces[bytes([b])] for b in chunk.encode()]
        for pair, new in tokenizer.merges.items():
            ids = replace_pair(ids, pair, new)
        expected += ids
    assert tokenizer.encode(text).tolist() == expected


def test_a_chunk_of_many_letters_is_no_trap():
    tokenizer = train_bpe("ab" * 50 + " " + "ba" * 50, 280)
    started = time.process_time()
    text = "abba" * 50_000
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert time.process_time() - started < 20


def test_merge_pairs_of_equal_neighbours_goes_from_the_left():
    assert merge_pairs([1, 1, 1], {(1, 1): (0, 2)}) == [2, 1]
    assert merge_pairs([], {}) == []


def test_special_tokens_stand_behind_the_merges_and_are_never_cut():
    text = "<|end|>ab ab<|end|>"
    tokenizer = train_bpe(text, 260, special=("<|end|>",))
    assert str(tokenizer) == f"BPETokenizer({tokenizer.vocab_size} tokens, 1 added)"
    assert not any(b"<" in piece and len(piece) > 1 for piece in tokenizer.pieces)
    end = tokenizer.vocab_size - 1
    assert [token.id for token in tokenizer.added] == [end]
    ids = tokenizer.encode(text)
    assert ids[0] == ids[-1] == end
    assert tokenizer.decode(ids) == text
    assert end not in tokenizer.encode(text, special=False)
    assert tokenizer.decode(tokenizer.encode(text, special=False)) == text


def test_a_short_text_gives_a_small_vocabulary():
    assert train_bpe("abc", 1000).vocab_size == 258


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 255}, "vocab_size is 255; a vocabulary holds at least 256 bytes"),
        ({"vocab_size": 257, "special": ("a", "b")}, "256 bytes and 2 special tokens"),
        ({"vocab_size": 300, "pattern": "gpt9"}, "'gpt9' is none of gpt2, llama3, qwen2"),
        ({"vocab_size": 300, "ties": "coin"}, "'coin' is none of huggingface, minbpe"),
        ({"vocab_size": 300, "special": ("a", "a")}, "given twice"),
        ({"vocab_size": 300, "text": "a\ud800"}, "at 1 is no character of UTF-8"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train_bpe(**{"text": "ab", **options})


def test_an_unknown_id_and_half_a_surrogate_are_refused():
    tokenizer = train_bpe("ab", 257)
    with pytest.raises(ValueError, match="id 257 is none of the vocabulary's 257"):
        tokenizer.decode([257])
    with pytest.raises(ValueError, match="is no character of UTF-8"):
        tokenizer.encode("\udc00")


@given(ANY | FEW, st.sampled_from([*SPLITS.values(), "a", "(b)|c*", r"\b", r"(?<=a)"]))
def test_chunks_are_the_text_again(text, pattern):
    chunks = list(split(text, (pattern, r"\p{N}")))
    assert "".join(chunks) == text
    assert all(chunks)


@pytest.mark.parametrize("pattern", SPLITS.values())
def test_published_patterns_leave_no_gap(pattern):
    text = "".join(GOLDEN["texts"])
    assert "".join(match[0] for match in regex.finditer(pattern, text)) == text


@pytest.mark.parametrize("pattern", ["(", "[", "a{3,1}", "(" * 5000, "x" * (LONGEST_PATTERN + 1)])
def test_a_pattern_that_is_none_is_refused(pattern):
    with pytest.raises(ValueError, match="split pattern") as refused:
        list(split("text", (pattern,)))
    assert "\n" not in str(refused.value)


def test_a_pattern_that_explodes_is_stopped():
    with pytest.raises(ValueError, match="took more than 2 s on 65 characters"):
        list(split("a" * 64 + "!", ("(a|aa)+$",)))


@pytest.mark.slow
@pytest.mark.skipif("NUMPYLM_DATA" not in os.environ, reason="NUMPYLM_DATA names no folder")
def test_wikitext_2_equals_the_library():
    """sha256 of merges and ids of tokenizers 0.23.3, vocabulary of 8,192, training text."""
    path = Path(os.environ["NUMPYLM_DATA"]) / "wikitext-2/train.txt"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    text = path.read_bytes().decode()
    tokenizer = train_bpe(text, 8192)
    merges = json.dumps(list(tokenizer.merges)).encode()
    assert hashlib.sha256(merges).hexdigest()[:16] == "45004f989fce5e2c"
    ids = tokenizer.encode(text)
    assert len(ids) == 2_675_763
    assert hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()[:16] == "3eb3c364a9a39e3c"
    assert tokenizer.decode(ids) == text
