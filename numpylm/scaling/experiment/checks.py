"""What the runs beside the grid say: is the learning rate right, and how much is luck?

A sweep trains its smallest and its largest width with other learning rates too. If the recipe's
loses much against the best of them, the losses of the grid are not those of well-trained models,
and the law is one of the recipe. Other seeds of a run say how far two losses may differ by chance:
a residual of the fit that is much larger is not noise but a form that is not quite right.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpylm.files import read_utf8


@dataclass(frozen=True)
class RateCheck:
    """One width at one budget, under several learning rates."""

    width: int
    compute: float
    rates: list[float]  # as multiples of the recipe's, increasing
    losses: list[float]  # infinite where training diverged

    @property
    def lost(self) -> float:
        """How much the recipe's loss is above the lowest, nats."""
        return self.losses[self.rates.index(1.0)] - min(self.losses)


@dataclass(frozen=True)
class SeedSpread:
    """One width at one budget, under several seeds."""

    width: int
    compute: float
    losses: list[float]

    @property
    def deviation(self) -> float:
        """Standard deviation of a single run, nats."""
        return float(np.std(self.losses, ddof=1))


def rate_checks(path: Path) -> list[RateCheck]:
    """Those of a ``runs.csv``, the smallest width first; none if the table has no such runs."""
    found = []
    for (width, _), rows in _beside_the_grid(path, "lr-check").items():
        recipe = next((float(r["lr"]) for r in rows if r["run"].startswith("fit-")), math.nan)
        points = sorted((round(float(r["lr"]) / recipe, 2), float(r["loss"])) for r in rows)
        if not math.isnan(recipe):
            rates, losses = (list(column) for column in zip(*points, strict=True))
            found.append(RateCheck(width, _compute(rows), rates, losses))
    return sorted(found, key=lambda c: c.width)


def seed_spreads(path: Path) -> list[SeedSpread]:
    """Those of a ``runs.csv``, the smallest budget first; none if the table has no such runs."""
    found = [SeedSpread(width, _compute(rows), [float(r["loss"]) for r in rows])
             for (width, _), rows in _beside_the_grid(path, "seed").items()]  # fmt: skip
    finite = [s for s in found if np.isfinite(s.losses).all() and len(s.losses) > 1]
    return sorted(finite, key=lambda s: s.compute)


def _beside_the_grid(path: Path, kind: str) -> dict[tuple[int, int], list[dict[str, str]]]:
    """The runs of a kind, and those of the grid that differ from them in nothing else, by width
    and steps."""
    if path.suffix != ".csv":
        return {}
    rows = [r for r in csv.DictReader(read_utf8(path).splitlines()) if "steps" in r and "run" in r]
    groups: dict[tuple[int, int], list[dict[str, str]]] = {}
    for row in rows:
        if row["run"].startswith(("fit-", f"{kind}-")):
            groups.setdefault((int(row["width"]), int(row["steps"])), []).append(row)
    return {key: group for key, group in groups.items()
            if any(row["run"].startswith(f"{kind}-") for row in group)}  # fmt: skip


def _compute(rows: list[dict[str, str]]) -> float:
    return float(rows[0]["C"])
