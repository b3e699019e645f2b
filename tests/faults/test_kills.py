"""§5.3 kill -9: nothing saved is lost, and a run ends as if nobody had killed it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer
from tests.faults.faulty import die, faults
from tests.faults.kills import contents
from tests.tiny import fitted, settings

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")


def killed(*options):
    """What ``tests.faults.kills`` prints; it fails if a run differs from an unbroken one."""
    command = [sys.executable, "-m", "tests.faults.kills", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@posix
def test_runs_that_are_killed_end_with_the_same_bits():
    found = killed("50")
    assert found["kills"] == 50
    assert found["kills in a write"] + found["kills before there was a run"] > 0
    assert found["different"] == 0


@posix
@pytest.mark.slow
def test_runs_of_real_commands_that_are_killed_end_with_the_same_bits():
    found = killed("25", "--exec")
    assert found["kills"] == 25
    assert found["different"] == 0


@posix
def test_death_at_every_call_to_the_file_system(tmp_path):
    """Half-written files included. Each death is a process of its own, forked from a script."""
    script = "import sys, tests.faults.test_kills as t; print(t.die_everywhere(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def die_everywhere(folder):
    """Let a run die at its n-th call, for each n, and go on; returns how many calls there are."""
    text = Path(folder, "text.txt")
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 30)
    config = settings("causal", text, tokenizer="char", context=8, dropout=0.1, steps=2)
    expected = contents(fitted(Path(folder, "whole"), config).run.folder)
    at = 0
    while True:
        at += 1
        run = Path(folder, f"run{at}")
        if not (child := os.fork()):
            with faults(at, die):
                fitted(run, config)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return at - 1
        if (run / "config.json").exists():
            assert open_run(run).load_model()[0].step >= 0
            Trainer.resume(run).fit(log=None)
        else:
            fitted(run, config)
        assert contents(run) == expected, at
