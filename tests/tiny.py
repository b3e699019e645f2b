"""Small texts, data files and settings for every objective: a run of a few steps takes 0.1 s."""

import dataclasses
import json
from pathlib import Path

from numpylm.training.train_config import TrainConfig
from numpylm.training.trainer import Trainer

SHAPE = {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_ff": 12, "bias": True}
LOOP = {"batch_size": 4, "steps": 4, "eval_every": 2, "warmup": 1, "lr": 1e-2, "min_lr": 0.0}
NOUNS = "cat dog fox hen cow pig owl bee".split()
VERBS = "sees hears likes knows".split()
CONTEXT = {"classification": 12, "labelling": 12, "answering": 24, "translation": 12}


def settings(objective: str, corpus: object, **changes) -> TrainConfig:
    """A tiny run of an objective."""
    given = {"objective": objective, "corpus": str(corpus), "tokenizer": "word", **SHAPE, **LOOP,
             "context": CONTEXT.get(objective, 24), **changes}  # fmt: skip
    return TrainConfig(**given)


def fitted(folder: Path, config: TrainConfig) -> Trainer:
    """A finished run."""
    trainer = Trainer.start(folder, config)
    trainer.fit(log=None)
    return trainer


def changed(config: TrainConfig, **changes) -> TrainConfig:
    return dataclasses.replace(config, **changes)


def documents(count: int, part: str, longest: int = 5) -> str:
    """Documents of 2 to ``longest`` sentences; the first word of each says where it stands."""
    texts = []
    for d in range(count):
        n = 2 + d % (longest - 1)
        texts.append(" ".join(f"{part}{d}s{s} the {NOUNS[(d + s) % 8]} {VERBS[s % 4]} ."
                              for s in range(n)))  # fmt: skip
    return "\n\n".join(texts) + "\n"


def write_documents(folder: Path) -> Path:
    """A corpus folder with documents between blank lines."""
    folder.mkdir()
    for part, count in (("train", 24), ("valid", 9), ("test", 8)):
        (folder / f"{part}.txt").write_text(documents(count, part))
    return folder


def write_task(folder: Path, name: str) -> Path:
    """A data folder of a task, made up of a few words."""
    folder.mkdir()
    number = 0
    for part, count in (("train", 30), ("valid", 7), ("test", 6)):
        lines = []
        for _ in range(count):
            a, b = NOUNS[number % 8], NOUNS[(3 * number + 1) % 8]
            v, number = VERBS[number % 3], number + 1
            lines.append(_line(name, a, v, b, number))
        suffix = "conll" if name == "labelling" else "tsv"
        (folder / f"{part}.{suffix}").write_text("".join(lines))
    return folder


def _line(name: str, a: str, v: str, b: str, number: int) -> str:
    sentence = f"the {a} {v} the {b}" + " ." * (number % 3)
    if name == "classification":
        return f"{sentence}\t{v}\n"
    if name == "labelling":
        kinds = {"the": "O", ".": "O", a: "B-ANIMAL", b: "B-ANIMAL", v: "O"}
        return "".join(f"{word} {kinds[word]}\n" for word in sentence.split()) + "\n"
    if name == "answering":
        return f"who {v} the {b} ?\tone day . {sentence}\tthe {a}\n"
    return f"{sentence}\t{b} {a} {v}\n"  # translation, summarisation


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())
