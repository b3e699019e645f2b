"""What a pre-trained encoder knows of a classification task before any fine-tuning.

    python -m tests.benchmarks.features runs/bert
    python -m tests.benchmarks.features runs/bert --corpus path/to/sst2

Printed are the test accuracies of logistic regression on fixed features h of the texts, [CLS]'s
state and the mean of all states, from the pre-trained trunk and from fresh ones of three seeds.
Penalty: the best on the validation part. Also printed is the share of the token embeddings' energy
that lies in their mean, ‖mean E‖² / mean ‖e‖²; what all words share tells none from another.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from numpylm.models.bert import bert_forward
from numpylm.parameters import Array
from numpylm.training.presets import preset
from numpylm.training.pretrained import inherited
from numpylm.training.run_folder import open_run
from numpylm.training.trainer import Trainer

PARTS = ("train", "valid", "test")


def features(trainer: Trainer, part: str) -> tuple[dict[str, Array], Array]:
    """[CLS]'s state and the mean state of each text (n, D), and the labels (n,)."""
    objective = trainer.task
    cls, mean, labels = [], [], []
    for batch in objective.held_out(part):
        h, _ = bert_forward(
            trainer.p.trunk, batch["ids"], config=objective.model, mask=batch["mask"]
        )
        text = batch["mask"][..., None]
        cls.append(h[:, 0])
        mean.append((h * text).sum(axis=1) / text.sum(axis=1))
        labels.append(batch["labels"])
    return {"cls": np.concatenate(cls), "mean": np.concatenate(mean)}, np.concatenate(labels)


def regression(x: Array, labels: Array, classes: int, penalty: float) -> Array:
    """Weights (D + 1, K) of logistic regression after 400 steps of Nesterov's gradient."""
    x = np.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
    truth = np.eye(classes)[labels]
    weight = ahead = np.zeros((x.shape[1], classes))
    rate = 1 / (0.5 * np.linalg.norm(x, 2) ** 2 / len(x) + penalty)
    for step in range(400):
        z = x @ ahead
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        following = ahead - rate * (x.T @ (p - truth) / len(x) + penalty * ahead)
        ahead = following + step / (step + 3) * (following - weight)
        weight = following
    return weight


def probe(trainer: Trainer) -> dict[str, float]:
    """The test accuracy for each kind of features."""
    found = {part: features(trainer, part) for part in PARTS}
    scores = {}
    for kind in ("cls", "mean"):
        train = found["train"][0][kind].astype(np.float64)
        center, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
        x = {part: (found[part][0][kind] - center) / spread for part in PARTS}
        right = []
        for penalty in (1e-3, 1e-2, 1e-1):
            classes = trainer.task.model.n_labels
            w = regression(x["train"], found["train"][1], classes, penalty)
            guess = {part: (x[part] @ w[:-1] + w[-1]).argmax(axis=1) for part in PARTS[1:]}
            right.append([np.mean(guess[part] == found[part][1]) for part in PARTS[1:]])
        scores[kind] = float(max(right, key=lambda pair: pair[0])[1])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--corpus", default="pydoc")
    arguments = parser.parse_args()
    start = open_run(arguments.run)
    config = dataclasses.replace(
        preset("classification"), **inherited(start, "classification"),
        corpus=arguments.corpus, pretrained=str(start.folder.resolve()), threads=1,
    )  # fmt: skip
    for seed in (0, 1, 2, 3):
        with tempfile.TemporaryDirectory() as runs:
            settings = dataclasses.replace(config, seed=max(seed, 1))
            trainer = Trainer.start(Path(runs) / "probe", settings, random_start=bool(seed))
            scores = probe(trainer)
            weight = trainer.p.trunk.embedding.tokens.weight
        shared = np.square(weight.mean(axis=0)).sum() / np.square(weight).sum(axis=1).mean()
        name = f"fresh, seed {seed}" if seed else "pre-trained"
        print(f"{name:<16} cls {scores['cls']:.3f}   mean {scores['mean']:.3f}   "
              f"embeddings' shared energy {shared:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
