"""What a token looks like in a figure: no control character, no empty box."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager, pyplot

from numpylm.plots import labels
from numpylm.plots.labels import drawable, font_families, token_label
from numpylm.plots.style import attention_map, use_house_style


@pytest.fixture
def no_chinese_font(monkeypatch):
    """As on a machine that has matplotlib's own fonts only."""
    monkeypatch.setattr(labels, "FONTS", ())
    for cached in (font_families, labels._drawn_as_they_are, labels._say_so):
        cached.cache_clear()
    yield
    for cached in (font_families, labels._drawn_as_they_are, labels._say_so):
        cached.cache_clear()


def test_blanks_line_ends_and_control_characters_are_seen() -> None:
    assert token_label(" the\n") == "␣the↵"
    assert token_label("\x01\t\x7f") == "\\x01⇥\\x7f"
    assert token_label("a\u200b\udc80") == "a\\u200b\\udc80"
    assert token_label("x" * 41) == "x" * 39 + "…"
    assert token_label("") == ""


def test_without_a_font_chinese_stands_in_latin_letters_and_one_line_says_so(
    no_chinese_font, capsys
) -> None:
    assert drawable("词表") == "CiBiao"
    assert drawable("词") == "Ci"
    assert drawable("é␣Σ") == "é␣Σ", "DejaVu Sans has them"
    assert capsys.readouterr().err.count(labels.NOTICE) == 1


@pytest.mark.parametrize("font", ["Noto Sans CJK SC", "SimHei", "PingFang SC"])
def test_a_font_of_the_machine_is_used(no_chinese_font, monkeypatch, font) -> None:
    monkeypatch.setattr(labels, "FONTS", (font,))
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans", font])
    assert font_families() == ("DejaVu Sans", font)


@given(tokens=st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_any_token_is_drawn_without_a_warning(tokens) -> None:
    pyplot.switch_backend("Agg")
    with pyplot.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph 1 missing from font(s)"
        warnings.filterwarnings("ignore", "constrained_layout")  # long labels leave no room
        use_house_style()
        n = len(tokens)
        image = attention_map(np.eye(n), [token_label(t) for t in tokens], tokens)
        image.figure.canvas.draw()
        pyplot.close("all")
