"""The house style and the picture of attention weights."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

from numpylm.plotting import attention_map, use_house_style


@pytest.fixture(autouse=True)
def house_style():
    pyplot.switch_backend("Agg")
    with pyplot.rc_context():
        use_house_style()
        yield
    pyplot.close("all")


def test_map_has_a_label_for_each_query_and_key_and_greys_exact_zeros() -> None:
    image = attention_map(np.array([[1.0, 0.0, 0.0], [0.4, 0.6, 0.0]]), ["a", "b"], list("xyz"))
    assert [t.get_text() for t in image.axes.get_xticklabels()] == ["x", "y", "z"]
    assert [t.get_text() for t in image.axes.get_yticklabels()] == ["a", "b"]
    assert image.get_array().mask.tolist() == [[False, True, True], [False, False, True]]
    image.figure.canvas.draw()


def test_map_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="2 queries, 2 keys"):
        attention_map(np.ones((2, 3)), ["a", "b"], ["x", "y"])


def test_lines_differ_in_colour_and_in_dashes() -> None:
    cycle = list(pyplot.rcParams["axes.prop_cycle"])
    assert len({c["color"] for c in cycle}) == len({str(c["linestyle"]) for c in cycle}) == 7
