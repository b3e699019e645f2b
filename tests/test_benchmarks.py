"""The benchmarks measure what the library does: they run, and both forms of a choice agree."""

import numpy as np
import pytest

from numpylm.training.causal import CausalLM
from numpylm.training.config import TrainConfig
from numpylm.training.processes import shared
from numpylm.training.trainer import Trainer
from tests.benchmarks.choices import CHOICES, compare, forms_of
from tests.benchmarks.training import here


def test_a_training_of_the_benchmark_is_that_of_the_trainer(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the dog did not. " * 40, encoding="utf-8")
    config = TrainConfig(
        corpus=str(text), n_layers=1, n_heads=2, d_model=8, d_ff=16, context=16, batch_size=4,
        steps=6, warmup=2, eval_every=3, dropout=0.0, threads=2,
    )  # fmt: skip
    objective = CausalLM(config, None)
    theta, p = shared(*objective.init(config.seed))
    train, measure = here(objective, theta, p)
    losses = []
    for span in (range(3), range(3, 6)):
        train(span, losses)
        losses.append(measure())
    trainer = Trainer.start(tmp_path / "run", config)
    trainer.fit(log=None)
    np.testing.assert_array_equal(theta, trainer.theta)
    assert losses == [m["val_loss"] for m in trainer.run.metrics[1:]]


@pytest.mark.parametrize("name", ["mean", "tiles-64", "tiny", "output-order", "gelu"])
def test_a_choice_is_timed_beside_the_other_form(name):
    figures = compare(name, turns=2, seconds=0.01)
    assert figures["ratio"]["ratio"] > 0
    assert figures["what"] == CHOICES[name].__doc__


@pytest.mark.parametrize("name", ["mean", "output-order", "logits", "gelu"])
def test_both_forms_of_a_choice_compute_the_same(name):
    with forms_of(name) as forms:
        ours, other = (form() for form in forms.values())
    ours = ours[0] if name == "gelu" else ours
    np.testing.assert_allclose(ours, other, rtol=2e-3, atol=2e-5)
