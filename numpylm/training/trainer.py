"""A run: started or resumed, trained step by step (``loop.py``), evaluated and saved.

A run is a function of its settings: batch and dropout of an update come from (seed, step), the
shards add up in a fixed order. So a run that was killed and resumed from its last checkpoint ends
with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files import locked, write_atomically
from numpylm.optim.schedule import plateau
from numpylm.parameters import Array, leaves
from numpylm.tasks.loading import load_task
from numpylm.tasks.task import Task
from numpylm.training.checkpoint import Checkpoint, copy_into, load_header, save_checkpoint
from numpylm.training.loop import OneProcess, Step
from numpylm.training.pretrained import copy_trunk, require_fitting
from numpylm.training.run_folder import Run, new_folder, open_run, require_free
from numpylm.training.state import TrainingState
from numpylm.training.stopping import TrainingDiverged, TrainingInterrupted, stop_signal
from numpylm.training.train_config import TrainConfig


class Trainer(TrainingState):
    """One run: ``start`` or ``resume`` it, then ``fit``."""

    def __init__(self, run: Run, task: Task, theta: Array, p: Any) -> None:
        super().__init__(task, theta, p)
        self.run = run
        # Written to the checkpoint too; the losses are those since the last evaluation.
        self.progress = {"loss_sum": 0.0, "updates": 0, "gradient_norm": 0.0, "tokens": 0}
        self.progress |= plateau([])
        self.saved_step: int | None = None

    @classmethod
    def start(cls, folder: Path, config: TrainConfig, *, random_start: bool = False) -> Trainer:
        """A new run. Everything is checked before the folder is made; ``config.json`` is written
        last, so that a folder is either a run that can be resumed or no run.

        The trunk of ``config.pretrained`` is copied, unless ``random_start`` asks for the same
        model with the same vocabulary from scratch.
        """
        require_free(folder)
        start = open_run(config.pretrained) if config.pretrained else None
        known = None
        if start is not None:
            require_fitting(start, config)
            known = replace(start.vocabulary, labels=())
        task = load_task(config, known)
        baselines = task.baselines()
        run = Run(folder, config, task.vocabulary, task.summary, baselines, [])
        theta, p = task.init(config.seed)
        if start is not None and not random_start:
            copy_trunk(start, p)
        trainer = cls(run, task, theta, p)
        task.batch(0)
        with new_folder(folder):
            for name, content in run.tokenizer_files():
                write_atomically(folder / name, content)
            trainer.save()
            run.write_config()
        return trainer

    @classmethod
    def resume(cls, folder: str | Path) -> Trainer:
        """Go on from the last checkpoint. Raises ``ValueError`` if the corpus is another now."""
        run = open_run(folder)
        checkpoint, theta, p = run.load_model()
        changed = f"corpus {run.config.corpus} has changed since {folder} was started"
        try:
            task = load_task(run.config, run.vocabulary)
        except ValueError as error:  # what the run's vocabulary cannot encode was not there before
            raise ValueError(f"{changed}, or cannot be read: {error}") from None
        if run.corpus.get("sha256") != task.summary["sha256"]:
            raise ValueError(changed)
        run.corpus = task.summary
        trainer = cls(run, task, theta, p)
        run.metrics = [m for m in run.metrics if m["step"] <= checkpoint.step]
        if not set(plateau([])) & set(checkpoint.progress):  # of version 1: it is in the metrics
            checkpoint.progress |= plateau([m["val_loss"] for m in run.metrics])
        if set(checkpoint.progress) != set(trainer.progress):
            raise ValueError(f"{run.checkpoint} is damaged: its progress is not ours")
        # The first evaluation is of step 0, as the checkpoint before it: it does not know of it.
        run.metrics = run.metrics[: int(checkpoint.progress["evaluations"])]
        copy_into(trainer.optimizer.state, checkpoint.optimizer, run.checkpoint)
        trainer.optimizer.step = trainer.saved_step = checkpoint.step
        trainer.progress = checkpoint.progress
        return trainer

    def fit(self, log: Callable[[str], object] | None = print) -> None:
        """Train to the last step, with a progress bar; ``log`` gets a line for each evaluation.

        Raises ``TrainingInterrupted`` after Ctrl-C (saved), ``ValueError`` if the loss is no
        longer a number or a file cannot be written (the last good checkpoint stays).
        """
        from tqdm.auto import tqdm

        config = self.config
        with (
            locked(self.run.folder),
            self.parallel() as parallel,  # before the bar: its thread would get a heap of its own
            tqdm(total=config.steps, initial=self.step, unit="step", disable=None) as bar,
            stop_signal() as stop,
        ):
            self._require_last()
            if not self.run.metrics:
                self._measure(parallel, 0.0, log, again=self.progress["evaluations"] > 0)
            since, seen = time.perf_counter(), self.progress["tokens"]
            for _ in self.steps(parallel):
                rate = (self.progress["tokens"] - seen) / (time.perf_counter() - since)
                bar.update()
                bar.set_postfix_str(self._status(rate), refresh=False)
                if self.step % config.eval_every == 0 or self.step == config.steps:
                    self._measure(parallel, rate, log)
                    bar.set_postfix_str(self._status(rate))
                    since, seen = time.perf_counter(), self.progress["tokens"]
                if stop.is_set():
                    self.save()
                    raise TrainingInterrupted(f"step {self.step}")

    def evaluate(self, split: str) -> dict[str, float]:
        """Mean loss over all of "train", "valid" or "test", in nats per token, and other scores.

        Raises ``ValueError`` if the corpus has no such text or a shorter one than a context.
        """
        with self.parallel() as parallel:
            return self.task.measure(parallel, split)

    def steps(self, model: OneProcess, steps: Iterable[int] | None = None) -> Iterator[Step]:
        """The training loop, whose progress is noted.

        Raises ``TrainingDiverged``, and has changed nothing, if the loss or its gradient is no
        longer finite; ``ValueError`` if a process was killed.
        """
        # A run that began by counting padding goes on to do so.
        count = self.task.tokens if self.run.vocabulary.rules > 1 else self.task.positions
        try:
            for step in super().steps(model, steps):
                self.progress["loss_sum"] += step.loss
                self.progress["updates"] += 1
                self.progress["gradient_norm"] = step.gradient_norm
                self.progress["tokens"] += sum(map(count, step.batches))
                yield step
        except TrainingDiverged as error:
            raise TrainingDiverged(f"training diverged: {error}; {self._kept()}") from None

    def val_losses(self) -> list[float]:
        """Losses that have the same best and as many that were no better as those so far."""
        if not self.progress["evaluations"]:
            return []
        return [self.progress["best_val_loss"]] * (1 + int(self.progress["plateaus"]))

    def _measure(
        self, parallel: OneProcess, tokens_per_second: float, log: Callable[[str], object] | None,
        *, again: bool = False,
    ) -> None:  # fmt: skip
        """Evaluate, write metrics and checkpoint, log a line; ``again`` if it is no new result."""
        from tqdm.auto import tqdm

        measured = self.task.measure(parallel, "valid")
        val_loss = measured["loss"]
        if not math.isfinite(val_loss):
            what = f"validation loss {val_loss} at step {self.step}"
            raise TrainingDiverged(f"training diverged: {what}; {self._kept()}")
        updates = self.progress["updates"]
        train_loss = self.progress["loss_sum"] / updates if updates else None
        self.run.metrics.append(
            {
                "step": self.step,
                "tokens": self.progress["tokens"],
                "train_loss": train_loss,
                **{f"val_{name}": value for name, value in measured.items()},
                "learning_rate": self.learning_rate(max(self.step - 1, 0)),
                "gradient_norm": self.progress["gradient_norm"],
                "tokens_per_second": round(tokens_per_second, 1),
            }
        )
        self.progress |= {"loss_sum": 0.0, "updates": 0}
        if not again:
            count = self.progress["evaluations"] + 1
            self.progress |= plateau([*self.val_losses(), val_loss]) | {"evaluations": count}
        self.save()
        if log is not None:
            others = "".join(
                f"{n} {v:.4f}   " for n, v in measured.items() if n not in ("loss", "cut")
            )
            train = f"train {train_loss:.4f}" if updates else "untrained   "
            with tqdm.external_write_mode():
                log(
                    f"step {self.step:>6}   {train}   val {val_loss:.4f}   "
                    f"{others}{tokens_per_second:>8,.0f} tokens/s"
                )

    def save(self) -> None:
        """Metrics, then checkpoint: after a crash between the two the metrics are cut back."""
        parameters = dict(leaves(self.p))
        state, run = self.optimizer.state, self.run.fingerprint
        checkpoint = Checkpoint(parameters, state, self.step, self.progress, run)
        if not all(np.isfinite(a).all() for a in (self.theta, *state.values())):
            what = f"parameters that are not finite at step {self.step}"
            raise TrainingDiverged(f"training diverged: {what}; {self._kept()}")
        try:
            self.run.write_metrics()
            save_checkpoint(self.run.checkpoint, checkpoint)
        except OSError as error:
            raise ValueError(
                f"cannot save step {self.step} in {self.run.folder}: {error.strerror}; "
                f"{self._kept()}"
            ) from None
        self.saved_step = self.step

    def _require_last(self) -> None:
        """Raise ``ValueError`` if another process went on with the run since it was read."""
        if (step := load_header(self.run.checkpoint)["step"]) != self.saved_step:
            what = f"{self.run.folder} is at step {step} now, not {self.saved_step}"
            raise ValueError(f"{what}: another process trained it; resume it again")

    def _kept(self) -> str:
        if self.saved_step is None:
            return "no checkpoint was written yet"
        return f"the checkpoint of step {self.saved_step} is intact"

    def _status(self, tokens_per_second: float) -> str:
        last, updates = self.run.metrics[-1], self.progress["updates"]
        loss = self.progress["loss_sum"] / updates if updates else last["train_loss"]
        return f"loss={loss:.3f} val={last['val_loss']:.3f} {tokens_per_second:,.0f} tok/s"
