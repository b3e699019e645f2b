"""The benchmarks measure what the library does: they run, and both forms of a choice agree."""

import importlib
import multiprocessing
import os
import pkgutil
import time
from functools import partial

import numpy as np
import pytest

from numpylm.layers.layer_norm import layer_norm_init
from numpylm.layers.residual import enter_backward, enter_forward
from numpylm.tasks.causal import CausalLM
from numpylm.training.state import TrainingState
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer
from tests import benchmarks
from tests.benchmarks.choices import CHOICES, compare, forms_of
from tests.benchmarks.claims import first_losses, gradient_share, no_layer_norm, norm_run, recall
from tests.benchmarks.training import here
from tests.benchmarks.turns import OwnProcess, alternate
from tests.tiny import fitted, settings


def test_a_training_of_the_benchmark_is_that_of_the_trainer(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the dog did not. " * 40, encoding="utf-8")
    config = TrainConfig(
        corpus=str(text), n_layers=1, n_heads=2, d_model=8, d_ff=16, context=16, batch_size=4,
        steps=6, warmup=2, eval_every=3, dropout=0.0, threads=2,
    )  # fmt: skip
    objective = CausalLM.load(config, None)
    state = TrainingState(objective, *objective.init(config.seed))
    train, measure = here(state)
    losses = []
    for span in (range(3), range(3, 6)):
        train(span, losses)
        losses.append(measure())
    trainer = Trainer.start(tmp_path / "run", config)
    trainer.fit(log=None)
    np.testing.assert_array_equal(state.theta, trainer.theta)
    assert losses == [m["val_loss"] for m in trainer.run.metrics[1:]]


@pytest.mark.parametrize("name", ["tiles-64", "tiny", "output-order", "gelu-over"])
def test_a_choice_is_timed_beside_the_other_form(name):
    figures = compare(name, turns=2, seconds=0.01)
    assert figures["ratio"]["ratio"] > 0
    assert figures["what"] == CHOICES[name].__doc__


@pytest.mark.parametrize("name", ["output-order", "logits", "gelu-over"])
def test_both_forms_of_a_choice_compute_the_same(name):
    with forms_of(name) as forms:
        ours, other = (form() for form in forms.values())
    np.testing.assert_allclose(ours, other, rtol=2e-3, atol=2e-5)


def test_every_benchmark_can_be_started():
    """What it measures has moved on otherwise, and nobody has seen it."""
    for module in pkgutil.iter_modules(benchmarks.__path__, "tests.benchmarks."):
        importlib.import_module(module.name)


def sleeper(seconds, forbidden):
    """A function that sleeps, in another process than the forbidden one."""
    assert os.getpid() != forbidden
    return partial(time.sleep, seconds)


@pytest.mark.parametrize("kept_pages", [False, True])
def test_a_rival_is_timed_in_a_process_that_ends_with_its_use(kept_pages):
    others = set(multiprocessing.active_children())
    rival = OwnProcess(sleeper, 0.02, os.getpid(), kept_pages=kept_pages)
    (child,) = set(multiprocessing.active_children()) - others
    times = alternate({"here": int, "there": rival}, turns=2)
    assert all(t < 0.02 <= u for t, u in zip(times["here"], times["there"], strict=True))
    del rival
    child.join(timeout=10)
    assert child.exitcode == 0


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_both_readers_learn_to_name_a_symbol_from_nearby(kind):
    assert recall(kind, 4, seed=1, steps=300) > 0.9


def test_over_a_distance_only_the_recurrent_layer_loses_the_gradient():
    assert gradient_share("recurrent", 64, seed=1, gain=0.5) < 1e-12
    assert gradient_share("attention", 64, seed=1) > 1e-3


def test_without_layer_norm_a_norm_is_the_identity_and_its_parameters_are_unused(rng):
    x, p = rng.standard_normal((2, 3, 4)), layer_norm_init(4)
    with no_layer_norm():
        h, cache = enter_forward(p, x, norm="pre")
        np.testing.assert_array_equal(h, x)
        np.testing.assert_array_equal(enter_backward(p, None, h, cache), h)
    assert (enter_forward(p, x, norm="pre")[0] != x).any()
    assert len(norm_run("none", 1e-3, seed=1, steps=3)) == 3


def test_first_losses_are_those_of_the_trainer(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog did not. " * 40)
    config = settings("causal", tmp_path / "text.txt", context=8)
    trainer = fitted(tmp_path / "run", config)
    means = [np.mean(pair) for pair in np.reshape(first_losses(config, 4), (2, 2))]
    assert means == pytest.approx([m["train_loss"] for m in trainer.run.metrics[1:]])
