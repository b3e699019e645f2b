"""§5.1 Tokenizers round-trip any text: bytes and characters exactly, words up to what they drop."""

import itertools
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.data.documents import load_documents, sentences
from numpylm.data.vocabulary import (
    END,
    UNKNOWN,
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    tokenizer_from_json,
)
from numpylm.data.words import split_characters, split_text, split_words
from tests.properties.strategies import effort

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all of Unicode: no lone surrogates
SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
# White space of many kinds, the special words, accents that compose, scripts that change in case.
TRICKY = st.lists(
    st.sampled_from(
        ["a", "B", " ", "  ", "\n", "\r\n", "\t", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000",
         END, UNKNOWN, ".", "! ", "?", "。", "e\u0301", "\u030c", "J\u030c", "İ", "ß", "Σ", "我",
         "\ufeff", "\u200b", "9", "_", "ｱ", "\U0001f600", "\U00020000", "= T ="]
    )
).map("".join)  # fmt: skip
TEXTS = TEXT | TRICKY


def lines_of_words(text: str) -> list[list[str]]:
    """How a word tokenizer reads a text: lines end at \\n alone, words at any white space."""
    return [line.split() for line in text.split("\n")]


@given(TEXTS)
def test_bytes_round_trip_any_text(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert bytes(ids.tolist()) == text.encode()
    assert tokenizer.decode(ids) == text


@given(st.lists(st.integers(0, 255), max_size=12))
def test_any_bytes_can_be_shown(ids):
    """A model may draw half a character: it becomes U+FFFD, and the rest is still there."""
    text = ByteTokenizer().decode(np.array(ids, np.int64))
    assert text == bytes(ids).decode("utf-8", "replace")


@given(SOME | TRICKY.filter(bool), TEXTS)
def test_characters_round_trip_their_own_text_and_name_any_other(known, text):
    tokenizer = CharTokenizer.train(known)
    ids = tokenizer.encode(known)
    assert ids.dtype == np.int64
    assert ids.shape == (len(known),)
    assert ids.max() < tokenizer.vocab_size == len(set(known))
    assert tokenizer.decode(ids) == known
    if missing := set(text) - set(known):
        with pytest.raises(ValueError, match="does not know") as error:
            tokenizer.encode(text)
        named = sum(repr(c) in str(error.value) for c in missing)
        assert named >= min(len(missing), 10)
        assert ("more" in str(error.value)) == (len(missing) > 10)
    else:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(TEXTS, TEXTS, st.integers(1, 3))
def test_words_round_trip_up_to_white_space_and_rare_words(train, text, min_count):
    tokenizer = WordTokenizer.train(train, min_count)
    count = train.split().count
    known = {w for w in train.split() if w not in (END, UNKNOWN) and count(w) >= min_count}
    assert set(tokenizer.words) == known | {END, UNKNOWN}
    assert tokenizer.words[:2] == (UNKNOWN, END)
    counts = [count(w) for w in tokenizer.words[2:]]
    assert counts == sorted(counts, reverse=True)

    lines = [[w if w in known or w == END else UNKNOWN for w in s] for s in lines_of_words(text)]
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    expected = " <eos> ".join(" ".join(line) for line in lines).split()
    assert [tokenizer.words[i] for i in ids] == expected
    decoded = tokenizer.decode(ids)
    if all(END not in line for line in lines):  # written out, it is read as the end of a line
        assert decoded == "\n".join(" ".join(line) for line in lines)
    assert tokenizer.encode(decoded).tolist() == ids.tolist()
    share = expected.count(UNKNOWN) / max(len(expected), 1)
    assert tokenizer.unknown_share(ids) == pytest.approx(share)


@given(st.lists(st.sampled_from([END, UNKNOWN, "I", "am", "a"]), max_size=12))
def test_the_text_of_more_words_begins_with_the_text_of_fewer(words):
    """So that a text can be printed as it is drawn."""
    tokenizer = WordTokenizer((UNKNOWN, END, "I", "am", "a"))
    ids = [tokenizer.words.index(w) for w in words]
    texts = [tokenizer.decode(np.array(ids[:n], np.int64)) for n in range(len(ids) + 1)]
    for shorter, longer in itertools.pairwise(texts):
        assert longer.startswith(shorter)
    assert tokenizer.encode(texts[-1]).tolist() == ids


@given(SOME | TRICKY.filter(bool))
def test_a_file_holds_all_of_a_tokenizer(text):
    for tokenizer in (CharTokenizer.train(text), WordTokenizer.train(text), ByteTokenizer()):
        written = tokenizer.to_json()
        assert written.isascii()
        again = tokenizer_from_json(json.dumps(json.loads(written)))
        assert again == tokenizer
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("split", [split_words, split_characters, split_text])
@given(TEXTS, st.booleans())
def test_splitting_keeps_every_sign_and_splits_once(split, text, lower):
    words = split(text, lower)
    expected = unicodedata.normalize("NFC", text.lower() if lower else text)
    assert "".join(words.split()) == "".join(expected.split())
    assert words == " ".join(words.split())
    assert split(words, lower) == words


@given(TEXTS)
def test_sentences_hold_all_of_a_paragraph(text):
    words = split_text(text)
    found = sentences(words)
    assert " ".join(found) == words
    ends = [[w in ".!?。！？" for w in s.split()] for s in found]
    assert all(marks[-1] for marks in ends[:-1])
    assert not any(marks[0] for marks in ends[1:])  # marks that follow each other stay together
    assert all(marks == sorted(marks) for marks in ends)  # and nothing follows them


@effort(0.5)
@given(st.lists(TRICKY | st.text("ab .\n", max_size=9), max_size=4))
def test_documents_hold_all_words_between_blank_lines(tmp_path_factory, blocks):
    folder = tmp_path_factory.mktemp("corpus")
    blocks = ["x y.", *(b for b in blocks if "= T =" not in b), "z."]
    text = "\n\n".join(blocks)
    for part in ("train", "valid"):
        (folder / f"{part}.txt").write_text(text, encoding="utf-8", newline="")
    found = load_documents(folder).train
    assert " ".join(s for document in found for s in document).split() == (
        [w for block in blocks for w in split_text(block).split()]
    )
    assert all(document for document in found)
