"""§3.3 Text split into words and characters."""

import unicodedata

import pytest

from numpylm.data.words import split_characters, split_text, split_words, using_rules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!", "don ' t stop !"),
        ("  A-b,c  12.5\t", "a - b , c 12 . 5"),
        ("Äpfel für Jürgen…", "äpfel für jürgen …"),
        ("a\u0308pfel", "äpfel"),
        ("J\u030c", "\u01f0"),  # only the small letter is one character
        ("snake_case()", "snake_case ( )"),
        ("« l’été »", "« l ’ été »"),
        ("", ""),
    ],
)
def test_words_and_marks_are_separated(text, words):
    assert split_words(text) == words


@pytest.mark.parametrize(
    "word",
    [
        "हिन्दी", "தமிழ்", "বাংলা", "العَرَبِيَّة", "עִבְרִית", "ọ̀rọ̀", "ไทยนี้", "नमस्ते", "می‌خواهم",
        "q̃uestão",
    ],
)  # fmt: skip
def test_letters_and_their_marks_are_one_word(word):
    for text in (word, unicodedata.normalize("NFD", word)):
        composed = unicodedata.normalize("NFC", word)
        assert split_words(f"{text}, {text}!") == f"{composed} , {composed} !"
        assert split_characters(f"{text} 来") == f"{composed} 来"


def test_a_capital_with_a_dot_and_a_sign_with_a_mark():
    assert split_words("İstanbul’da") == "i̇stanbul ’ da"
    assert split_words("❤\ufe0f!") == "❤\ufe0f !"
    assert split_words("\u0301") == "\u0301"  # a mark of nothing
    assert split_characters("か\u3099, 葛\U000e0100飾") == "が , 葛\U000e0100 飾"


def test_runs_of_the_first_version_split_as_they_did():
    assert split_words("हिन्दी") == "हिन्दी"
    with using_rules(1):
        assert len(split_words("हिन्दी").split()) == 6
    assert split_words("हिन्दी") == "हिन्दी"


def test_case_is_kept_if_asked():
    assert split_words("Ada's", lower=False) == "Ada ' s"
    assert split_characters("Ada来了", lower=False) == "Ada 来 了"


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("我們試試看！", "我 們 試 試 看 ！"),
        ("湯姆有3000本書 , OK?", "湯 姆 有 3000 本 書 , ok ?"),
        ("𠀀々です", "𠀀 々 で す"),
    ],
)
def test_every_chinese_character_is_a_token(text, characters):
    assert split_characters(text) == characters
    assert split_text(text) == characters


def test_the_script_decides():
    assert split_text("Don't!") == split_words("Don't!")
    assert split_words("我們") == "我們"
    assert split_text("안녕 하세요") == "안녕 하세요"  # Korean has blanks
