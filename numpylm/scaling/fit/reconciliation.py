"""Why did Kaplan find N_opt ∝ C^0.73 and Chinchilla C^0.50? Two answers, both computed here.

Pearce & Song need no training. Take Chinchilla's law as the truth, but count as Kaplan did: leave
out the embedding, and compute is 6 N_∖E D. Over Kaplan's range of sizes the embedding matters,

    N_T = N_∖E + 47491 N_∖E^(1/3)

and the optimum of A/N_T^α + B/D^β at fixed N_∖E D, where

    α A N_T^(−α−1) dN_T/dN_∖E = β B D^(−β) / N_∖E

looks like a power law with a much larger exponent. It is no power law: its local slope rises to
almost 1 and falls to Chinchilla's a.

Porian et al. trained the models: each of four corrections to Kaplan's set-up moves the exponent.

Source: Pearce & Song 2024, arXiv:2406.12907; Porian et al. 2024, arXiv:2406.19146, and its data.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.allocation import power_fit, valleys

CHINCHILLA = {  # the values before they were rounded, from the source of the paper
    "A": math.exp(6.0073404), "B": math.exp(6.0179186), "E": math.exp(0.5267228),
    "alpha": 0.33917084, "beta": 0.2849083,
}  # fmt: skip
EPOCH = {"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658}
EMBEDDING = 47491.0  # N_T − N_∖E = 47491 N_∖E^(1/3): vocabulary and context times a typical width
KAPLAN_SIZES = (768.0, 1.5e9)  # the models of Kaplan et al., parameters without embeddings


class Frontier(NamedTuple):
    """Compute-optimal models, counted without embeddings."""

    compute: Array  # 6 N_∖E D
    sizes: Array  # N_∖E
    losses: Array
    size_exponent: float  # of N_∖E ∝ C^a, one line through all of it
    local_exponents: Array  # the slope at each size
    loss_exponent: float  # of L ∝ C^−x, without an offset


def without_embeddings(
    law: dict[str, float], sizes: tuple[float, float] = KAPLAN_SIZES, points: int = 400
) -> Frontier:
    """What Kaplan would have found if Chinchilla's law with these constants were true."""
    n = np.geomspace(*sizes, points)
    total = n + EMBEDDING * np.cbrt(n)
    growth = 1.0 + EMBEDDING / 3.0 * n ** (-2.0 / 3.0)  # dN_T / dN_∖E
    a, alpha, b, beta = law["A"], law["alpha"], law["B"], law["beta"]
    tokens = (beta * b / (alpha * a * total ** (-alpha - 1.0) * growth * n)) ** (1.0 / beta)
    compute = 6.0 * n * tokens
    losses = law["E"] + a / total**alpha + b / tokens**beta
    return Frontier(
        compute, n, losses, power_fit(compute, n)[0],
        np.gradient(np.log(n), np.log(compute)), power_fit(compute, losses)[0],
    )  # fmt: skip


class Step(NamedTuple):
    """One correction of Porian's chain."""

    what: str
    exponent: float  # by the lowest points of the valleys
    published: float


STEPS = (  # what changes, and which rows of the data it is: (hparams, warmup, decay, param_count)
    ("Kaplan's set-up", ("base", "long", "kaplan", "kaplan")),
    ("count the output layer", ("base", "long", "kaplan", "standard")),
    ("shorten the warm-up", ("base", "short", "kaplan", "standard")),
    ("match the decay to the run", ("base", "short", "chinchilla", "standard")),
    ("tune rate, batch and β₂ per size", ("tuned", "short", "const", "standard")),
)


def porian_chain(folder: Path, dataset: str = "rw") -> list[Step]:
    """The five exponents, from ``isoflop_points.csv`` and ``published_fits.csv`` of a folder.

    dataset: "rw" RefinedWeb or "owt2" OpenWebText2.
    """
    source = {"rw": "summary_df", "owt2": "summary_df_owt2"}[dataset]
    points, published = (
        _rows(folder / name, source) for name in ("isoflop_points.csv", "published_fits.csv")
    )
    chain = []
    for what, setting in STEPS:
        table = np.array([[float(r[c]) for c in ("n", "flops", "loss")] for r in points[setting]])
        found = [v for v in valleys(*table.T, method="akima") if v.interior]
        exponent, _ = power_fit(
            np.array([v.compute for v in found]), np.array([v.best_size for v in found])
        )
        chain.append(Step(what, exponent, float(published[setting][0]["n_exponent"])))
    return chain


def _rows(path: Path, source: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The rows of one source file, by setting."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"] == source:
                key = tuple(row[c] for c in ("hparams", "warmup", "decay", "param_count"))
                found.setdefault(key, []).append(row)
    return found
