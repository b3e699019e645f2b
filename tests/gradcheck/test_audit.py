"""Every public backward has a row, every row runs it, and every row passes."""

import sys
from copy import deepcopy

import numpy as np
import pytest

from numpylm.gradcheck.audit import public_backwards, run_audit
from numpylm.gradcheck.catalogue import PAIRS
from numpylm.layers.choices import POSITIONS, PositionEncoding
from numpylm.models.llama import LlamaConfig
from numpylm.parameters import leaves, pack, view

BY_NAME = {pair.name: pair for pair in PAIRS}
rows = pytest.mark.parametrize("pair", PAIRS, ids=list(BY_NAME))
# Parts of a model that a function has nothing to do with; all others must have a gradient.
HEADS = ("pooler", "masked_head", "next_sentence_head")
TRUNK = ("embedding.positions", "embedding.segments", "embedding.norm", "encoder")
UNREACHED = {
    "bert": HEADS,
    "masked_lm": ("pooler", "next_sentence_head"),
    "next_sentence": ("masked_head",),
    "masked_head": (*TRUNK, "pooler", "next_sentence_head"),
    "masked_loss": (*TRUNK, "pooler", "next_sentence_head"),
    "pair_loss": ("embedding", "encoder", "masked_head"),
    "leave pre-norm + dropout": ("gamma", "beta"),  # the norm stands before the sublayer
    "encode": ("decoder",),
    "decode": ("encoder",),
}
# Adds the same to all scores of a row, which softmax does not see.
KEY_BIAS = "key.bias"
SHIFTED = {"answering": "head.bias"}  # scores of positions, not of classes


def run(pair, dtype):
    """y, then all gradients, of the example in a dtype."""
    p, inputs, settings = deepcopy(pair.example(np.random.default_rng(0)))
    inputs = [x.astype(dtype) if x.dtype == np.float64 else x for x in inputs]
    if p is None:
        y, cache = pair.forward(*inputs, **settings)
        dp, dx = [], pair.backward(upstream(y), cache)
    else:
        theta, p = pack(p, dtype)
        y, cache = pair.forward(p, *inputs, **settings)
        tree = view(p, np.zeros_like(theta))
        dx = pair.backward(p, tree, upstream(y), cache)
        dp = [a for _, a in leaves(tree)]
    dx = dx if isinstance(dx, tuple) else (dx,)
    return [y, *dp, *(a for a in dx if a is not None)]  # None: no gradient, as for ids


def upstream(y):
    return np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)[()]


def test_the_names_of_rows_differ():
    assert len(BY_NAME) == len(PAIRS)


@pytest.fixture(scope="module")
def audit():
    return {row.name: row for row in run_audit(PAIRS)}


@rows
def test_every_gradient_agrees_with_finite_differences(pair, audit):
    row = audit[pair.name]
    assert row.worst_error <= 1e-6, str(row)
    assert row.worst_array in str(row)


def shifts(pair):
    """Names of biases that shift all scores of a query alike; an encoding that turns keys by their
    position sees them."""
    _, _, settings = pair.example(np.random.default_rng(0))
    encoding = POSITIONS[getattr(settings.get("config"), "positions", "none")]
    turned = encoding.attend_backward is not PositionEncoding().attend_backward
    turned |= "grouped_query" in pair.name or isinstance(settings.get("config"), LlamaConfig)
    return SHIFTED.get(pair.name, ()) if turned else (KEY_BIAS, SHIFTED.get(pair.name, KEY_BIAS))


@rows
def test_only_biases_that_softmax_does_not_see_vanish(pair, audit):
    p, _, _ = pair.example(np.random.default_rng(0))
    unreached = UNREACHED.get(pair.name, UNREACHED.get(pair.name.split()[0], ()))
    expected = [n for n, _ in leaves(p) if n.endswith(shifts(pair)) or n.startswith(unreached)]
    assert list(audit[pair.name].vanishing) == expected


def test_every_public_backward_has_a_row():
    known = set(public_backwards())
    covered = [known & set(pair.names) for pair in PAIRS]
    assert all(len(names) == 1 for names in covered)
    assert set().union(*covered) == known


@rows
def test_a_row_runs_the_backward_that_it_names(pair):
    known = public_backwards()
    wanted = next(known[name] for name in pair.names if name in known).__code__
    called = set()
    sys.setprofile(lambda frame, event, _: called.add(frame.f_code) if event == "call" else None)
    try:
        run(pair, np.float64)
    finally:
        sys.setprofile(None)
    assert wanted in called


@rows
def test_float32_stays_float32_and_agrees_with_float64(pair):
    single, double = run(pair, np.float32), run(pair, np.float64)
    for a, b in zip(single, double, strict=True):
        assert a.dtype == np.float32
        assert b.dtype == np.float64
        assert np.linalg.norm(a - b) <= 1e-3 * max(1.0, np.linalg.norm(b))


LAYERS = [
    pair.name
    for pair in BY_NAME.values()
    if pair.backward.__module__.startswith(("numpylm.layers.", "numpylm.fast."))
]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_coordinate_by_coordinate(name):
    """As a textbook shows the check: one entry after the other is moved up and down."""
    for error in BY_NAME[name].errors(mode="coordinates"):
        assert error.relative_error <= 1e-6, str(error)


def test_every_module_of_layers_with_a_backward_is_among_them():
    modules = {b.__module__ for b in public_backwards().values() if ".layers." in b.__module__}
    assert modules == {BY_NAME[name].backward.__module__ for name in LAYERS} & modules


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("causal_lm")])
def test_a_whole_model_coordinate_by_coordinate(name):
    for error in BY_NAME[name].errors(mode="coordinates"):
        assert error.relative_error <= 1e-6, str(error)
        assert error.vanishes == error.name.endswith(shifts(BY_NAME[name]))


def test_the_examples_repeat_ids_and_leave_out_words():
    _, (ids, targets), settings = BY_NAME["causal_lm pre-norm, learned, tied"].example(
        np.random.default_rng(0)
    )
    assert np.bincount(ids.ravel()).max() > 1
    assert len(np.unique(ids)) < settings["config"].vocab_size
    assert 0 < np.count_nonzero(targets < 0) < targets.size
