"""One run of a scaling experiment, and how fast such runs are on this machine.

A run is the library's own training (``training/trainer.py``) in one process with one BLAS thread.
It is evaluated once, at its end, on the same windows of the validation text as all the others:
what the text makes of the loss is then common to all runs and cancels where they are compared. A
run of more than half a minute keeps a checkpoint and goes on from it if its process is killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.batches import evaluation_windows
from numpylm.data.tokenized_corpus import TokenizedCorpus
from numpylm.files import write_atomically
from numpylm.scaling.experiment.family import CONTEXT, PlannedRun, Text, counts, planned
from numpylm.tasks.causal import ROWS, CausalLM
from numpylm.tasks.trained import Vocabulary
from numpylm.training.checkpoint import copy_into, load_checkpoint
from numpylm.training.loop import OneProcess
from numpylm.training.run_folder import Run
from numpylm.training.state import TrainingState
from numpylm.training.stopping import TrainingDiverged
from numpylm.training.timing import timed
from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer

SAVE_EVERY = 30.0  # seconds between checkpoints


@lru_cache(maxsize=2)
def tokenized(corpus: str, tokenizer: str) -> TokenizedCorpus:
    """The ids of a corpus; a process reads it once for all of its runs."""
    return TokenizedCorpus.load(TrainConfig(corpus=corpus, tokenizer=tokenizer, context=CONTEXT))


def train(run: PlannedRun, text: Text, valid_tokens: int, folder: Path, parent: int) -> dict:
    """The row of a run in ``runs.csv``, after training it, or going on from its checkpoint.

    The row stays in the run's folder until the sweep has it, so that it is not lost with the
    process. ``parent`` is the process that hears Ctrl-C. Raises ``ValueError`` if this machine
    reads another text.
    """
    if os.getpid() != parent and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = folder / "running" / run.name
    if (own / "row.json").is_file():
        return json.loads((own / "row.json").read_text(encoding="utf-8"))
    trainer = _trainer(run, text, own)
    try:
        loss, error = _fit(trainer, valid_tokens)
    except TrainingDiverged:
        loss = error = float("inf")
    row = row_of(run, text, loss, error, trainer.progress["seconds"])
    own.mkdir(parents=True, exist_ok=True)
    write_atomically(own / "row.json", json.dumps(row))
    return row


def row_of(run: PlannedRun, text: Text, loss: float, error: float, seconds: float) -> dict:
    """The columns of ``runs.csv``. A run that diverged has a role of its own: it is no data."""
    role = run.role if np.isfinite(loss) else "diverged"
    return {
        "run": run.name, "role": role, **counts(run.width, text.vocab_size, float(run.tokens)),
        "U": float(min(run.tokens, text.train_tokens)), "loss": loss, "loss_se": error,
        "width": run.width, "lr": run.lr, "batch_tokens": run.batch_size * CONTEXT,
        "steps": run.steps, "seed": run.seed, "seconds": round(seconds, 3),
    }  # fmt: skip


def _trainer(run: PlannedRun, text: Text, own: Path) -> Trainer:
    """At the start, or where its checkpoint left off."""
    data = tokenized(text.corpus, text.tokenizer)
    if data.summary["sha256"] != text.sha256:
        raise ValueError(f"corpus {text.corpus} is not the one that the sweep was planned for; "
                         "it differs between machines and Python versions")  # fmt: skip
    settings = run.settings(text)
    task = CausalLM(settings, Vocabulary(data.tokenizer), data)
    folder = Run(own, settings, task.vocabulary, task.summary, {}, [])
    trainer = Trainer(folder, task, *task.init(run.seed))
    trainer.progress["seconds"] = 0.0
    if folder.checkpoint.is_file():
        with suppress(ValueError):  # a file that is damaged is no checkpoint: from the start
            found = load_checkpoint(folder.checkpoint, folder.fingerprint, trainer.theta.size)
            copy_into(trainer.optimizer.state, found.optimizer, folder.checkpoint)
            copy_into(trainer.p, found.parameters, folder.checkpoint)
            trainer.optimizer.step, trainer.progress = found.step, found.progress
    return trainer


def _fit(trainer: Trainer, valid_tokens: int) -> tuple[float, float]:
    """Train to the last step; returns the loss and its standard error."""
    since = saved = time.perf_counter()
    before = trainer.progress["seconds"]
    with trainer.parallel() as parallel:
        for _ in trainer.steps(parallel):
            now = time.perf_counter()
            trainer.progress["seconds"] = before + now - since
            if now - saved > SAVE_EVERY:
                trainer.run.folder.mkdir(parents=True, exist_ok=True)
                trainer.save()
                saved = now
        return evaluate(trainer.task, parallel, valid_tokens)


def evaluate(task: Any, parallel: OneProcess, tokens: int) -> tuple[float, float]:
    """Mean loss on about ``tokens`` tokens of validation text, nats, and its standard error.

    The windows lie evenly over the text. The error comes from the scatter between blocks of 16
    neighbouring windows, whose tokens are not independent of each other.
    """
    ids, targets = evaluation_windows(task.corpus.valid, CONTEXT)
    count = min(max(tokens // CONTEXT, 1), len(ids))
    kept = np.linspace(0, len(ids) - 1, count).astype(np.int64)
    blocks = np.array_split(kept, max(count // ROWS, 1))
    batches = [{"ids": ids[b], "targets": targets[b]} for b in blocks]
    means = np.concatenate([parallel.losses([b], float(b["ids"].size)) for b in batches])
    sizes = np.array([len(b) for b in blocks], float)
    loss = float(means @ sizes / sizes.sum())
    return loss, float(means.std(ddof=min(1, len(means) - 1)) / np.sqrt(len(means)))


def step_seconds(width: int, text: Text, seconds: float = 0.25) -> tuple[float, float]:
    """(a, b): a step on n tokens of this width takes about a + b n seconds here and now.

    Measured at two batch sizes, as the mean over ``seconds`` each, other programs' share included.
    """
    data = tokenized(text.corpus, text.tokenizer)
    small, large = 2, 16  # sequences
    run = planned("fit", width, 1e9, text.vocab_size)
    means = []
    for batch_size in (small, large):
        settings = dataclasses.replace(run, batch_size=batch_size, steps=10**6).settings(text)
        task = CausalLM(settings, Vocabulary(data.tokenizer), data)
        state = TrainingState(task, *task.init(1))
        with state.parallel() as parallel:
            loop = state.steps(parallel)
            means.append(np.mean(timed(lambda: next(loop), seconds, warm_up=1)))  # noqa: B023
    token = max((means[1] - means[0]) / (large - small), 0.1 * means[1] / large) / CONTEXT
    return max(means[0] - token * small * CONTEXT, 0.0), token
