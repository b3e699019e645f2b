"""The benchmarks measure what the library does: they run, and both forms of a choice agree."""

import importlib
import multiprocessing
import os
import pkgutil
import time
from functools import partial

import numpy as np
import pytest

from numpylm.tasks.causal import CausalLM
from numpylm.training.state import TrainingState
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer
from tests import benchmarks
from tests.benchmarks.choices import CHOICES, compare, forms_of
from tests.benchmarks.training import here
from tests.benchmarks.turns import OwnProcess, alternate


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
