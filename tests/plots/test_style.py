"""The house style and the picture of attention weights."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest
from matplotlib import pyplot

from numpylm.plots.style import attention_map, use_house_style, with_slider

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def house_style():
    pyplot.switch_backend("Agg")
    with pyplot.rc_context():
        use_house_style()
        yield
    pyplot.close("all")


def test_map_has_a_label_for_each_query_and_key_and_hatches_exact_zeros() -> None:
    image = attention_map(np.array([[1.0, 0.0, 0.0], [0.4, 0.6, 0.0]]), ["a", "b"], list("xyz"))
    assert [t.get_text() for t in image.axes.get_xticklabels()] == ["x", "y", "z"]
    assert [t.get_text() for t in image.axes.get_yticklabels()] == ["a", "b"]
    assert image.get_array().mask.tolist() == [[False, True, True], [False, False, True]]
    assert image.get_cmap().get_bad()[3] == 0, "the hatches of the axes behind are seen"
    assert image.axes.patch.get_hatch()
    image.figure.canvas.draw()


def test_map_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="2 queries, 2 keys"):
        attention_map(np.ones((2, 3)), ["a", "b"], ["x", "y"])


def test_lines_differ_in_colour_and_in_dashes() -> None:
    cycle = list(pyplot.rcParams["axes.prop_cycle"])
    assert len({c["color"] for c in cycle}) == len({str(c["linestyle"]) for c in cycle}) == 7


def line(height):
    figure, ax = pyplot.subplots(figsize=(1, 1))
    ax.plot([0, height])
    ax.set(ylim=(0, 3))
    return figure


@pytest.fixture
def shown(monkeypatch):
    """What a cell would display, and the widgets made on the way."""
    display = pytest.importorskip("IPython.display", reason="the book needs jupyter")
    outputs = []
    monkeypatch.setattr(display, "display", lambda data, raw: outputs.append(data))
    return outputs


def test_slider_draws_the_value_that_it_is_moved_to(shown, monkeypatch) -> None:
    ipywidgets = pytest.importorskip("ipywidgets", reason="the book needs jupyter")
    made, box = [], ipywidgets.VBox
    monkeypatch.setattr(ipywidgets, "VBox", lambda children: made.extend(children) or box(children))
    with_slider(line, "height", [1, 2, 3], start=2)
    slider, picture = made
    still = base64.b64decode(shown[0]["image/png"])
    assert WIDGET in shown[0]
    assert picture.value == still
    slider.value = 3
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert picture.value != still
    slider.value = 2
    assert picture.value == still
    assert not pyplot.get_fignums(), "a figure left open is shown a second time"


def test_without_widgets_a_still_picture_is_shown(shown, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with_slider(line, "height", [1, 2, 3], start=2)
    assert sorted(shown[0]) == ["image/png", "text/plain"]
    assert base64.b64decode(shown[0]["image/png"]).startswith(b"\x89PNG")


def test_slider_refuses_a_start_that_it_does_not_have(shown) -> None:
    with pytest.raises(ValueError, match=r"starts at 4, which is not among \[1, 2, 3\]"):
        with_slider(line, "height", [1, 2, 3], start=4)
