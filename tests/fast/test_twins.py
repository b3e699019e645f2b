"""Every twin gives what the formula beside it gives, forward and backward; and so do whole runs."""

import dataclasses

import numpy as np
import pytest

import numpylm.fast  # noqa: F401  # adds the twins to the tables
from numpylm.gradcheck.example_inputs import jittered, padding, targets, token_ids
from numpylm.layers.attention import ATTENTION
from numpylm.layers.choices import ACTIVATIONS, NORMS, POSITIONS, names
from numpylm.layers.cross_entropy import CROSS_ENTROPY
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parameters import view
from numpylm.training.trainer import Trainer
from tests.tiny import settings, write_documents, write_task


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def example(table, name):
    """Inputs and settings for an entry, large enough to leave its formula."""
    if table is ACTIVATIONS:
        return [normal(7, 12)], {}
    if table is ATTENTION:
        q, k, v = (normal(2, 3, 130, 4, seed=i) for i in range(3))
        return [q, k, v], {"causal": True, "mask": padding(130)[:2, None, None]}
    ids = np.random.default_rng(1).integers(-1, 900, (5, 300))
    return [normal(5, 300, 900), ids], {"normalizer": 70.0}


TABLES = {"activations": ACTIVATIONS, "attention": ATTENTION, "loss": CROSS_ENTROPY}
TWINS = [(t, "plain", "fast") for t in ("attention", "loss")] + [
    ("activations", twin.removesuffix(" (fast)"), twin) for twin in ACTIVATIONS if "(" in twin
]


def results(pair, inputs, options):
    forward, backward = pair if len(pair) == 2 else (pair.forward, pair.backward)
    inputs = [x.copy() for x in inputs]  # a twin may use them up
    y, cache = forward(*inputs, **options)
    return y.copy(), backward(np.cos(y), cache)


@pytest.mark.parametrize(("table", "formula", "twin"), TWINS)
def test_a_twin_gives_what_its_formula_gives(table, formula, twin):
    entries = TABLES[table]
    case = example(entries, twin)
    y, gradients = results(entries[formula], *case)
    fast_y, fast_gradients = results(entries[twin], *case)
    np.testing.assert_allclose(fast_y, y, rtol=1e-9, atol=1e-12)
    for found, wanted in zip(listed(fast_gradients), listed(gradients), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-11)


def listed(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def test_no_table_has_an_entry_that_is_not_compared():
    seen = {(table, name) for table, *pair in TWINS for name in pair}
    alone = {("activations", n) for n in names(ACTIVATIONS)}
    assert seen | alone == {(table, name) for table, all_ in TABLES.items() for name in all_}
    assert ("activations", "gelu (fast)") in seen
    assert all("(" not in name for name in [*NORMS, *POSITIONS])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_whole_model_is_the_same_either_way(norm):
    config = GPTConfig(vocab_size=11, context=60, n_layers=2, n_heads=2, d_model=8, norm=norm)
    theta, p = jittered(gpt_init(0, config)[1], 1)
    rng = np.random.default_rng(2)
    ids, wanted = (np.tile(x(rng), (1, 12)) for x in (token_ids, targets))
    found = []
    for implementation in ("plain", "fast"):
        c = dataclasses.replace(config, implementation=implementation)
        loss, cache = causal_lm_forward(p, ids, wanted, config=c)
        gradient = np.zeros_like(theta)
        causal_lm_backward(p, view(p, gradient), np.float64(1.0), cache)
        found.append((float(loss), gradient))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("objective", ["masked", "translation", "labelling"])
def test_a_plain_run_learns_what_a_run_learns(objective, tmp_path):
    """--plain: formulas only, in one process; the same losses within rounding."""
    corpus = tmp_path / "data"
    if objective == "masked":
        write_documents(corpus)
    else:
        write_task(corpus, objective)
    losses = []
    for plain in (False, True):
        config = settings(objective, corpus, plain=plain, threads=2, steps=8, eval_every=8)
        trainer = Trainer.start(tmp_path / f"{objective}-{plain}", config)
        trainer.fit(log=None)
        losses.append([m["val_loss"] for m in trainer.run.metrics])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_fast_has_to_be_imported_first():
    kept = ATTENTION.pop("fast")
    try:
        with pytest.raises(ValueError, match="after import numpylm.fast"):
            GPTConfig(vocab_size=3, implementation="fast")
    finally:
        ATTENTION["fast"] = kept
