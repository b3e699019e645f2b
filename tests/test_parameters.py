from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from numpylm.parameters import leaves, pack, view


@dataclass
class Part:
    weight: np.ndarray
    bias: np.ndarray | None


def tree():
    return {
        "first": Part(np.arange(6.0).reshape(2, 3), np.array([6.0])),
        "rest": [Part(np.array([[7.0], [8.0]]), None), (np.array(9.0),)],
    }


NAMES = ["first.weight", "first.bias", "rest.0.weight", "rest.1.0"]


def test_leaves_are_named_by_fields_keys_and_indices_in_order():
    assert [name for name, _ in leaves(tree())] == NAMES


def test_a_named_tuple_is_named_by_its_fields():
    layer = namedtuple("Layer", "weight bias")
    _, p = pack({"a": layer(np.ones((2, 2)), np.zeros(2))})
    assert [name for name, _ in leaves(p)] == ["a.weight", "a.bias"]
    assert p["a"].weight.shape == (2, 2)


def test_a_bare_array_is_a_tree():
    assert [name for name, _ in leaves(np.zeros(2))] == [""]


def test_pack_lays_the_arrays_end_to_end():
    theta, p = pack(tree())
    np.testing.assert_array_equal(theta, np.arange(10.0))
    assert [(n, a.shape) for n, a in leaves(p)] == [(n, a.shape) for n, a in leaves(tree())]
    assert isinstance(p["first"], Part)
    assert isinstance(p["rest"][1], tuple)
    assert p["rest"][0].bias is None


def test_the_tree_and_the_vector_share_memory():
    theta, p = pack(tree())
    theta[0] = 50.0
    p["rest"][0].weight[1, 0] = 60.0
    assert p["first"].weight[0, 0] == 50.0
    assert theta[8] == 60.0


def test_pack_copies_what_it_is_given():
    original = tree()
    theta, _ = pack(original)
    theta[...] = 0.0
    assert original["first"].weight[1, 2] == 5.0


def test_packing_one_array_copies_it_too():
    original = np.ones(3)
    theta, _ = pack(original)
    theta[...] = 0.0
    assert original[0] == 1.0


def test_view_names_the_parts_of_another_vector():
    _, p = pack(tree())
    gradient = np.arange(10.0, 20.0)
    g = view(p, gradient)
    np.testing.assert_array_equal(g["first"].weight, [[10, 11, 12], [13, 14, 15]])
    assert g["rest"][1][0] == 19.0
    g["first"].bias += 1.0
    assert gradient[6] == 17.0


def test_pack_converts_to_a_dtype():
    theta, p = pack(tree(), np.float32)
    assert theta.dtype == np.float32
    assert {a.dtype for _, a in leaves(p)} == {np.dtype(np.float32)}


def test_an_empty_tree_is_rejected():
    with pytest.raises(ValueError, match="list holds no array to pack"):
        pack([None])


def test_anything_but_arrays_is_rejected_by_name():
    with pytest.raises(ValueError, match=r"parameter part\.rate is a float"):
        pack({"part": {"rate": 0.1}})


def test_mixed_dtypes_are_rejected():
    mixed = [np.zeros(1, np.float32), np.zeros(1)]
    with pytest.raises(ValueError, match=r"different dtypes.*float32.*float64"):
        pack(mixed)
    assert pack(mixed, np.float64)[0].dtype == np.float64


def test_one_array_in_two_places_is_rejected():
    table = np.zeros((2, 2))
    with pytest.raises(ValueError, match="output is the same array as tokens"):
        pack({"tokens": table, "output": table})


@pytest.mark.parametrize("shape", [(9,), (11,), (10, 1)])
def test_a_vector_of_another_length_is_rejected(shape):
    with pytest.raises(ValueError, match="cannot hold 10 parameters"):
        view(tree(), np.zeros(shape))
