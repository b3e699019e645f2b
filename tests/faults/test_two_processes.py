"""§5.3 Ctrl-C twice, and two processes in one folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from numpylm import files
from numpylm.files import locked, write_atomically
from numpylm.training import run_folder as run_module
from numpylm.training import trainer as trainer_module
from numpylm.training.run_folder import new_folder, open_run
from numpylm.training.trainer import Trainer
from tests.faults.kills import TRAIN, contents
from tests.signals import needs_ctrl_c
from tests.tiny import fitted, settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = "the quick brown fox jumps over the lazy dog\n" * 30


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return settings("causal", tmp_path / "text.txt", tokenizer="char", context=8, dropout=0.1)


def command(here, *arguments):
    """``numpylm`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "numpylm", *arguments], cwd=here, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def steps_saved(run):
    """How many evaluations are in metrics.jsonl."""
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@needs_ctrl_c
def test_ctrl_c_twice_stops_at_once_and_the_run_goes_on(tmp_path, config):
    """While another process is refused, and does no harm."""
    run = tmp_path / "runs" / "x"
    first = command(tmp_path, *TRAIN, "x", "--steps", "1000000")
    while steps_saved(run) < 3:
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = command(tmp_path, "train", "--resume", "runs/x", "--json")
    out, err = second.communicate()
    assert second.returncode == 2
    assert (out, err) == ("", "numpylm: error: another process is training in runs/x\n")
    saved = steps_saved(run)
    while steps_saved(run) == saved:
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = first.communicate()
    assert first.returncode == 130
    assert "Traceback" not in err
    assert err == "\nstopped\n" or "stopped and saved at step" in err
    trainer = Trainer.resume(run)
    assert trainer.step >= trainer.run.metrics[-1]["step"] > 0
    assert not [name for name in os.listdir(run) if name.endswith(".tmp")]


@needs_ctrl_c
def test_the_second_ctrl_c_in_a_write_leaves_the_earlier_checkpoint(tmp_path, config, monkeypatch):
    trainer, save = Trainer.start(tmp_path / "run", config), trainer_module.save_checkpoint

    def interrupted(path, checkpoint):
        if checkpoint.step == 4:
            monkeypatch.setattr(files.os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGINT))
            os.kill(os.getpid(), signal.SIGINT)
        save(path, checkpoint)

    monkeypatch.setattr(trainer_module, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(log=None)
    monkeypatch.undo()
    assert open_run(tmp_path / "run").load_model()[0].step == 2
    Trainer.resume(tmp_path / "run").fit(log=None)
    assert contents(tmp_path / "run") == contents(fitted(tmp_path / "whole", config).run.folder)


def test_ctrl_c_while_a_run_is_started_leaves_nothing(tmp_path, config, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Trainer.start(tmp_path / "runs" / "run", config)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_another_process_finished_meanwhile_is_not_set_back(tmp_path, config):
    Trainer.start(tmp_path / "run", config)
    early = Trainer.resume(tmp_path / "run")
    Trainer.resume(tmp_path / "run").fit(log=None)
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match="is at step 4 now, not 0: another process trained it"):
        early.fit(log=None)
    assert contents(tmp_path / "run") == before


def test_two_cannot_start_in_one_folder(tmp_path, config):
    """Also where a start that was killed left the folder: one writes, the other is refused."""
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(ValueError, match="another process is training"):
        Trainer.start(tmp_path / "run", config)
    free = run_module.require_free
    calls = []

    def overtaken(folder):
        free(folder)
        if not calls.append(folder) and len(calls) == 1:
            write_atomically(folder / "config.json", "{}")  # the other is quicker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "require_free", overtaken)
        with pytest.raises(ValueError, match="holds a run already"):
            Trainer.start(tmp_path / "run", config)
    assert os.listdir(tmp_path / "run") == ["config.json"]


def test_what_a_killed_start_left_of_another_kind_does_not_get_into_the_run(tmp_path, config):
    """A second tokenizer would change what the checkpoint belongs to."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("target_tokenizer.json", ".target_tokenizer.json.tmp", ".config.json.tmp"):
        (folder / name).write_text('{"kind": "byte"}')
    fitted(folder, config)
    Trainer.resume(folder).fit(log=None)
    assert set(os.listdir(folder)) == {
        "checkpoint.safetensors", "config.json", "metrics.jsonl", "tokenizer.json",
    }  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.tmp").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"), new_folder(tmp_path / "mine"):
        pass


@pytest.mark.parametrize("text", ["THE LAZY DOG SLEEPS\n" * 60, "", None])
def test_another_corpus_is_refused_and_the_run_stays(tmp_path, config, text):
    fitted(tmp_path / "run", config)
    before = contents(tmp_path / "run")
    (tmp_path / "text.txt").unlink()
    if text is not None:
        (tmp_path / "text.txt").write_text(text)
    with pytest.raises(ValueError, match=r"has changed since .* was started, or cannot be read"):
        Trainer.resume(tmp_path / "run")
    assert contents(tmp_path / "run") == before
