"""§A Parameters: any tree becomes one vector and comes back; the counts agree with the arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numpylm.models.counting import parameter_counts
from numpylm.parameters import leaves, pack, view
from tests.properties.strategies import CONTEXT, OBJECTIVES, V, effort, shapes


@dataclass
class Part:
    first: Any
    second: Any


def trees(dtype):
    """Arrays of any shape, empty ones too, in any nesting of what a tree may be made of."""
    numbers = st.floats(width=32, allow_nan=False)
    arrays = hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3), elements=numbers
    )
    return st.recursive(
        st.none() | arrays | arrays.map(lambda a: a.T),
        lambda child: st.one_of(
            st.lists(child, max_size=3),
            st.lists(child, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from("abc"), child, max_size=3),
            st.builds(Part, child, child),
        ),
        max_leaves=8,
    ).filter(lambda tree: any(True for _ in leaves(tree)))


def structure(tree):
    """Everything about a tree but its numbers."""
    if tree is None or isinstance(tree, np.ndarray):
        return None if tree is None else tree.shape
    if isinstance(tree, Part):
        return Part, structure(tree.first), structure(tree.second)
    if isinstance(tree, dict):
        return {name: structure(child) for name, child in tree.items()}
    return type(tree), [structure(child) for child in tree]


@given(st.sampled_from([np.float32, np.float64]).flatmap(trees))
def test_a_tree_and_its_vector_are_one(tree):
    theta, p = pack(tree)
    before, after = dict(leaves(tree)), dict(leaves(p))
    assert structure(p) == structure(tree)
    assert list(after) == list(before)
    assert theta.shape == (sum(a.size for a in before.values()),)
    offset = 0
    for name, array in after.items():
        assert array.dtype == before[name].dtype
        np.testing.assert_array_equal(array, before[name])
        np.testing.assert_array_equal(theta[offset : offset + array.size], array.ravel())
        offset += array.size
    again, _ = pack(p)
    assert again.tobytes() == theta.tobytes()

    theta[...] = np.arange(theta.size)  # writing to one is writing to the other
    assert [x for a in after.values() for x in a.ravel()] == list(range(theta.size))
    other = view(p, theta + 1)
    assert structure(other) == structure(tree)
    for array in dict(leaves(other)).values():
        array -= 1
        assert not array.size or np.isin(array, theta).all()
    for name, array in leaves(tree):  # and the tree that was packed is as it was
        assert not np.shares_memory(array, theta)
        assert array.shape == after[name].shape


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
@effort(0.3)
@given(data=st.data())
def test_parameters_are_counted_before_they_exist(objective, data):
    config = objective.config(vocab_size=V, context=CONTEXT, **data.draw(shapes()))
    counts = parameter_counts(config)
    assert counts["total"] == objective.init(0, config)[0].size
    assert counts["total"] == sum(counts.values()) - counts["total"]
