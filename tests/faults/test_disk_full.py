"""§5.3 A disk that is full: one clear line, and the last checkpoint stays."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer
from tests.faults.faulty import faults, full
from tests.faults.kills import TRAIN, contents
from tests.tiny import fitted, settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = "the quick brown fox jumps over the lazy dog\n" * 30


def test_any_call_that_fails_leaves_a_run_that_can_go_on(tmp_path):
    """Each call in turn: nothing is left of a start that failed, and no step that was saved."""
    (tmp_path / "text.txt").write_text(TEXT)
    config = settings("causal", tmp_path / "text.txt", tokenizer="char", context=8, steps=2)
    expected, at, refused = contents(fitted(tmp_path / "whole", config).run.folder), 0, 0
    while True:
        at += 1
        run, trainer, saved = tmp_path / f"run{at}", None, None
        try:
            with faults(at, full):
                trainer = Trainer.start(run, config)
                trainer.fit(log=None)
            break
        except (ValueError, OSError) as error:
            lines, refused = str(error).splitlines(), refused + 1
        assert len(lines) == 1
        assert "No space left on device" in lines[0]
        if trainer is None:
            assert not run.exists() or not list(run.iterdir())
            trainer = Trainer.start(run, config)
        else:
            saved = trainer.saved_step
            assert open_run(run).load_model()[0].step >= saved
            trainer = Trainer.resume(run)
        trainer.fit(log=None)
        assert contents(run) == expected, at
    assert refused == at - 1 > 40


def test_a_file_system_that_fills_up(tmp_path):
    """A real one, too small for a second checkpoint beside the first; then it is made larger."""
    command = f"{sys.executable} -m numpylm train"
    shape = shlex.join([*TRAIN[1:], "x", "--d-model", "64", "--steps", "2", "--warmup", "1"])
    script = f"""
        mount -t tmpfs -o size=400k tmpfs {tmp_path} || exit 77
        cd {tmp_path}
        yes the quick brown fox jumps over the lazy dog | head -n 30 > text.txt
        {command} {shape}
        echo $? $(ls -A runs/x)
        mount -o remount,size=4m {tmp_path}
        {command} --resume runs/x
        echo $?
    """
    if not shutil.which("unshare"):
        pytest.skip("mounting a small file system needs unshare")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode == 77 or not done.stdout:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    failed, *_, succeeded = done.stdout.splitlines()
    assert failed == "2 checkpoint.safetensors config.json metrics.jsonl tokenizer.json"
    assert succeeded == "0"
    assert done.stderr == (
        "numpylm: error: cannot save step 0 in runs/x: No space left on device; "
        "the checkpoint of step 0 is intact\n"
    )
