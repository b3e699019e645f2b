"""Time the generation of a text in numpylm and in eager PyTorch, alternately in one run.

python -m tests.benchmarks.generate              256 tokens, nanogpt-cpu's model (a), one text
python -m tests.benchmarks.generate --cases a c  also the model of case c of cases.py
python -m tests.benchmarks.generate --full       numpylm without its cache, too
python -m tests.benchmarks.generate --json

Both sides: the same model with a context of 256, one text at a time, float32, temperature 0.8, a
key-value cache, PyTorch with two threads, fused attention, inference mode and a process of its own.
numpylm's forward is that of training, a row at a time. The sides take turns, so that a slow moment
of the machine meets both; the ratio of each turn shows the spread. There are no GFLOP/s here: every
matrix is read for a single row, so calls and memory set the pace, not arithmetic. Without PyTorch
the other columns still print.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable

import numpy as np

from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import draw, generate, next_token_distribution
from numpylm.models.gpt import GPT, GPTConfig, gpt_forward, gpt_init
from tests.benchmarks.cases import CASES
from tests.benchmarks.turns import OwnProcess, Side, alternate, has_pytorch, ratio, written

PROMPT = np.array([0], np.int64)
TEMPERATURE = 0.8


def full_forward(p: GPT, config: GPTConfig, tokens: int) -> None:
    """The whole text is read again for each token."""
    ids, rng = PROMPT.tolist(), np.random.default_rng(0)
    for _ in range(tokens):
        logits, _ = gpt_forward(p, np.array([ids]), config=config)
        distribution = next_token_distribution(logits[0, -1], temperature=TEMPERATURE)
        ids.append(draw(distribution, rng))


def torch_generation(config: GPTConfig, tokens: int, threads: int) -> Callable[[], object]:
    """The same in PyTorch, from the same parameters."""
    import torch

    from tests.torch_reference import torch_generate, torch_parameters

    torch.set_num_threads(threads)
    t = torch_parameters(gpt_init(1, config)[1])
    return lambda: torch_generate(t, torch.tensor(PROMPT), tokens, config, TEMPERATURE)


def compare(case: str, turns: int, tokens: int, threads: int, rivals: list[str]) -> dict:
    """Medians over all turns, and time of each rival / our time."""
    settings, vocab_size = CASES[case]
    config = dataclasses.replace(settings, context=256).model_config(vocab_size)
    _, p = gpt_init(1, config)

    def write() -> None:
        rng = np.random.default_rng(0)
        list(generate(CachedGPT(p, config), PROMPT, tokens, rng=rng, temperature=TEMPERATURE))

    sides: dict[str, Side] = {"numpylm": write}
    if "pytorch" in rivals:
        sides["pytorch"] = OwnProcess(torch_generation, config, tokens, threads)
    if "full_forward" in rivals:
        sides["full_forward"] = lambda: full_forward(p, config, tokens)
    times = alternate(sides, turns)
    figures: dict = {
        f"{n}_us_per_token": 1e6 * statistics.median(t) / tokens for n, t in times.items()
    }
    return figures | {n: ratio(times, n, "numpylm") for n in times if n != "numpylm"}


NAMES = {
    "numpylm": "numpylm",
    "pytorch": "PyTorch",
    "full_forward": "without its cache",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list("abc"), default=["a"])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--full", action="store_true", help="also without the cache")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    wanted = {
        "pytorch": has_pytorch(),
        "full_forward": a.full,
    }
    rivals = [name for name, is_wanted in wanted.items() if is_wanted]
    for case in a.cases:
        figures = compare(case, a.turns, a.tokens, a.threads, rivals)
        if a.json:
            print(json.dumps({"case": case} | figures), flush=True)
            continue
        print(f"{case}:")
        for key in ["numpylm", *rivals]:
            line = f"   {NAMES[key]:<18} {figures[f'{key}_us_per_token']:8.0f} µs a token"
            if key != "numpylm":
                line += f"; its time / numpylm's: {written(figures[key])}"
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
