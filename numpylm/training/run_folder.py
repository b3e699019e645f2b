"""The folder of a run: what it was told, what it measured, what it learned.

config.json              settings, versions, corpus (sha256, sizes), baselines
tokenizer.json           the vocabulary; target_tokenizer.json if the target has its own
metrics.jsonl            one JSON object for each evaluation
checkpoint.safetensors   parameters, optimiser state, step
loss.png                 the loss curve
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numpylm
from numpylm.data.vocabulary import Tokenizer, tokenizer_from_json
from numpylm.data.words import RULES
from numpylm.files import locked, parse_json, read_utf8, write_atomically
from numpylm.models.counting import parameter_counts
from numpylm.parameters import Array
from numpylm.tasks.trained import Vocabulary
from numpylm.training.checkpoint import Checkpoint, copy_into, load_checkpoint
from numpylm.training.train_config import ADDED, TrainConfig, config_from_dict

BEFORE_CONFIG = (
    "tokenizer.json", "target_tokenizer.json", "metrics.jsonl", "checkpoint.safetensors",
)  # fmt: skip
# All that a start may leave that was killed before there was a config.json.
STARTED = {*BEFORE_CONFIG, *(f".{name}.tmp" for name in (*BEFORE_CONFIG, "config.json"))}


@dataclass
class Run:
    """What ``config.json``, ``tokenizer.json`` and ``metrics.jsonl`` hold."""

    folder: Path
    config: TrainConfig
    vocabulary: Vocabulary
    corpus: dict[str, Any]  # name, sha256, train_tokens, valid_tokens, test_tokens
    baselines: dict[str, float]  # n-gram losses on the validation text; a task's trivial scores
    metrics: list[dict[str, Any]]

    @property
    def checkpoint(self) -> Path:
        """The file of parameters, optimiser state and step."""
        return self.folder / "checkpoint.safetensors"

    @property
    def fingerprint(self) -> str:
        """sha256 of settings, tokenizers and labels: what a checkpoint belongs to."""
        settings = dataclasses.asdict(self.config)
        kept = {n: v for n, v in settings.items() if n not in ADDED or v != ADDED[n]}
        parts = [json.dumps(kept, sort_keys=True)]
        parts += [text for _, text in self.tokenizer_files()]
        parts.append(json.dumps(self.vocabulary.labels))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def model(self) -> Any:
        """The configuration of the model."""
        return self.config.task.model_of(self.config, self.vocabulary)

    def tokenizer_files(self) -> list[tuple[str, str]]:
        """(file name, content) of the one or two tokenizers."""
        files = [("tokenizer.json", self.vocabulary.tokenizer.to_json())]
        if self.vocabulary.target is not None:
            files.append(("target_tokenizer.json", self.vocabulary.target.to_json()))
        return files

    def write_config(self) -> None:
        """The file that makes a folder a run; the last one to be written when a run starts."""
        content = {
            "numpylm": numpylm.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "settings": dataclasses.asdict(self.config),
            "corpus": self.corpus,
            "labels": self.vocabulary.labels,
            "rules": self.vocabulary.rules,
            "baselines": self.baselines,
        }
        write_atomically(self.folder / "config.json", json.dumps(content, indent=2) + "\n")

    def load_model(self) -> tuple[Checkpoint, Array, Any]:
        """The checkpoint, and the model that it holds: (checkpoint, theta, p).

        Raises ``ValueError`` if there is none, or one of another run. Sizes are compared before
        any memory is taken for them.
        """
        config = self.model
        size = parameter_counts(config)["total"]
        checkpoint = load_checkpoint(self.checkpoint, self.fingerprint, size)
        theta, p = self.config.task.architecture.init(self.config.seed, config)
        copy_into(p, checkpoint.parameters, self.checkpoint)
        return checkpoint, theta, p

    def write_metrics(self) -> None:
        """All evaluations so far, a JSON object a line."""
        lines = "".join(json.dumps(m) + "\n" for m in self.metrics)
        write_atomically(self.folder / "metrics.jsonl", lines)


def open_run(folder: str | Path) -> Run:
    """Read a run folder. Raises ``ValueError`` with one clear line if it is not one."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a run folder (it has no config.json)")
    content = _read_json(folder / "config.json")
    if not _is_config(content):
        raise ValueError(f"{folder / 'config.json'} is damaged: settings, corpus or baselines")
    config = config_from_dict(content.get("settings"))
    tokenizer = _read_tokenizer(folder / "tokenizer.json")
    path = folder / "target_tokenizer.json"
    target = _read_tokenizer(path) if path.exists() else None
    path = folder / "metrics.jsonl"
    lines = read_utf8(path).splitlines() if path.exists() else []
    metrics = [_read_json(path, line) for line in lines]
    if not all(map(_is_evaluation, metrics)):
        raise ValueError(f"{path} is damaged: a line does not hold an evaluation")
    vocabulary = Vocabulary(tokenizer, target, tuple(content["labels"]), content.get("rules", 1))
    return Run(folder, config, vocabulary, content["corpus"], content["baselines"], metrics)


def require_free(folder: Path) -> None:
    """Raise ``ValueError`` if a folder holds a run or files that are not ours.

    Without ``config.json`` our own files are what a start left that was killed: no run, and free.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a run needs a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if "config.json" in found:
        raise ValueError(f"{folder} holds a run already: resume it or take another name")
    if foreign := sorted(found - STARTED):
        raise ValueError(f"{folder} holds other files ({foreign[0]}): take another name")


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and hold it for this process alone while its files are written.

    What a start left that was killed is removed. Leaves nothing if the body raises. Raises
    ``ValueError`` as ``require_free`` does, or if another process is starting a run there.
    """
    made = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=folder not in made)  # two starts cannot both make it
    with locked(folder):
        require_free(folder)  # now that no other start can write there
        try:
            _remove(STARTED, folder)
            yield
        except BaseException:
            with suppress(OSError):
                _remove(STARTED | {"config.json"}, folder)
                for empty in made:
                    empty.rmdir()
            raise


def free_name(parent: Path, name: str) -> Path:
    """parent/name, or parent/name-2, -3, … : the first that does not exist."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def _remove(names: set[str], folder: Path) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _is_config(content: Any) -> bool:
    """Whether the parts that are read on resuming have the right types."""
    if not isinstance(content, dict) or not isinstance(content.get("corpus"), dict):
        return False
    labels, baselines = content.get("labels"), content.get("baselines")
    if not isinstance(labels, list) or not all(type(label) is str for label in labels):
        return False
    if type(content.get("rules", 1)) is not int or content.get("rules", 1) not in range(
        1, RULES + 1
    ):
        return False
    return isinstance(baselines, dict) and all(type(x) is float for x in baselines.values())


def _is_evaluation(line: Any) -> bool:
    """Whether a line of metrics.jsonl has what is read again."""
    if not isinstance(line, dict) or type(line.get("step")) is not int or line["step"] < 0:
        return False
    losses = line.get("val_loss"), line.get("train_loss", "")
    return type(losses[0]) in (int, float) and type(losses[1]) in (int, float, type(None))


def _read_tokenizer(path: Path) -> Tokenizer:
    text = read_utf8(path)
    try:
        return tokenizer_from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_json(path: Path, text: str | None = None) -> Any:
    text = read_utf8(path) if text is None else text
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not valid JSON: {error}") from None
