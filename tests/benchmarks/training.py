"""A whole training, here and in PyTorch, from one start on the same batches.

    python -m tests.benchmarks.training nanogpt-cpu path/to/tinyshakespeare.txt
    python -m tests.benchmarks.training pytorch-wikitext2 path/to/wikitext-2 --evaluations 1
                            [--steps 300] [--threads 1] [--double]

Same parameters at the start, same batches in the same order, no dropout, the same optimiser,
clipping and schedule. Each side trains for ``--steps`` updates (default: as often as the preset
evaluates), then the other one. After each such slice the loss of both on the whole validation text
is printed, with the seconds that the updates took. At the historic learning rate of WikiText-2 the
first updates are chaotic: single precision's rounding errors grow to differences of many per cent,
which ``--double`` precision shows to be rounding and nothing else. Both sides share a process, and
so numpylm's setting of malloc, which is worth 30 % of PyTorch's time at V = 33,278. Without
PyTorch numpylm trains alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parameters import view
from numpylm.tasks.causal import CausalLM
from numpylm.training.presets import preset
from numpylm.training.state import TrainingState
from numpylm.training.train_config import TrainConfig
from tests.benchmarks.turns import has_pytorch

Train = Callable[[range, list[float]], None]  # steps, and the losses on the validation text so far


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "preset", choices=("nanogpt-cpu", "pytorch-wikitext2", "textbook", "wikitext2-better")
    )
    parser.add_argument("corpus")
    parser.add_argument("--steps", type=int, help="updates between evaluations")
    parser.add_argument("--evaluations", type=int, help="default: those of the preset")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--double", action="store_true", help="float64 in place of float32")
    arguments = parser.parse_args()
    config = dataclasses.replace(
        preset(arguments.preset), corpus=arguments.corpus, dropout=0.0, threads=arguments.threads
    )
    steps = arguments.steps or config.eval_every
    objective = CausalLM.load(config, None)
    theta, p = objective.init(config.seed)
    if arguments.double:
        theta = theta.astype(np.float64)
        p = view(p, theta)
    keep_freed_pages()
    sides = {"PyTorch": in_torch(objective, p)} if has_pytorch() else {}
    sides["numpylm"] = here(TrainingState(objective, theta, p))
    losses: dict[str, list[float]] = {name: [] for name in sides}
    seconds = dict.fromkeys(sides, 0.0)
    print(f"{steps} updates between evaluations; loss on the whole validation text, nats\n")
    print("steps   " + "".join(f"{name:>10} {'seconds':>8}" for name in sides), end="")
    compared = (
        "perplexity, numpylm's / PyTorch's" if has_pytorch() else "(PyTorch is not installed)"
    )
    print(f"   {compared}")
    for k in range(arguments.evaluations or config.steps // steps):
        for name, (train, measure) in sides.items():
            start = time.perf_counter()
            train(range(k * steps, (k + 1) * steps), losses[name])
            seconds[name] += time.perf_counter() - start
            losses[name].append(measure())
        line = f"{(k + 1) * steps:<8}"
        line += "".join(f"{losses[name][-1]:>10.4f} {seconds[name]:>8.0f}" for name in sides)
        if "PyTorch" in sides:
            line += f"{math.exp(losses['numpylm'][-1] - losses['PyTorch'][-1]):>10.4f}"
        print(line, flush=True)


def here(state: TrainingState) -> tuple[Train, Callable[[], float]]:
    """(train, measure), as the trainer does it."""

    def train(span: range, losses: list[float]) -> None:
        state.val_losses = lambda: losses
        with state.parallel() as parallel:
            for _ in state.steps(parallel, span):
                pass

    def measure() -> float:
        with state.parallel() as parallel:
            return state.task.measure(parallel, "valid")["loss"]

    return train, measure


def in_torch(objective: CausalLM, p: Any) -> tuple[Train, Callable[[], float]]:
    """(train, measure) in PyTorch, from the same parameters."""
    import torch

    from tests.torch_reference import torch_adamw, torch_loss, torch_parameters

    config: TrainConfig = objective.settings
    torch.set_num_threads(config.threads)
    t = torch_parameters(p)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(t.values(), config.lr, config.momentum)
        if config.optimizer == "sgd"
        else torch_adamw(t, config.lr, (config.beta1, config.beta2), config.weight_decay)
    )

    def train(span: range, losses: list[float]) -> None:
        for step in span:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate(step, losses)
            batch = objective.batch(step)
            ids, targets = (
                torch.tensor(np.ascontiguousarray(batch[n])) for n in ("ids", "targets")
            )
            optimizer.zero_grad()
            torch_loss(t, ids, targets, objective.model).backward()
            torch.nn.utils.clip_grad_norm_(t.values(), config.clip)
            optimizer.step()

    def measure() -> float:
        total = count = 0.0
        with torch.no_grad():
            for batch in objective.held_out("valid"):
                ids, targets = torch.tensor(batch["ids"]), torch.tensor(batch["targets"])
                total += float(torch_loss(t, ids, targets, objective.model)) * targets.numel()
                count += targets.numel()
        return total / count

    return train, measure


if __name__ == "__main__":
    main()
