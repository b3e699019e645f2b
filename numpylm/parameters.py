"""All parameters of a model as named views of one flat vector.

A layer's parameters are a dataclass of arrays; a model is a tree of them (dataclasses, lists,
tuples, also named ones, and dictionaries; ``None`` where a part is left out). ``pack`` lays every
array end to end in one vector θ and returns the tree as *views* of it, so that

* the optimiser, clipping and checkpoints see one vector and know no layer;
* ``view(p, gradient)`` names the parts of a gradient with the same words;
* a float64 copy for the gradient check is ``pack(p, np.float64)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Yield ``(name, array)`` for every array of a tree, in a fixed order.

    Names join fields, keys and indices with dots: ``layers.0.attention.query.weight``.
    ``None`` is an absent part and yields nothing. Raises ``ValueError`` for anything else.
    """
    if isinstance(tree, np.ndarray | np.generic):  # NumPy's scalars: a sum over all axes is one
        yield prefix, np.asarray(tree)
    elif tree is not None:
        for name, child in _children(tree, prefix):
            yield from leaves(child, f"{prefix}.{name}" if prefix else name)


def pack(tree: Any, dtype: DTypeLike = None) -> tuple[Array, Any]:
    """Lay all arrays of a tree in one flat vector.

    Returns ``(theta, p)``: theta has shape (N,), N the number of parameters; ``p`` is the tree
    again, each array a view of theta, so that writing to one writes to the other. ``dtype``
    defaults to the arrays' own. Raises ``ValueError`` if the tree holds no array, if its arrays
    differ in dtype and none is given, or if one array stands in two places: the vector would
    untie them (tie weights in the forward, by using one array twice).
    """
    named = list(leaves(tree))
    if not named:
        raise ValueError(f"{type(tree).__name__} holds no array to pack")
    first_name: dict[int, str] = {}
    for name, array in named:
        if first_name.setdefault(id(array), name) != name:
            raise ValueError(f"{name} is the same array as {first_name[id(array)]}")
    dtypes = {str(array.dtype) for _, array in named}
    if dtype is None and len(dtypes) > 1:
        raise ValueError(f"arrays of different dtypes {sorted(dtypes)}: say which dtype to pack")
    theta = np.concatenate([array.ravel() for _, array in named])
    theta = theta.astype(dtype if dtype is not None else named[0][1].dtype, copy=False)
    return theta, view(tree, theta)


def view(tree: Any, vector: Array) -> Any:
    """Return the same tree over another flat vector: a gradient, Adam's moments, a copy.

    Raises ``ValueError`` if the vector's length is not the number of parameters.
    """
    size = sum(array.size for _, array in leaves(tree))
    if vector.shape != (size,):
        raise ValueError(f"a vector of shape {vector.shape} cannot hold {size} parameters")
    offset = 0

    def take(array: Array) -> Array:
        nonlocal offset
        offset += array.size
        return vector[offset - array.size : offset].reshape(array.shape)

    return _map(take, tree)


def parts(tree: Any, kind: type) -> Iterator[Any]:
    """Yield every part of a tree that is of a kind, such as ``Linear``."""
    if isinstance(tree, kind):
        yield tree
    elif tree is not None and not isinstance(tree, np.ndarray):
        for _, child in _children(tree, ""):
            yield from parts(child, kind)


def _children(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if is_dataclass(tree):
        return [(field.name, getattr(tree, field.name)) for field in fields(tree)]
    if isinstance(tree, dict):
        return [(str(key), child) for key, child in tree.items()]
    if isinstance(tree, list | tuple):
        return list(zip(getattr(tree, "_fields", map(str, range(len(tree)))), tree, strict=True))
    raise ValueError(
        f"parameter {prefix or '(root)'} is a {type(tree).__name__}: arrays, dataclasses, lists, "
        "tuples, dictionaries and None make a parameter tree"
    )


def _map(f: Callable[[Array], Array], tree: Any) -> Any:
    """Apply f to every array, in the order of ``leaves``, keeping the tree's structure."""
    if tree is None:
        return None
    if isinstance(tree, np.ndarray | np.generic):
        return f(np.asarray(tree))
    mapped = [_map(f, child) for _, child in _children(tree, "")]
    if isinstance(tree, dict):
        return dict(zip(tree, mapped, strict=True))
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return type(tree)(mapped)
    return type(tree)(*mapped)  # a dataclass or a named tuple
