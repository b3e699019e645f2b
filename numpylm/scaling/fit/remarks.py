"""What a reader should know before using a fit, a sentence each.

A fit of nonsense converges as well as any other. Here the losses, the runs and the constants are
looked at: is there a law at all, can the runs carry its constants, and do they belong together?
"""

from __future__ import annotations

import math

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import Fit
from numpylm.scaling.fit.intervals import Bootstrap, Profile
from numpylm.scaling.fit.run_table import NAMES, Runs
from numpylm.scaling.fit.table_file import Row, is_number

VAGUE = 10.0  # an interval from a value to this many times it says little
POOR = 0.9  # an R² below this
HUGE = 1e30  # a coefficient above it, or below its inverse
SETTINGS = 8  # a column of text with up to so many values says what kind of run a row is


def of_fit(fit: Fit, profiles: list[Profile]) -> list[str]:
    """On constants that the runs leave open, from the profiles."""
    said = []
    _, derivatives = fit.law.log_loss(fit.theta[None], fit.problem.z)
    gone = set()
    for name, column in zip(fit.law.coordinates, derivatives[:, 0], strict=True):
        if np.abs(column).max() < 1e-5 and name not in fit.fixed:
            gone.add(name)
            said.append(f"{name} is not identified: at the fit it changes no loss by 0.001 %.")
    for p in profiles:
        low, high = p.interval
        if p.name in gone:
            continue
        if low is None or high is None:
            reach = f"{p.values[0]:.3g} to {p.values[-1]:.3g}"
            side = {(True, True): "in both directions", (True, False): "downwards",
                    (False, True): "upwards"}[low is None, high is None]  # fmt: skip
            said.append(f"{p.name} is not identified: its profile is open {side} (values from "
                        f"{reach} were tried).")  # fmt: skip
        elif low > 0 and high > VAGUE * low:
            said.append(f"{p.name} is not identified: any value from {low:.3g} to {high:.3g} fits "
                        "about as well.")  # fmt: skip
    if fit.starts_agreeing < 2:
        said.append("Only one start ended at this minimum, the others in poorer ones: the "
                    "objective has several.")  # fmt: skip
    return said


def of_quality(fit: Fit) -> list[str]:
    """On a fit that explains little, or that has as many constants as it has data."""
    said = []
    y = np.exp(fit.problem.log_loss)
    n, p = len(y), int(fit.problem.free.sum())
    x = fit.problem.z
    different = len(np.unique(x, axis=0))
    if np.ptp(y) <= 1e-6 * y.mean():
        said.append(f"All losses are {y[0]:.4g}: there is no law in them.")
    elif not fit.r2 >= POOR:
        said.append(f"R² is {fit.r2:.3f}: the law explains little of the losses.")
    if different < n and different <= p + 1:
        said.append(f"{n} runs at {different} different inputs carry {p} constants badly.")
    elif n < 2 * p:
        said.append(f"{n} runs for {p} constants leave {n - p} to test the law with: R² says "
                    "nothing here, and intervals say little.")  # fmt: skip
    for name, value in fit.constants.items():
        coefficient = name in ("A", "B", "N_c", "D_c", "C_c")
        if coefficient and not 1 / HUGE < value < HUGE:
            said.append(f"{name} = {value:.3g} is no size for a coefficient: the runs do not "
                        "determine it.")  # fmt: skip
        if name in ("alpha", "beta", "alpha_N", "alpha_D") and value <= 0:
            said.append(f"{name} = {value:.3g} is not positive: by this law more makes it worse.")
    if (e := fit.fixed.get("E", 0.0)) > y.min():
        said.append(f"E is held at {e:g}, above the lowest loss, {y.min():.4g}.")
    return said


def of_runs(runs: Runs, inputs: tuple[str, ...]) -> list[str]:
    """On a table whose runs do not belong together or do not differ as they should."""
    said = []
    c = runs.columns
    for name in (n for n in ("C", "N", "D", "S1") if n in inputs):
        if len(runs) > 2 and np.ptp(np.log(c[name])) > 0:
            trend = np.corrcoef(np.log(c[name]), np.log(runs.loss))[0, 1]
            if trend > 0.3:
                said.append(f"The losses rise with {name} (correlation {trend:.2f}).")
    if {"N", "D"} <= set(inputs):
        said += _of_grid(c["N"], c["D"])
        if "C" in c and not runs.derived and np.isfinite(c["C"]).all():
            ratio = c["C"] / (6.0 * c["N"] * c["D"])
            if not (0.5 < ratio.min() and ratio.max() < 2.0):
                said.append(f"C is {ratio.min():.3g} to {ratio.max():.3g} times 6 N D: is N "
                            "counted otherwise, or C of something else?")  # fmt: skip
    return said + _of_settings(runs, inputs)


def _of_grid(n: Array, d: Array) -> list[str]:
    z = np.log(np.stack([n, d], axis=1))
    spread = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    if spread[1] < 0.02 * spread[0]:
        return ["N and D rise together in all runs, but for "
                f"{math.expm1(spread[1] / math.sqrt(len(n))):.1%}: their exponents can hardly be "
                "told apart."]  # fmt: skip
    return []


def _of_settings(runs: Runs, inputs: tuple[str, ...]) -> list[str]:
    """Columns of text with a few values, and losses that differ at equal inputs."""
    said = []
    size = runs.columns.get("N", np.arange(len(runs))).tolist()
    known = {runs.renamed.get(name, name) for name in NAMES} | {"role"}
    for column in dict.fromkeys(name for row in runs.rows for name in row.cells):
        values = {str(row.cells.get(column)) for row in runs.rows}
        if column in known or not 1 < len(values) <= min(SETTINGS, len(runs) // 2):
            continue
        labels = {(n, str(row.cells.get(column))) for n, row in zip(size, runs.rows, strict=True)}
        of_size = len(labels) == len(set(size)) == len(values)  # another name for N
        if not of_size and not any(is_number(value) for value in values):
            shown = ", ".join(sorted(values)[:4]) + (", …" if len(values) > 4 else "")
            said.append(f"The runs differ in {column} ({shown}): is it one experiment? "
                        f"(--where {column}=…, or --by {column})")  # fmt: skip
    if "S1" in inputs:
        return said
    x = np.stack([runs.columns[name] for name in inputs], axis=1)
    _, same = np.unique(x, axis=0, return_inverse=True)
    same = same.ravel()
    spread = max((float(np.ptp(np.log(runs.loss[same == g]))) for g in range(same.max() + 1)),
                 default=0.0)  # fmt: skip
    if spread > 0.02:
        varied = _varied(runs.rows, same, known)
        said.append(f"Losses at the same {' and '.join(inputs)} differ by up to "
                    f"{math.expm1(spread):.1%}"
                    + (f", with {', '.join(varied)}" if varied else "")
                    + ": other settings? (--best keeps the lowest)")  # fmt: skip
    return said


def _varied(rows: list[Row], same: Array, known: set[str]) -> list[str]:
    """The first columns that differ within rows of equal inputs."""
    found = []
    for column in dict.fromkeys(name for row in rows for name in row.cells):
        if column not in known and "loss" not in column:
            cells = np.array([str(row.cells.get(column)) for row in rows])
            if any(len(set(cells[same == g])) > 1 for g in range(min(same.max() + 1, 50))):
                found.append(column)
    return found[:4]


def of_bootstrap(boot: Bootstrap) -> list[str]:
    """On resamples that failed, and on runs that are too few to draw from."""
    said = []
    if boot.failed:
        said.append(f"{boot.failed} of {boot.samples} resamples did not converge and are left "
                    "out: the intervals are those of the others.")  # fmt: skip
    if boot.groups < 10:
        said.append(f"The intervals draw from {boot.groups} runs: that few make them too narrow.")
    return said


def of_distance(
    asked: dict[str, Array], fitted: dict[str, tuple[float, float]], decades: float = 1.5
) -> list[str]:
    """On predictions far outside the fitted range, by input."""
    said = []
    for name, values in asked.items():
        low, high = fitted.get(name, (0.0, math.inf))
        if name == "S2" or not len(values):
            continue
        with np.errstate(divide="ignore"):
            beyond = max(math.log10(values.max() / high) if high < math.inf else 0.0,
                         math.log10(low / values.min()) if low > 0.0 else 0.0)  # fmt: skip
        if beyond > decades:
            said.append(f"{name} is {beyond:.1f} decades outside the fitted range, {low:.3g} to "
                        f"{high:.3g}: the form was never tested there.")  # fmt: skip
    return said
