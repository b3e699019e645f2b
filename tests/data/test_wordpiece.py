"""BERT's WordPiece by hand; test_tokenizer_json compares it with the library."""

import pytest

from numpylm.data.wordpiece import WordPieceTokenizer, split_bert

WORDS = ("[UNK]", "un", "##aff", "##able", "un##", "a", "##a", "中", "!", "cafe", "CAFÉ", "##b")


def tokenizer(**settings):
    return WordPieceTokenizer(pieces={w.encode(): i for i, w in enumerate(WORDS)}, **settings)


def names(text, **settings):
    made = tokenizer(**settings)
    return [WORDS[i] for i in made.encode(text)]


def test_the_longest_piece_first_and_no_half_words():
    assert names("unaffable") == ["un", "##aff", "##able"], "the paper's example"
    assert names("unaffablex aa") == ["[UNK]", "a", "##a"]


def test_case_accents_and_chinese():
    assert names("CAFÉ!a中a") == ["cafe", "!", "a", "中", "a"]
    assert names("CAFÉ", lowercase=False) == ["CAFÉ"]
    assert names("CAFÉ", lowercase=True, strip_accents=False) == ["[UNK]"]
    assert names("a中", chinese=False) == ["[UNK]"]


def test_control_characters_vanish():
    assert names("a\x00\u200ba\tb") == ["a", "##a", "[UNK]"]
    assert names("a\x1ca", clean_text=False) == ["[UNK]"], "a control character is no blank"
    assert list(split_bert("a\x1cb c\u3000d")) == ["a\x1cb", "c", "d"]


def test_a_long_word_is_unknown():
    assert names("a" * 100) == ["a"] + ["##a"] * 99
    assert names("a" * 101) == ["[UNK]"]


def test_words_are_put_together_again():
    made = tokenizer()
    assert made.decode(made.encode("unaffable a !")) == "unaffable a !"
    assert made.decode([2, 1]) == "##aff un"


def test_the_unknown_token_must_be_there():
    with pytest.raises(ValueError, match="lacks its unknown token '\\[UNK\\]'"):
        WordPieceTokenizer(pieces={b"a": 0})
