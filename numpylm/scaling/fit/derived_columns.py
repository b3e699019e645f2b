"""What follows from the columns of a table, as C = 6 N D or S₁ and S₂; what is there twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from numpylm.scaling.fit.runs import Runs
from numpylm.scaling.laws.annealing import annealing_areas


def completed(runs: Runs, memory: float) -> Runs:
    """Add what follows from other columns; refuse what is there twice."""
    c, derived, wrong = dict(runs.columns), "", dict(runs.wrong)

    def both(a: str, b: str) -> list[str]:
        return [one or other for one, other in zip(wrong[a], wrong[b], strict=True)]

    if "C" not in c and {"N", "D"} <= c.keys():
        c["C"], wrong["C"], derived = 6.0 * c["N"] * c["D"], both("N", "D"), "C = 6 N D"
    elif "D" not in c and {"N", "C"} <= c.keys():
        c["D"], wrong["D"], derived = c["C"] / (6.0 * c["N"]), both("N", "C"), "D = C / (6 N)"
    elif "N" not in c and {"C", "D"} <= c.keys():
        c["N"], wrong["N"], derived = c["C"] / (6.0 * c["D"]), both("C", "D"), "N = C / (6 D)"
    if "U" not in c and "D" in c:
        c["U"], wrong["U"] = c["D"], wrong["D"]
    runs = replace(runs, columns=c, wrong=wrong, derived=derived)
    refuse_repeats(runs)
    if "S1" not in c and {"step", "learning_rate"} <= c.keys():
        runs = with_areas(runs, memory)
    return runs


def refuse_repeats(runs: Runs) -> None:
    """A row whose numbers and whose run are those of another counts twice."""
    c = runs.columns
    keys = [name for name in ("loss", "N", "D", "C", "U", "S1", "S2", "step") if name in c]
    named = "run" in runs.renamed or any("run" in row.cells for row in runs.rows)
    seen: dict[tuple, int] = {}
    for i, row in enumerate(zip(*(c[name].tolist() for name in keys), strict=True)):
        key = (*row, runs.names[i] if named or "step" in c else "")
        if key in seen:
            raise ValueError(
                f"{runs.places[seen[key]]} and {runs.places[i].rpartition(', ')[2]} are the same ("
                + ", ".join(f"{name} {value:g}" for name, value in zip(keys, row, strict=True))
                + "): a run that is there twice counts twice; if it was repeated, a column run "
                "must tell both apart (--columns run=NAME)"
            )
        seen[key] = i


def with_areas(runs: Runs, memory: float) -> Runs:
    """S₁ and S₂ of each row by its run's learning rates; between rows these are interpolated.

    Raises ``ValueError`` for a run with two rows of one step.
    """
    step, learning_rate = runs.column("step"), runs.column("learning_rate")
    names = np.array(runs.names)
    s1, s2 = np.empty(len(step)), np.empty(len(step))
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        order = rows[np.argsort(step[rows])]
        if (np.diff(step[order]) == 0).any():
            at = order[np.flatnonzero(np.diff(step[order]) == 0)[0] + 1]
            raise ValueError(f"{runs.places[at]}: the curve {name} has step {step[at]:g} twice; "
                             "several curves in a file need a column run")  # fmt: skip
        if step[order[-1]] > 1e8:
            raise ValueError(f"{runs.places[order[-1]]}: step {step[order[-1]]:g} is too large")
        every = np.arange(1, max(int(step[order[-1]]), 1) + 1)
        areas = annealing_areas(np.interp(every, step[order], learning_rate[order]), memory)
        at = np.maximum(step[rows].astype(int), 1) - 1
        s1[rows], s2[rows] = areas[0][at], areas[1][at]
    columns = runs.columns | {"S1": s1, "S2": s2}
    return replace(runs, columns=columns)


def best_of_each(runs: Runs) -> Runs:
    """Of each N and D the row of the lowest loss."""
    if not {"N", "D"} <= runs.columns.keys():
        raise ValueError(f"{runs.source}: the best of each N and D needs both columns")
    _, pair = np.unique(np.stack([runs.column("N"), runs.column("D")]), axis=1, return_inverse=True)
    order = np.lexsort([runs.loss, pair.ravel()])
    first = np.append(True, np.diff(pair.ravel()[order]) > 0)
    kept = np.zeros(len(runs), bool)
    kept[order[first]] = True
    gone = {"not the best of its N and D": int((~kept).sum())}
    return replace(runs.select(kept), left_out=runs.left_out | gone)


def mean_of_last(runs: Runs, count: int) -> Runs:
    """Of each run its last row, with the mean loss of its last ``count`` rows: evaluations of one
    training are noisy. Rows are ordered by D, or by C, S1 or step.

    Raises ``ValueError`` for a count below 1 or a table without such a column.
    """
    by = next((name for name in ("D", "C", "S1", "step") if name in runs.columns), None)
    if count < 1 or by is None:
        raise ValueError(f"the mean of the last {count} rows of each run needs a count of at least "
                         "1 and a column D, C or step")  # fmt: skip
    progress, names, loss = runs.column(by), np.array(runs.names), runs.loss.copy()
    kept = np.zeros(len(runs), bool)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(progress[rows], kind="stable")]
        kept[rows[-1]] = True
        loss[rows[-1]] = loss[rows[-count:]].mean()
    runs = replace(runs, columns=runs.columns | {"loss": loss}).select(kept)
    gone = {f"not the last of its run, of which {count} are averaged": int((~kept).sum())}
    return replace(runs, left_out=runs.left_out | gone)
