"""``kill -9`` at random moments, again and again over runs that are resumed each time.

``python -m tests.faults.kills 50`` prints what was killed where, and whether each run ended as one
that nobody killed. The processes are forks of one that has all modules, to be quick; with
``--exec`` each is a ``python -m numpylm`` of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TRAIN = [
    "train", "--n-layers", "1", "--n-heads", "2", "--d-model", "8", "--d-ff", "16", "--context",
    "8", "--batch-size", "4", "--eval-every", "2", "--warmup", "2", "--lr", "0.01", "--dropout",
    "0.1", "--steps", "200", "--corpus", "text.txt", "--json", "--name",
]  # fmt: skip


def fork(arguments: list[str]) -> int:
    """The command in a copy of this process; returns its number."""
    if child := os.fork():
        return child
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    from numpylm.cli import main

    try:
        os._exit(main(arguments))
    finally:
        os._exit(70)


def execute(arguments: list[str]) -> int:
    """The command in a process of its own; returns its number."""
    command = [sys.executable, "-m", "numpylm", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL).pid


def contents(run: Path) -> dict[str, object]:
    """All that has to be the same of two runs: every file but the picture and the speeds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = ("checkpoint.safetensors", "config.json", "tokenizer.json")
    return {
        "files": sorted(path.name for path in run.iterdir()),
        "metrics": [line | {"tokens_per_second": 0} for line in lines],
        **{name: (run / name).read_bytes() for name in names},
    }


def series(kills: int, spawn: Callable[[list[str]], int], rng: random.Random) -> Counter[str]:
    """Kill so many times, in the working folder; counts of kills, runs and runs that differ."""
    finish(spawn([*TRAIN, "whole"]))
    expected, found = contents(Path("runs/whole")), Counter[str]()
    while found["kills"] < kills:
        found["runs"] += 1
        name = f"killed{found['runs']}"
        while not life(Path("runs", name), spawn, rng, found, limit=kills):
            pass
        found["different"] += contents(Path("runs", name)) != expected
    return found


def life(
    run: Path,
    spawn: Callable[[list[str]], int],
    rng: random.Random,
    found: Counter[str],
    limit: int,
) -> bool:
    """Start or resume a run and kill it; True if it came to its end before."""
    started = (run / "config.json").exists()
    process = spawn(["train", "--resume", str(run), "--json"] if started else [*TRAIN, run.name])
    if found["kills"] >= limit:
        finish(process)
        return True
    before, early = files_of(run), found["kills before there was a run"] < limit // 10
    while not ended(process):
        time.sleep(0.0005)  # most of a life is the start of Python: wait for a file
        if (now := files_of(run)) != before and (early or "config.json" in dict(now)):
            break
    time.sleep(rng.uniform(0.0, rng.choice([0.0, 0.03] if early else [0.01, 0.03, 0.1])))
    if not ended(process):
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, f"exit status {os.WEXITSTATUS(status)}"
        return True
    names = {name for name, _ in files_of(run)}
    found["kills"] += 1
    found["kills in a write"] += any(name.endswith(".tmp") for name in names)
    found["kills before there was a run"] += "config.json" not in names
    return False


def files_of(run: Path) -> set[tuple[str, int]]:
    """Names and inodes of a folder: another set with every file that is written."""
    try:
        return {(entry.name, entry.inode()) for entry in os.scandir(run)}
    except OSError:
        return set()


def ended(process: int) -> bool:
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def finish(process: int) -> None:
    """Wait for a child that must succeed."""
    _, status = os.waitpid(process, 0)
    assert status == 0, f"status {status}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill training runs at random moments.")
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exec", action="store_true", help="a new Python for every process")
    options = parser.parse_args()
    import tqdm.auto  # noqa: F401

    import numpylm.cli.commands  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 30)
        way = execute if options.exec else fork
        counts = series(options.kills, way, random.Random(options.seed))
    print(json.dumps(counts))
    raise SystemExit(bool(counts["different"]))
