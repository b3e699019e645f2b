"""The textbook's recipe on WikiText-2, here and in PyTorch, from one start on the same batches.

    python -m tests.benchmarks.wikitext2 path/to/wikitext-2 --epochs 1 [--steps 300] [--double]

Same parameters at the start, same BPTT columns in the same order, no dropout, the same SGD with the
same clipping and plateau schedule. Prints the validation perplexity of both after each epoch (or
after every ``--steps`` updates) with the seconds that each took, and their ratio. The first updates
at this learning rate are chaotic: single precision's rounding errors grow to differences of many
per cent, which ``--double`` precision shows to be rounding and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time

import numpy as np
import torch

from numpylm.parameters import view
from numpylm.training.causal import CausalLM
from numpylm.training.optimizer import Optimizer, clip_factor, global_norm
from numpylm.training.parallel import keep_freed_pages, one_blas_thread
from numpylm.training.presets import preset
from numpylm.training.schedule import learning_rate
from tests.torch_reference import torch_loss, torch_parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--epochs", type=int, default=1, help="evaluations")
    parser.add_argument("--steps", type=int, help="updates between them (default: an epoch)")
    parser.add_argument("--double", action="store_true", help="float64 in place of float32")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    arguments = parser.parse_args()
    config = dataclasses.replace(
        preset("wikitext2"), corpus=arguments.corpus, dropout=0.0, threads=arguments.threads
    )
    objective = CausalLM(config, None)
    steps = arguments.steps or objective.batches.chunks_per_epoch
    theta, p = objective.init(config.seed)
    if arguments.double:
        theta = theta.astype(np.float64)
        p = view(p, theta)
    rival = torch_parameters(p)
    torch.set_num_threads(config.threads)
    optimizer = Optimizer("sgd", theta, None)
    losses: dict[str, list[float]] = {"numpylm": [], "PyTorch": []}
    keep_freed_pages()
    print(f"{steps} updates between evaluations; perplexity on the validation text\n")
    print("evaluation   numpylm    PyTorch      ratio   seconds each")
    for epoch in range(arguments.epochs):
        span = range(epoch * steps, (epoch + 1) * steps)
        start = time.perf_counter()
        with one_blas_thread(), objective.parallel(theta, p) as parallel:
            for step in span:
                _, gradient = parallel.gradient([objective.batch(step)], [config.seed, step])
                lr = learning_rate(step, config, losses["numpylm"])
                scale = clip_factor(global_norm(gradient), config.clip)
                optimizer.update(gradient, lr, scale, parallel.run)
            seconds = [time.perf_counter() - start]
            losses["numpylm"].append(objective.measure(parallel, "valid")["loss"])
        start = time.perf_counter()
        for step in span:
            train_in_torch(rival, objective, step, learning_rate(step, config, losses["PyTorch"]))
        seconds.append(time.perf_counter() - start)
        losses["PyTorch"].append(valid_in_torch(rival, objective))
        ours, theirs = (math.exp(losses[name][-1]) for name in ("numpylm", "PyTorch"))
        print(f"{epoch + 1:>10} {ours:>9.2f}  {theirs:>9.2f}  {ours / theirs:>6.6f}   "
              f"{seconds[0]:.0f} and {seconds[1]:.0f}", flush=True)  # fmt: skip


def train_in_torch(t: dict, objective: CausalLM, step: int, lr: float) -> None:
    """One update: loss, backward, clip, θ ← θ − η g."""
    batch = {n: torch.tensor(np.ascontiguousarray(a)) for n, a in objective.batch(step).items()}
    torch_loss(t, batch["ids"], batch["targets"], objective.model).backward()
    torch.nn.utils.clip_grad_norm_(t.values(), objective.settings.clip)
    with torch.no_grad():
        for a in t.values():
            a -= lr * a.grad
            a.grad = None


def valid_in_torch(t: dict, objective: CausalLM) -> float:
    """The mean loss over all full windows of the validation text."""
    total = count = 0.0
    with torch.no_grad():
        for batch in objective.held_out("valid"):
            ids, targets = torch.tensor(batch["ids"]), torch.tensor(batch["targets"])
            total += float(torch_loss(t, ids, targets, objective.model)) * targets.numel()
            count += targets.numel()
    return total / count


if __name__ == "__main__":
    main()
