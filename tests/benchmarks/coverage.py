"""How often do 95 % intervals of a scaling law hold what they should?

    python -m tests.benchmarks.coverage                             simulated runs of a known law
    python -m tests.benchmarks.coverage --loss lad --runs 30        one kind of fit
    python -m tests.benchmarks.coverage --real                      hold-outs of public tables

Simulated: losses of Chinchilla's law with the constants of Besiroglu et al. 2024 and normal noise
of 0.5 % of the loss, on budgets over two decades; the form that is fitted is the true one. Each
share has its standard error, √(p (1 − p) / sets). The default fit (Huber, 30 runs) is drawn as
often again as to make a thousand sets.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import fit
from numpylm.scaling.fit.intervals import profile
from numpylm.scaling.fit.reconciliation import EPOCH
from numpylm.scaling.fit.synthetic import coverage, synthetic_losses
from numpylm.scaling.laws.forms import FORMS
from tests.benchmarks.real_holdouts import real_tables

NOISE = 0.005
SHOWN = ("alpha", "beta", "E", "law", "new run")
LOSSES = ("huber", "mse", "lad")
GRIDS = {30: (5, 6), 240: (10, 24)}  # budgets, sizes at each


class Row(NamedTuple):
    """One kind of fit, and the share of sets in which each interval held."""

    loss: str
    runs: int
    sets: int
    by: str
    samples: int
    held: dict[str, float]


def plan(runs: int) -> tuple[Array, Array]:
    """Inputs (runs, 2) of the fitted runs, and (2,) of one at ten times the largest budget."""
    budgets, sizes = GRIDS[runs]
    c = np.repeat(np.geomspace(6e18, 6e20, budgets), sizes)
    n = np.sqrt(c / 120.0) * np.tile(np.geomspace(0.2, 5.0, sizes), budgets)
    largest = 10.0 * c[-1]
    best = math.sqrt(largest / 120.0)
    return np.stack([n, c / (6.0 * n)], axis=1), np.array([best, largest / (6.0 * best)])


def by_profile(runs: int, sets: int) -> dict[str, float]:
    """How often the profile's intervals of the exponents and of E hold the truth."""
    x, _ = plan(runs)
    rng, names = np.random.default_rng(0), ("alpha", "beta", "E")
    held = dict.fromkeys(names, 0)
    for _ in range(sets):
        found = fit(FORMS["chinchilla"], x, synthetic_losses("chinchilla", EPOCH, x, NOISE, rng))
        for name in names:
            low, high = profile(found, name).interval
            held[name] += (low or 0.0) <= EPOCH[name] <= (math.inf if high is None else high)
    return {name: count / sets for name, count in held.items()}


def simulated(
    sets: int, samples: int, losses: Sequence[str] = LOSSES, sizes: Sequence[int] = tuple(GRIDS)
) -> Iterator[Row]:
    """Every kind of fit that is asked for, the default one first."""
    for loss in losses:
        for runs in sizes:
            often = math.ceil(sets * 10 / 3) if (loss, runs) == ("huber", 30) else sets
            x, target = plan(runs)
            yield Row(loss, runs, often, "bootstrap", samples, coverage(
                "chinchilla", EPOCH, x, target=target, loss=loss, noise=NOISE, simulations=often,
                samples=samples))  # fmt: skip
    if "huber" in losses and 30 in sizes:
        yield Row("huber", 30, sets, "profile", 0, by_profile(30, sets))


def cell(share: float | None, sets: int) -> str:
    """A share and its standard error."""
    return "" if share is None else f"{share:.3f} ± {math.sqrt(share * (1 - share) / sets):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=300, help="simulated tables (default: 300)")
    parser.add_argument("--samples", type=int, default=200, help="resamples (default: 200)")
    parser.add_argument("--loss", choices=LOSSES, nargs="+", default=LOSSES)
    parser.add_argument("--runs", type=int, choices=GRIDS, nargs="+", default=tuple(GRIDS))
    parser.add_argument("--real", action="store_true", help="hold-outs of NUMPYLM_DATA/scaling")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each kind of fit")
    arguments = parser.parse_args()
    if arguments.real:
        for line in real_tables(arguments.samples):
            print(line, flush=True)
        return
    if not arguments.json:
        print("| fit | runs | sets | by | resamples | " + " | ".join(SHOWN) + " |\n"
              + "|---" * (5 + len(SHOWN)) + "|")  # fmt: skip
    for row in simulated(arguments.sets, arguments.samples, arguments.loss, arguments.runs):
        if arguments.json:
            print(json.dumps(row._asdict()), flush=True)
        else:
            cells = [cell(row.held.get(name), row.sets) for name in SHOWN]
            print(f"| {row.loss} | {row.runs} | {row.sets} | {row.by} | {row.samples} | "
                  + " | ".join(cells) + " |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
