"""§5.3, §5.4 The run of a language model: its batches, and every full window of a held-out text."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from numpylm.baselines.ngram import ngram_losses
from numpylm.data.batches import BPTTColumns, RandomWindows
from numpylm.models.gpt import gpt_forward
from numpylm.tasks.causal import ROWS, CausalLM
from numpylm.training.data_parallel import DataParallel
from numpylm.training.train_config import TrainConfig

SMALL = TrainConfig(
    n_layers=1, n_heads=2, d_model=8, d_ff=8, context=5, batch_size=3, dropout=0.5, threads=1
)


@pytest.fixture
def config(tmp_path, rng):
    """Of a folder whose validation text has 2 · ROWS + 5 windows and a rest of 2 targets."""
    for part, length in (("train", 100), ("valid", (2 * ROWS + 5) * 5 + 3)):
        text = "".join(rng.choice(list("abcdefg"), length))
        (tmp_path / f"{part}.txt").write_text(text)
    return dataclasses.replace(SMALL, corpus=str(tmp_path))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_held_out_loss_is_the_mean_over_every_token_of_every_window(config, threads):
    objective = CausalLM.load(dataclasses.replace(config, threads=threads), None)
    theta, p = objective.init(0)
    theta *= 20
    stream = objective.corpus.valid
    expected = []
    for start in range(0, (len(stream) - 1) // 5 * 5, 5):
        logits, _ = gpt_forward(p, stream[None, start : start + 5], config=objective.model)
        log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
        expected += [-log_p[t, stream[start + t + 1]] for t in range(5)]
    assert len(expected) == 37 * 5
    with DataParallel.of(objective, theta, p) as parallel:
        measured = objective.measure(parallel, "valid")
    assert measured == {"loss": pytest.approx(np.mean(expected), rel=1e-6)}


def test_held_out_batches_hold_every_window_once(config):
    objective = CausalLM.load(config, None)
    batches, stream = objective.held_out("valid"), objective.corpus.valid
    assert [len(batch["ids"]) for batch in batches] == [ROWS, ROWS, 5]
    for name, shift in (("ids", 0), ("targets", 1)):
        seen = np.concatenate([batch[name].ravel() for batch in batches])
        np.testing.assert_array_equal(seen, stream[shift : shift + 37 * 5])


def test_a_text_that_is_not_there_is_named(config):
    objective = CausalLM.load(config, None)
    assert objective.held_out("test") == []
    assert objective.has("valid")
    assert not objective.has("test")
    with (
        DataParallel.of(objective, *objective.init(0)) as parallel,
        pytest.raises(ValueError, match="has no test split"),
    ):
        objective.measure(parallel, "test")


@pytest.mark.parametrize("length", [5, 6])
def test_a_text_shorter_than_a_context_has_nothing_to_measure(config, length):
    (Path(config.corpus) / "test.txt").write_text("abcdef"[:length])
    objective = CausalLM.load(config, None)
    assert objective.has("test") == (length == 6)
    if length == 6:
        assert len(objective.held_out("test")) == 1
        return
    with pytest.raises(ValueError, match="a context of 5 needs 6"):
        objective.held_out("test")


def test_what_is_said_of_it(config):
    said = CausalLM.load(config, None).describe()
    name = Path(config.corpus).name
    assert said.startswith(f"causal on {name} (char tokens): 100 train_tokens, 188 valid_tokens")


@pytest.mark.parametrize("batching", ["windows", "bptt"])
def test_batches_are_those_of_the_corpus(config, batching):
    objective = CausalLM.load(dataclasses.replace(config, batching=batching, seed=3), None)
    train = objective.corpus.train
    source = RandomWindows(train, 3, 5, 3) if batching == "windows" else BPTTColumns(train, 3, 5)
    for step in (0, 6):  # BPTT's seventh chunk is a shorter one
        batch, (ids, targets) = objective.batch(step), source.batch(step)
        assert list(batch) == ["ids", "targets"]
        np.testing.assert_array_equal(batch["ids"], ids)
        np.testing.assert_array_equal(batch["targets"], targets)
        assert objective.count(batch) == targets.size


def test_a_run_of_old_keeps_its_vocabulary(config):
    first = CausalLM.load(config, None)
    second = CausalLM.load(config, first.vocabulary)
    assert second.vocabulary is first.vocabulary
    np.testing.assert_array_equal(first.corpus.valid, second.corpus.valid)
    assert first.model.vocab_size == 7
    corpus = first.corpus
    assert first.baselines() == ngram_losses(corpus.train, corpus.valid, 7)
