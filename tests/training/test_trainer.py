"""§5.3 A run: repeats bit for bit, resumes bit for bit, and loses nothing that it had saved."""

import dataclasses
import errno
import os
import threading

import numpy as np
import pytest
import tqdm.auto
from threadpoolctl import threadpool_info, threadpool_limits

from numpylm.baselines.ngram import train_ngram
from numpylm.data import batches as batches_module
from numpylm.data.batches import BPTTColumns, RandomWindows
from numpylm.files import locked
from numpylm.models.gpt import gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parameters import leaves, view
from numpylm.training import data_parallel as parallel_module
from numpylm.training import state
from numpylm.training import trainer as trainer_module
from numpylm.training.checkpoint import load_checkpoint, save_checkpoint
from numpylm.training.run_folder import open_run
from numpylm.training.stopping import TrainingDiverged
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer

SMALL = TrainConfig(
    n_layers=2, n_heads=2, d_model=12, d_ff=20, context=8, batch_size=4, dropout=0.1, bias=True,
    steps=12, warmup=2, eval_every=4, lr=1e-2,
)  # fmt: skip


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog\n" * 30)
    return dataclasses.replace(SMALL, corpus=str(path))


def fit(folder, config):
    trainer = Trainer.start(folder, config)
    trainer.fit(log=None)
    return trainer


def test_the_run_folder_holds_what_the_design_says(tmp_path, config):
    trainer = fit(tmp_path / "run", config)
    run = open_run(tmp_path / "run")
    assert run.config == config
    assert [m["step"] for m in run.metrics] == [0, 4, 8, 12]
    assert set(run.metrics[-1]) == {
        "step", "tokens", "train_loss", "val_loss", "learning_rate", "gradient_norm",
        "tokens_per_second",
    }  # fmt: skip
    assert run.metrics[-1]["tokens"] == 12 * 4 * 8
    assert trainer.evaluate("valid") == {"loss": run.metrics[-1]["val_loss"]}
    assert run.metrics[0]["val_loss"] == pytest.approx(
        np.log(trainer.task.model.vocab_size), rel=0.05
    )
    assert run.metrics[-1]["val_loss"] < run.metrics[0]["val_loss"]
    assert run.corpus["sha256"] == trainer.task.summary["sha256"]
    assert set(run.baselines) == {"unigram", "bigram", "trigram"}
    assert sorted(os.listdir(tmp_path / "run")) == [
        "checkpoint.safetensors", "config.json", "metrics.jsonl", "tokenizer.json",
    ]  # fmt: skip


def test_the_same_settings_give_the_same_bits_another_seed_others(tmp_path, config):
    a, b = (fit(tmp_path / name, config) for name in "ab")
    np.testing.assert_array_equal(a.theta, b.theta)
    c = fit(tmp_path / "c", dataclasses.replace(config, seed=2))
    assert (a.theta != c.theta).any()


def test_metrics_after_the_checkpoint_are_cut_back(tmp_path, config):
    """A kill between the writing of metrics and of the checkpoint leaves one line too many."""
    trainer = fit(tmp_path / "run", config)
    checkpoint = load_checkpoint(trainer.run.checkpoint)
    checkpoint.step = 8
    save_checkpoint(trainer.run.checkpoint, checkpoint)
    assert [m["step"] for m in Trainer.resume(tmp_path / "run").run.metrics] == [0, 4, 8]


def test_a_finished_run_has_nothing_left_to_do(tmp_path, config):
    whole = fit(tmp_path / "run", config)
    again = Trainer.resume(tmp_path / "run")
    again.fit(log=None)
    np.testing.assert_array_equal(whole.theta, again.theta)


def test_a_changed_corpus_is_refused(tmp_path, config):
    fit(tmp_path / "run", config)
    (tmp_path / "text.txt").write_text("the lazy dog sleeps all day and the fox jumps\n" * 30)
    with pytest.raises(ValueError, match="has changed since"):
        Trainer.resume(tmp_path / "run")


def test_divergence_stops_and_keeps_the_last_checkpoint(tmp_path, config):
    trainer = Trainer.start(tmp_path / "run", config)
    batches = trainer.batches

    def poison(step):
        if step == 5:
            trainer.theta[0] = np.nan
        return batches(step)

    trainer.batches = poison
    with pytest.raises(
        ValueError, match="diverged: loss nan .* at step 5; the checkpoint of step 4"
    ):
        trainer.fit(log=None)
    assert load_checkpoint(trainer.run.checkpoint).step == 4


def test_an_absurd_learning_rate_is_reported_as_divergence(tmp_path, config):
    config = dataclasses.replace(
        config, optimizer="sgd", lr=1e30, clip=0.0, warmup=0, schedule="constant"
    )
    with pytest.raises(TrainingDiverged, match="training diverged"):
        fit(tmp_path / "run", config)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, config, monkeypatch):
    trainer = Trainer.start(tmp_path / "run", config)
    save = trainer_module.save_checkpoint

    def full(path, checkpoint):
        if checkpoint.step == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, checkpoint)

    monkeypatch.setattr(trainer_module, "save_checkpoint", full)
    with pytest.raises(ValueError, match="step 8 .* No space left on device; .* step 4 is intact"):
        trainer.fit(log=None)
    assert Trainer.resume(tmp_path / "run").step == 4


def test_an_existing_run_is_not_overwritten(tmp_path, config):
    fit(tmp_path / "run", config)
    with pytest.raises(ValueError, match="holds a run already"):
        Trainer.start(tmp_path / "run", config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short", "training text has 4 tokens"),
        ("just enough for training, not more", "validation text has 4 tokens, a context of 8"),
    ],
)
def test_a_text_that_is_too_short_makes_no_folder(tmp_path, config, text, message):
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        Trainer.start(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_training_works_outside_the_main_thread(tmp_path, config):
    """Where no signal handler can be set."""
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(tmp_path / "run", config).step))
    thread.start()
    thread.join()
    assert done == [12]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[]", "is damaged"),
        ("config.json", '{"settings": {}, "corpus": [], "baselines": {}}', "is damaged"),
        ("config.json", '{"settings": {}, "corpus": {}, "baselines": {}}', "is damaged: settings"),
        (
            "config.json",
            '{"settings": {}, "corpus": {}, "baselines": {}, "labels": [1]}',
            "is damaged: settings",
        ),
        ("metrics.jsonl", "[1]\n", "does not hold an evaluation"),
        ("metrics.jsonl", '{"step": "4"}\n', "does not hold an evaluation"),
        ("config.json", None, "not a run folder"),
        ("tokenizer.json", None, "cannot read"),
        ("metrics.jsonl", "{\n", "not valid JSON"),
        ("checkpoint.safetensors", None, "has no checkpoint"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, config, name, content, message):
    fit(tmp_path / "run", config)
    if content is None:
        (tmp_path / "run" / name).unlink()
    else:
        (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        Trainer.resume(tmp_path / "run")


def train_by_hand(config, corpus, steps):
    """The textbook's loop in plain code: no threads, no flat optimiser, no trainer."""
    model = config.model_config(corpus.tokenizer.vocab_size)
    theta, p = gpt_init(config.seed, model)
    gradient, first, second = (np.zeros_like(theta) for _ in range(3))
    matrices = np.concatenate([np.full(a.size, a.ndim == 2) for _, a in leaves(p)])
    measured, size = [], (config.batch_size, config.context)
    for t in range(steps):
        gradient[...], loss = 0.0, 0.0
        for i in range(config.accumulate):
            step = t * config.accumulate + i
            if config.batching == "bptt":
                ids, targets = BPTTColumns(corpus.train, *size).batch(step)
            else:
                ids, targets = RandomWindows(corpus.train, *size, config.seed).batch(step)
            n = config.accumulate * targets.size
            part, cache = causal_lm_forward(p, ids, targets, config=model, normalizer=n)
            causal_lm_backward(p, view(p, gradient), np.float32(1.0), cache)
            loss += float(part)
        norm = float(np.linalg.norm(gradient.astype(np.float64)))
        g = gradient * min(1.0, config.clip / norm)
        eta = config.learning_rate(t)
        if config.optimizer == "sgd":
            first = config.momentum * first + g
            theta -= eta * first
        else:
            if config.optimizer == "adamw":
                theta -= eta * config.weight_decay * matrices * theta
            first = config.beta1 * first + (1 - config.beta1) * g
            second = config.beta2 * second + (1 - config.beta2) * g * g
            m_hat = first / (1 - config.beta1 ** (t + 1))
            theta -= eta * m_hat / (np.sqrt(second / (1 - config.beta2 ** (t + 1))) + 1e-8)
        measured.append((loss, norm, eta))
    return theta, measured


def test_on_a_plateau_the_learning_rate_falls(tmp_path, config):
    """SGD at a rate that is too high: the validation loss gets worse, then the rate is quartered.

    The line of an evaluation names the rate of the step before it.
    """
    config = dataclasses.replace(
        config, optimizer="sgd", schedule="plateau", lr=3.0, decay_factor=0.25, warmup=0,
        clip=1.0, eval_every=2, steps=20,
    )  # fmt: skip
    trainer = fit(tmp_path / "run", config)
    losses = [m["val_loss"] for m in trainer.run.metrics]
    rate, rates = 3.0, [3.0]
    for i in range(1, len(losses)):
        rates.append(rate)
        if losses[i] >= min(losses[:i]):
            rate *= 0.25
    assert [m["learning_rate"] for m in trainer.run.metrics] == rates
    assert set(rates) == {3.0, 0.75, 0.1875}  # in 10 evaluations: not after every one
    # The checkpoint knows it without the metrics.
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    resumed = Trainer.resume(tmp_path / "run")
    assert resumed.config.learning_rate(20, losses) == resumed.learning_rate(20) == rate
    assert rate < 3.0


def test_a_checkpoint_of_version_1_has_its_plateau_in_the_metrics(tmp_path, config):
    config = dataclasses.replace(
        config, optimizer="sgd", schedule="plateau", lr=3.0, decay_factor=0.25, warmup=0,
        clip=1.0, eval_every=2, steps=20,
    )  # fmt: skip
    trainer = fit(tmp_path / "run", config)
    checkpoint = trainer.run.load_model()[0]
    for name in ("evaluations", "best_val_loss", "plateaus"):
        del checkpoint.progress[name]
    save_checkpoint(trainer.run.checkpoint, checkpoint)
    resumed = Trainer.resume(tmp_path / "run")
    assert resumed.learning_rate(20) == trainer.learning_rate(20) < 3.0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "batching": "bptt", "schedule": "step", "lr": 0.2,
         "decay_every": 2, "decay_factor": 0.5, "batch_size": 5},
        {"optimizer": "adam", "accumulate": 3, "beta1": 0.8, "beta2": 0.9, "schedule": "constant"},
        {"weight_decay": 0.5, "clip": 0.05, "threads": 3, "seed": 4},
    ],
)  # fmt: skip
def test_the_trainer_is_the_textbooks_loop(tmp_path, config, changes):
    changes = {"dropout": 0.0, "bias": False, "steps": 6, "eval_every": 3, **changes}
    config = dataclasses.replace(config, **changes)
    trainer = fit(tmp_path / "run", config)
    theta, measured = train_by_hand(config, trainer.task.corpus, 6)
    np.testing.assert_allclose(trainer.theta, theta, rtol=2e-3, atol=2e-5)
    for line, (first, last) in zip(trainer.run.metrics[1:], ((0, 2), (3, 5)), strict=True):
        losses = [loss for loss, _, _ in measured[first : last + 1]]
        assert line["train_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert line["gradient_norm"] == pytest.approx(measured[last][1], rel=1e-3)
        assert line["learning_rate"] == pytest.approx(measured[last][2])
        assert line["tokens_per_second"] > 0


def test_baselines_are_measured_on_the_validation_text(tmp_path, config):
    trainer = Trainer.start(tmp_path / "run", config)
    corpus = trainer.task.corpus
    size = corpus.tokenizer.vocab_size
    for name, order in (("unigram", 1), ("trigram", 3)):
        expected = train_ngram(corpus.train, order, size).loss(corpus.valid)
        assert trainer.run.baselines[name] == expected


def test_rare_words_are_unknown(tmp_path, config):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps\n" * 40 + "zebra\n")
    config = dataclasses.replace(config, tokenizer="word", min_count=2)
    trainer = Trainer.start(tmp_path / "run", config)
    assert "zebra" not in trainer.task.corpus.tokenizer.words
    assert trainer.run.vocabulary.tokenizer is trainer.task.corpus.tokenizer


def test_training_holds_blas_at_one_thread(tmp_path, config):
    trainer = Trainer.start(tmp_path / "run", config)
    with threadpool_limits(limits=2, user_api="blas"), trainer.parallel():
        blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert {pool["num_threads"] for pool in blas} <= {1}  # none where it knows no threads


def test_memory_is_kept_before_the_progress_bar_starts_its_thread(tmp_path, config, monkeypatch):
    """A thread from before gets a heap of its own, whose memory no step would use again."""
    called = []
    monkeypatch.setattr(state, "keep_freed_pages", lambda: called.append("kept"))
    monkeypatch.setattr(
        tqdm.auto, "tqdm", lambda *args, bar=tqdm.auto.tqdm, **kw: called.append("bar") or bar(**kw)
    )
    trainer = Trainer.start(tmp_path / "run", config)
    called.clear()
    trainer.fit(log=None)
    assert called[:2] == ["kept", "bar"]


def test_a_run_that_was_just_started_can_be_resumed(tmp_path, config):
    """Killed before its first evaluation."""
    Trainer.start(tmp_path / "run", config)
    resumed = Trainer.resume(tmp_path / "run")
    resumed.fit(log=None)
    whole = fit(tmp_path / "whole", config)
    np.testing.assert_array_equal(whole.theta, resumed.theta)
    files = [(tmp_path / n / "checkpoint.safetensors").read_bytes() for n in ("run", "whole")]
    assert files[0] == files[1]


def test_what_a_killed_start_left_is_no_obstacle(tmp_path, config):
    """config.json is written last: without it there is no run."""
    (tmp_path / "run").mkdir()
    for name in ("tokenizer.json", "checkpoint.safetensors", ".checkpoint.safetensors.tmp"):
        (tmp_path / "run" / name).write_bytes(b"half")
    fit(tmp_path / "run", config)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
        Trainer.start(tmp_path / "other", config)


def test_a_start_that_fails_leaves_nothing(tmp_path, config, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer_module, "save_checkpoint", full)
    with pytest.raises(ValueError, match="No space left on device; no checkpoint was written yet"):
        Trainer.start(tmp_path / "runs" / "run", config)
    assert not (tmp_path / "runs").exists()


def test_two_cannot_train_in_one_folder(tmp_path, config):
    trainer = Trainer.start(tmp_path / "run", config)
    with locked(tmp_path / "run"), pytest.raises(ValueError, match="another process is training"):
        trainer.fit(log=None)
    trainer.fit(log=None)


def test_parameters_that_overflowed_are_not_saved(tmp_path, config):
    trainer = fit(tmp_path / "run", config)
    trainer.theta[0] = np.inf
    with pytest.raises(ValueError, match="not finite at step 12; the checkpoint of step 12 is"):
        trainer.save()
    assert load_checkpoint(trainer.run.checkpoint).step == 12


def test_lost_metrics_are_measured_again(tmp_path, config):
    fit(tmp_path / "run", config)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    resumed = Trainer.resume(tmp_path / "run")
    resumed.fit(log=None)
    assert [m["step"] for m in resumed.run.metrics] == [12]


def test_random_numbers_of_different_purposes_differ():
    """Batches, dropout and initialisation of one seed must not share their numbers."""
    starts = np.random.default_rng([batches_module.STREAM, 1, 0]).random()
    masks = np.random.default_rng([parallel_module.STREAM, 1, 0, 0]).random()
    assert len({starts, masks, np.random.default_rng(1).random()}) == 3
    assert batches_module.STREAM != parallel_module.STREAM
