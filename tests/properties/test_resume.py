"""§5.3 Resuming: wherever a run is stopped, it ends with the bits of one that was not."""

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.training.trainer import Trainer, TrainingInterrupted
from tests.properties.strategies import effort
from tests.signals import needs_ctrl_c
from tests.tiny import changed, fitted, settings, write_documents, write_task

STEPS = 5
RUNS = {
    "adamw on windows": ("causal", {"dropout": 0.2}),
    "sgd on columns": ("causal", {"batching": "bptt", "optimizer": "sgd", "momentum": 0.9,
                                  "schedule": "step", "decay_every": 2}),
    "accumulated": ("causal", {"optimizer": "adam", "accumulate": 2, "threads": 1}),
    "plateau": ("causal", {"optimizer": "sgd", "schedule": "plateau", "warmup": 0, "lr": 3.0,
                           "decay_factor": 0.25, "positions": "alibi", "tokenizer": "byte"}),
    "masked": ("masked", {"dropout": 0.2}),
    "spans": ("spans", {"label_smoothing": 0.1}),
    "labelling": ("labelling", {}),
    "translation": ("translation", {"dropout": 0.2}),
}  # fmt: skip


class Killed(BaseException):
    """What is not caught anywhere, like a lost process: nothing is saved after it."""


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", params=RUNS)
def finished(request, tmp_path_factory):
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("runs")
    objective, changes = RUNS[request.param]
    if objective in ("labelling", "translation"):
        corpus = write_task(folder / "data", objective)
    else:
        corpus = write_documents(folder / "data")
    config = changed(settings(objective, corpus, **changes), steps=STEPS)
    return fitted(folder / "whole", config)


def stop(trainer, step, killed):
    """Ctrl-C or a kill while that step is computed."""
    batches, steps = trainer.batches, trainer.steps

    def batches_or_death(number):
        if killed and number == step - 1:
            raise Killed
        return batches(number)

    def steps_and_stop(parallel):
        for done in steps(parallel):
            if trainer.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            yield done

    trainer.batches, trainer.steps = batches_or_death, steps_and_stop


def metrics(trainer):
    lines = (trainer.run.folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(m).items() if k != "tokens_per_second"} for m in lines]


@needs_ctrl_c
@effort(0.15)
@given(stops=st.lists(st.integers(1, STEPS), max_size=2), data=st.data())
def test_a_resumed_run_ends_with_the_same_bits(finished, stops, data):
    config, saved = finished.config, 0
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.start(Path(folder), config)
        for step in sorted(stops):
            killed = data.draw(st.booleans())
            if trainer.step >= step:
                continue
            stop(trainer, step, killed)
            with pytest.raises(Killed if killed else TrainingInterrupted):
                trainer.fit(log=None)
            trainer = Trainer.resume(folder)
            last = (step - 1) // config.eval_every * config.eval_every
            saved = max(saved, last) if killed else step
            assert trainer.step == saved
        trainer.fit(log=None)
        assert trainer.step == STEPS
        assert trainer.theta.tobytes() == finished.theta.tobytes()
        for name, vector in finished.optimizer.state.items():
            assert trainer.optimizer.state[name].tobytes() == vector.tobytes()
        assert metrics(trainer) == metrics(finished)
