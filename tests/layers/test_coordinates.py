"""§A Every layer once by the textbook's method: one coordinate moved at a time, all of them."""

import importlib
import pkgutil

import pytest

from numpylm import layers
from numpylm.gradcheck.catalogue import PAIRS

WITHOUT = {"choices"}  # a table of the others
FIRST = {}
for pair in PAIRS:
    FIRST.setdefault(pair.backward.__module__, pair)
NAMES = {m.name for m in pkgutil.iter_modules(layers.__path__)} - WITHOUT


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_partial_derivative_of_a_layer(name):
    module = f"numpylm.layers.{name}"
    pairs = [p for p in PAIRS if p.backward.__module__ == module]
    assert pairs, f"{importlib.import_module(module).__doc__} has no row in the catalogue"
    errors = FIRST[module].errors(mode="coordinates")
    assert errors
    for error in errors:
        assert error.relative_error < 1e-6, str(error)
