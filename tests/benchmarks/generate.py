"""Time the generation of a text in numpylm and in eager PyTorch, alternately in one run.

python -m tests.benchmarks.generate              256 tokens, nanogpt-cpu's model, one text
python -m tests.benchmarks.generate --json
python -m tests.benchmarks.generate --full       numpylm without its cache, too

Both sides: the same model with a context of 256, one text at a time, float32, temperature 0.8, a
key-value cache that is allocated once, and what a whole call costs, set-up included. PyTorch has
two threads, fused attention and inference mode; numpylm one thread. The sides take turns, so that a
slow moment of the machine meets both; the ratio of each turn shows the spread. Without PyTorch the
other columns still print.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from numpylm.generation.sampling import draw, generate, next_token_distribution
from numpylm.models.gpt import GPT, GPTConfig, gpt_forward, gpt_init
from numpylm.training.parallel import one_blas_thread
from numpylm.training.presets import preset

PROMPT = np.array([0], np.int64)
TEMPERATURE = 0.8


def full_forward(p: GPT, config: GPTConfig, tokens: int) -> None:
    """The whole text is read again for each token."""
    ids, rng = PROMPT.tolist(), np.random.default_rng(0)
    for _ in range(tokens):
        logits, _ = gpt_forward(p, np.array([ids]), config=config)
        distribution = next_token_distribution(logits[0, -1], temperature=TEMPERATURE)
        ids.append(draw(distribution, rng))


def torch_generation(p: GPT, config: GPTConfig, tokens: int, threads: int):
    """The same in PyTorch, from the same parameters; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    from tests.torch_reference import torch_generate, torch_parameters

    torch.set_num_threads(threads)
    t = torch_parameters(p)
    return lambda: torch_generate(t, torch.tensor(PROMPT), tokens, config, TEMPERATURE)


def compare(turns: int, tokens: int, threads: int, full: bool) -> dict[str, float]:
    """Medians over all turns, and the quartiles of the ratio of each turn."""
    settings = dataclasses.replace(preset("nanogpt-cpu"), context=256)
    config = settings.model_config(vocab_size=65)
    _, p = gpt_init(1, config)

    def cached() -> None:
        rng = np.random.default_rng(0)
        list(generate(p, PROMPT, tokens, config=config, rng=rng, temperature=TEMPERATURE))

    sides: dict[str, Callable] = {"numpylm": cached}
    if rival := torch_generation(p, config, tokens, threads):
        sides["pytorch"] = rival
    if full:
        sides["full_forward"] = lambda: full_forward(p, config, tokens)
    times: dict[str, list[float]] = {name: [] for name in sides}
    with one_blas_thread():
        for _ in range(turns + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                side()
                times[name].append(time.perf_counter() - start)
    times = {name: seconds[1:] for name, seconds in times.items()}  # the first turn warms up
    figures = {f"{n}_us_per_token": 1e6 * statistics.median(s) / tokens for n, s in times.items()}
    for name in [name for name in times if name != "numpylm"]:
        ratios = [a / b for a, b in zip(times[name], times["numpylm"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures |= {f"{name}_ratio": middle, f"{name}_low": low, f"{name}_high": high}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--full", action="store_true", help="also without the cache")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = compare(arguments.turns, arguments.tokens, arguments.threads, arguments.full)
    if arguments.json:
        print(json.dumps(figures))
        return 0
    names = {"numpylm": "numpylm", "pytorch": "PyTorch", "full_forward": "numpylm, no cache"}
    for key, name in names.items():
        if f"{key}_us_per_token" not in figures:
            continue
        line = f"{name:<18} {figures[f'{key}_us_per_token']:8.0f} µs a token"
        if key != "numpylm":
            line += (
                f"   {figures[f'{key}_ratio']:.2f} × numpylm's time "
                f"(quartiles {figures[f'{key}_low']:.2f} to {figures[f'{key}_high']:.2f})"
            )
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
