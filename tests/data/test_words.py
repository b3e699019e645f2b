"""§3.3 Text split into words and characters."""

import pytest

from numpylm.data.words import split_characters, split_text, split_words


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
