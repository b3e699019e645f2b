"""What pre-training is worth: a fine-tuned model, the same from scratch, and simple baselines.

    python -m tests.benchmarks.finetuning runs/bert classification --seeds 1 2 3
    python -m tests.benchmarks.finetuning runs/bert classification --corpus path/to/sst2
    python -m tests.benchmarks.finetuning runs/bert classification --labelled 20 --steps 300

Each seed trains both models with the same settings and batches; printed are the test scores, their
mean and their range, and the baselines of the task. ``--labelled N`` keeps the first N training
texts of each label, and the other parts whole. Other options go to ``numpylm finetune``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from numpylm.cli import main as numpylm
from numpylm.tasks.classification import load
from numpylm.tasks.dataset import Labelled


def few_labelled(corpus: str, most: int, folder: Path) -> None:
    """Write a classification corpus to a folder, with at most so many training texts a label."""
    dataset = load(corpus)
    seen: Counter[str] = Counter()
    few: list[Labelled] = []
    for example in dataset.train:
        seen[example.label] += 1
        if seen[example.label] <= most:
            few.append(example)
    for name, part in (("train", few), ("valid", dataset.valid), ("test", dataset.test)):
        lines = [f"{example.text}\t{example.label}\n" for example in part]
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--corpus", default="pydoc")
    parser.add_argument("--labelled", type=int, help="training texts of each label")
    arguments, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = arguments.corpus
        if arguments.labelled:
            few_labelled(corpus, arguments.labelled, Path(folder))
            corpus = folder
        compare(arguments, ["--corpus", corpus, *others])


def compare(arguments: argparse.Namespace, others: list[str]) -> None:
    """Train both models with every seed and print the table."""
    found: dict[str, list[float]] = {"fine-tuned": [], "from scratch": []}
    score, baselines = "", {}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as runs:
            command = ["finetune", arguments.run, arguments.task, "--json", "--runs", runs]
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                status = numpylm([*command, "--seed", str(seed), *others])
            if status:
                raise SystemExit(status)
        result = json.loads(output.getvalue())
        baselines = result["baselines"]
        for name, values in found.items():
            scores = result["scores"][name]["test"]
            score = next(n for n in scores if n != "loss")
            values.append(scores[score])
        print(
            f"seed {seed}: " + ", ".join(f"{n} {v[-1]:.4f}" for n, v in found.items()), flush=True
        )
    print(f"\n{score} on the test part:")
    for name, values in found.items():
        mean, low, high = statistics.mean(values), min(values), max(values)
        print(f"  {name:<20} {mean:.4f}   ({low:.4f} to {high:.4f})")
    for name, value in baselines.items():
        print(f"  {name:<20} {value:.4f}")


if __name__ == "__main__":
    main()
