"""A planted bug is in its place while the block runs, and says whether anyone called it."""

import re

import numpy as np
import pytest

from numpylm.book.notebooks import chapter_files
from numpylm.book.planting import planted
from numpylm.layers import feed_forward, linear, multi_head
from numpylm.layers.activations import gelu_backward
from numpylm.layers.choices import ACTIVATIONS
from numpylm.layers.softmax import softmax_forward


def twice(p, x):
    y, cache = linear.linear_forward(p, x)
    return 2 * y, cache


@pytest.fixture
def p():
    return linear.linear_init(np.random.default_rng(0), 3, 3)


def test_it_is_there_for_the_block_and_counts_its_calls(p):
    x, original = np.ones((2, 3)), multi_head.linear_forward
    bug = planted("numpylm.layers.multi_head.linear_forward", twice)
    assert bug.calls == 0
    with bug as again:
        assert again is bug
        np.testing.assert_array_equal(
            multi_head.linear_forward(p, x)[0], 2 * linear.linear_forward(p, x)[0]
        )
        assert multi_head.linear_forward.__name__ == "twice"
    assert multi_head.linear_forward is original
    assert bug.calls == 1
    with bug:
        multi_head.linear_forward(p, x)
    assert bug.calls == 2


def test_it_is_taken_out_when_the_block_raises():
    original = multi_head.linear_forward
    with pytest.raises(ZeroDivisionError), planted("numpylm.layers.multi_head.linear_forward", int):
        _ = 1 / 0
    assert multi_head.linear_forward is original


def test_of_several_functions_each_has_to_be_called():
    both = {"split_heads": lambda x, h: 1, "merge_heads": lambda x: 2}
    with planted("numpylm.layers.multi_head", both) as bug:
        assert multi_head.split_heads(0, 0) == 1
        assert bug.calls == 0
        assert multi_head.merge_heads(0) == 2
    assert bug.calls == 1


def test_a_table_of_functions_gets_other_entries(p):
    before = dict(ACTIVATIONS)
    gelu = ACTIVATIONS["gelu"]._replace(backward=lambda dy, cache: gelu_backward(dy, cache))
    with planted("numpylm.layers.choices.ACTIVATIONS", {"gelu": gelu}) as bug:
        network = feed_forward.FeedForward(p, p)
        y, cache = feed_forward.feed_forward_forward(network, np.ones((2, 3)), activation="gelu")
        feed_forward.feed_forward_backward(network, network, y, cache)
        assert ACTIVATIONS["relu"] is before["relu"]
    assert before == ACTIVATIONS
    assert bug.calls == 1


@pytest.mark.parametrize(
    "place",
    ["numpylm.layers.multi_head.nothing", "numpylm.nothing.f", "numpylm.layers.softmax.f.g"],
)
def test_a_place_where_nothing_stands_is_refused(place):
    with pytest.raises((AttributeError, ImportError)):
        planted(place, softmax_forward)


@pytest.mark.parametrize("chapter", chapter_files(), ids=lambda chapter: chapter.stem)
def test_a_chapter_that_plants_a_bug_asserts_that_it_was_called(chapter):
    """And none plants it by a name without counting."""
    cells = re.findall(r"```\{code-cell\}\n(.*?)```", chapter.read_text("utf-8"), re.DOTALL)
    code = "\n".join(cells)
    assert not re.search(r"patch(\.dict|\.multiple)?\(\s*f?\"numpylm", code)
    plants = "from numpylm.book.planting import planted" in code
    assert plants == bool(re.search(r"assert .*\.calls\b", code))
