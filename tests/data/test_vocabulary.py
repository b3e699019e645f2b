"""§5.1 Tokenizers round-trip text and say clearly what they do not know."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.data.vocabulary import (
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    tokenizer_from_json,
    train_tokenizer,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT)
def test_bytes_round_trip_any_text(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids.max() < tokenizer.vocab_size == 256
    assert tokenizer.decode(ids) == text


@given(TEXT)
def test_characters_round_trip_their_own_text(text):
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert tokenizer.decode(ids) == text


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match="does not know 'é' '中'"):
        CharTokenizer.train("hello").encode("hé中éo")


def test_words_count_rare_ones_as_unknown():
    tokenizer = WordTokenizer.train("the cat sat\nthe dog\n", min_count=2)
    assert tokenizer.words == ("<unk>", "<eos>", "the")
    assert tokenizer.encode("the dog\n").tolist() == [2, 0, 1]


def test_words_keep_line_ends_and_literal_unk():
    tokenizer = WordTokenizer.train(" = Title = \n \n a <unk> b \n")
    ids = tokenizer.encode(" = Title = \n \n a <unk> b \n")
    assert [tokenizer.words[i] for i in ids] == (
        ["=", "Title", "=", "<eos>", "<eos>", "a", "<unk>", "b", "<eos>"]
    )
    assert tokenizer.decode(ids).split() == ["=", "Title", "=", "a", "<unk>", "b"]


def test_the_most_frequent_word_comes_first():
    assert WordTokenizer.train("b a b c c b").words[2:] == ("b", "c", "a")


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_words_round_trip(words):
    text = " ".join(words)
    tokenizer = WordTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_json_round_trip(kind):
    tokenizer = train_tokenizer(kind, "to be or\nnot to be\n")
    again = tokenizer_from_json(tokenizer.to_json())
    assert again == tokenizer
    assert again.encode("to be\n").tolist() == tokenizer.encode("to be\n").tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        '{"kind": "pickle"}',
        '{"kind": "char"}',
        '{"kind": "char", "symbols": 5}',
        '{"kind": "char", "symbols": "ba"}',
        '{"kind": "word", "words": ["a", "a"]}',
        '{"kind": "word", "words": [1, 2]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_gives_one_clear_error(text):
    with pytest.raises(ValueError, match="tokenizer file|vocabulary must"):
        tokenizer_from_json(text)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'bpe' is none of"):
        train_tokenizer("bpe", "text")


def test_the_alphabet_is_that_of_the_whole_corpus_the_words_are_not():
    assert train_tokenizer("char", "ab", others="c").vocab_size == 3
    assert json.loads(train_tokenizer("word", "ab", others="c").to_json())["words"][2:] == ["ab"]


@given(st.lists(st.sampled_from(["<eos>", "<unk>", "I", "am", "a"]), max_size=12))
def test_the_text_of_more_words_begins_with_the_text_of_fewer(words):
    """So that a text can be printed as it is drawn."""
    tokenizer = WordTokenizer(("<unk>", "<eos>", "I", "am", "a"))
    ids = [tokenizer.words.index(w) for w in words]
    texts = [tokenizer.decode(np.array(ids[:n], np.int64)) for n in range(len(ids) + 1)]
    for shorter, longer in itertools.pairwise(texts):
        assert longer.startswith(shorter)
    assert tokenizer.encode(texts[-1]).tolist() == ids


def test_unknown_words_are_counted():
    tokenizer = WordTokenizer.train("a a b\n", min_count=2)
    assert tokenizer.unknown_share(tokenizer.encode("a b c\n")) == 0.5
