"""§5.3 The folder of a run: what it was told, what it measured, what it learned.

config.json              settings, versions, corpus (sha256, sizes), baselines
tokenizer.json           the vocabulary
metrics.jsonl            one JSON object for each evaluation
checkpoint.safetensors   parameters, optimiser state, step
loss.png                 the loss curve
"""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numpylm
from numpylm.data.vocabulary import Tokenizer, tokenizer_from_json
from numpylm.training.config import TrainConfig, config_from_dict
from numpylm.training.files import write_atomically


@dataclass
class Run:
    """What ``config.json``, ``tokenizer.json`` and ``metrics.jsonl`` hold."""

    folder: Path
    config: TrainConfig
    tokenizer: Tokenizer
    corpus: dict[str, Any]  # name, sha256, train_tokens, valid_tokens, test_tokens
    baselines: dict[str, float]  # validation loss of the n-gram models, nats per token
    metrics: list[dict[str, Any]]

    @property
    def checkpoint(self) -> Path:
        """The file of parameters, optimiser state and step."""
        return self.folder / "checkpoint.safetensors"

    def create(self) -> None:
        """Make the folder and write what does not change. Raises ``ValueError`` if it has a run."""
        if (self.folder / "config.json").exists():
            raise ValueError(f"{self.folder} holds a run already: resume it or take another name")
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "numpylm": numpylm.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "settings": dataclasses.asdict(self.config),
            "corpus": self.corpus,
            "baselines": self.baselines,
        }
        write_atomically(self.folder / "tokenizer.json", self.tokenizer.to_json())
        write_atomically(self.folder / "config.json", json.dumps(content, indent=2) + "\n")

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
    if not isinstance(content, dict) or not {"settings", "corpus", "baselines"} <= set(content):
        raise ValueError(f"{folder / 'config.json'} is damaged: it lacks settings or corpus")
    config = config_from_dict(content["settings"])
    tokenizer = tokenizer_from_json(_read(folder / "tokenizer.json"))
    path = folder / "metrics.jsonl"
    metrics = [_read_json(path, line) for line in _read(path).splitlines()] if path.exists() else []
    return Run(folder, config, tokenizer, content["corpus"], content["baselines"], metrics)


def free_name(parent: Path, name: str) -> Path:
    """parent/name, or parent/name-2, -3, … : the first that holds no run."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def _read_json(path: Path, text: str | None = None) -> Any:
    try:
        return json.loads(_read(path) if text is None else text)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{path} is damaged: it is not valid JSON") from None
