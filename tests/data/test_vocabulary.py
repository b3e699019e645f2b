"""§5.1 Tokenizers round-trip text and say clearly what they do not know."""

import json

import pytest

from numpylm.data.vocabulary import (
    CharTokenizer,
    WordTokenizer,
    tokenizer_from_json,
    train_tokenizer,
)


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


@pytest.mark.parametrize("kind", ["char", "word", "byte", "bpe"])
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
    with pytest.raises(ValueError, match="'unigram' is none of char, word, byte, bpe"):
        train_tokenizer("unigram", "text")


def test_the_alphabet_is_that_of_the_whole_corpus_the_words_are_not():
    assert train_tokenizer("char", "ab", others="c").vocab_size == 3
    assert json.loads(train_tokenizer("word", "ab", others="c").to_json())["words"][2:] == ["ab"]


def test_unknown_words_are_counted():
    tokenizer = WordTokenizer.train("a a b\n", min_count=2)
    assert tokenizer.unknown_share(tokenizer.encode("a b c\n")) == 0.5
