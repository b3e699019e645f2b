"""Peak memory of a process that trains, in numpylm and in eager PyTorch.

python -m tests.benchmarks.memory
python -m tests.benchmarks.memory --json

Case a is the model and batch of nanogpt-cpu with AdamW; case d the textbook's WikiText-2 recipe
(33,278 words, SGD, clipping), both without dropout. Each side is a process of its own that makes a
few steps on random ids with two threads; its peak resident memory (VmHWM of Linux) is everything:
the interpreter, the libraries, parameters, gradients, moments and activations.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

CASES = {"a": ("nanogpt-cpu", 65), "d": ("wikitext2", 33278)}


def peak_mib() -> float:
    """The most memory that this process ever held, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def settings(case: str):
    from numpylm.training.presets import preset

    name, vocab_size = CASES[case]
    return dataclasses.replace(preset(name), dropout=0.0, threads=2), vocab_size


def train_in_numpylm(case: str, steps: int) -> None:
    from numpylm.benchmark import TrainingStep
    from numpylm.training.parallel import one_blas_thread

    step = TrainingStep(*settings(case))
    with one_blas_thread(), step.parallel:
        for _ in range(steps):
            step()


def train_in_pytorch(case: str, steps: int) -> None:
    import torch

    from numpylm.models.gpt import gpt_init
    from tests.torch_reference import torch_adamw, torch_loss, torch_parameters

    c, vocab_size = settings(case)
    model = c.model_config(vocab_size)
    torch.set_num_threads(c.threads)
    t = torch_parameters(gpt_init(c.seed, model)[1])
    if c.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(t.values(), c.lr)
    else:
        optimizer = torch_adamw(t, c.lr, (c.beta1, c.beta2), c.weight_decay)
    ids, targets = torch.randint(vocab_size, (2, c.batch_size, c.context))
    for _ in range(steps):
        loss = torch_loss(t, ids, targets, model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(t.values(), c.clip)
        optimizer.step()


SIDES = {"numpylm": train_in_numpylm, "pytorch": train_in_pytorch}


def measure(side: str, case: str, steps: int) -> float:
    """The peak of a new process, MiB."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--side", side, "--case", case]
    command += ["--steps", str(steps)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help="train here and print this process's peak")
    parser.add_argument("--case", choices=CASES, help="the case of --side")
    arguments = parser.parse_args()
    if arguments.side:
        SIDES[arguments.side](arguments.case, arguments.steps)
        print(peak_mib())
        return 0
    figures: dict[str, float] = {}
    for case in CASES:
        for side in SIDES:
            if side != "pytorch" or importlib.util.find_spec("torch"):
                figures[f"{side}_{case}_mib"] = measure(side, case, arguments.steps)
        if f"pytorch_{case}_mib" in figures:
            ratio = figures[f"numpylm_{case}_mib"] / figures[f"pytorch_{case}_mib"]
            figures[f"ratio_{case}"] = ratio
    if arguments.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        print(f"{name:<16} {value:8.2f}" if "ratio" in name else f"{name:<16} {value:8.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
