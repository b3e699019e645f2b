"""A page with every table and figure of a scaling study, from a folder with ``runs.csv``.

``curves.csv`` beside it, with the columns run, N, C and loss, adds the loss curves. The page is
``report.md``, the figures are in ``figures/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files import write_atomically
from numpylm.parameters import Array
from numpylm.plots import scaling
from numpylm.scaling.experiment.checks import rate_checks, seed_spreads
from numpylm.scaling.fit.allocation import (
    Valley,
    envelope,
    exponents,
    optimal_loss,
    optimum,
    power_fit,
    valleys,
)
from numpylm.scaling.fit.fitting import fit
from numpylm.scaling.fit.intervals import percentiles
from numpylm.scaling.fit.prediction import Study
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.fit.table_file import columns_of, read_rows_of
from numpylm.scaling.laws.forms import FORMS

COMPARED = ("kaplan", "chinchilla", "generalised")


def write_report(folder: Path, study: Study) -> Path:
    """Write ``report.md`` and its figures into the folder; returns the page's path."""
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    result = study.as_dict()
    page = [f"# Scaling law of {study.runs.source}", "", *_summary(result)]
    if study.held_out is not None:
        page += _holdout(result["holdout"])
    page += _picture(figures, "predicted", "Predicted and measured loss",
                     scaling.predicted_measured, study)  # fmt: skip
    page += _constants(study, result)
    if study.profiles:
        caption = "How the objective rises along each constant: below the line is the 95 % interval"
        count = len(study.profiles)
        page += _pictures(figures, "profiles", caption, count, scaling.profiles, study)
    caption = "What the law leaves, darker for less compute: a trend says that the form is wrong"
    count = len(study.fit.law.inputs)
    page += _pictures(figures, "residuals", caption, count, scaling.residuals, study)
    if {"N", "D", "C"} <= study.runs.columns.keys():
        page += _forms(study) + _compute(folder, figures, study)
    page += _checks(Path(study.runs.source))
    path = folder / "report.md"
    write_atomically(path, "\n".join(page) + "\n")
    return path


def _summary(result: dict[str, Any]) -> list[str]:
    threshold = f" (δ = {result['delta']:g})" if result["delta"] else ""
    return [
        f"Form **{result['form']}**, {result['runs']} runs fitted"
        + (f", {result['derived']}" if result["derived"] else "")
        + f"; sum of {result['loss']} terms of ln L{threshold} {result['objective']:.6g}, R² "
        f"{result['r2']:.4f}, converged (gradient {result['gradient']:.0e} of its scale, "
        f"{result['starts_agreeing']} of {result['starts_followed']} starts agree), condition "
        f"number {result['condition']:.0f}.",
        "",
        result["account"] + ".",
        "",
        *(f"- {text}" for text in result["remarks"]),
        "",
    ]


def _holdout(holdout: dict[str, Any]) -> list[str]:
    rows = [
        (row["run"], *(f"{row[c]:.4g}" if c in row else "" for c in "NDC"), f"{row['loss']:.4f}",
         f"{row['predicted']:.4f}", f"{row['error']:+.2%}", _interval(row.get("new_run")))
        for row in holdout["runs"]
    ]  # fmt: skip
    inside = holdout["inside"]
    return [
        "## Held-out runs", "",
        f"Not fitted: {holdout['by']}. Mean error {holdout['mean_error']:.2%}, largest error "
        f"**{holdout['largest_error']:.2%}**"
        + ("." if inside is None else f"; {inside} of {len(rows)} inside the 95 % interval."),
        "",
        *_table(("run", "N", "D", "C", "measured", "predicted", "error", "95 % of a new run"),
                rows),
    ]  # fmt: skip


def _constants(study: Study, result: dict[str, Any]) -> list[str]:
    rows = [
        (name, f"{value:.5g}",
         "held" if name in study.fit.fixed else _interval(result["intervals"].get(name)),
         _interval(result["profile"].get(name)))
        for name, value in study.fit.constants.items()
    ]  # fmt: skip
    resamples = f"{result['bootstrap']} resamples"
    if result.get("bootstrap_failed"):
        resamples += f", {result['bootstrap_failed']} more failed"
    head = ("constant", "fitted", f"95 %, bootstrap ({resamples})", "profile (a diagnosis)")
    return ["## Constants", "", *_table(head, rows)]


def _forms(study: Study) -> list[str]:
    """The same runs with other forms; the form of the headline was chosen by the user."""
    rows = []
    for form in COMPARED:
        law = FORMS[form]
        try:
            fixed = {n: v for n, v in study.fit.fixed.items() if form == study.fit.law.form}
            f = fit(law, study.runs.inputs(law), study.runs.loss, loss=study.fit.loss, fixed=fixed,
                    delta=study.fit.delta if study.fit.loss == "huber" else None)  # fmt: skip
        except ValueError as error:
            rows.append((form, "–", "–", "–", str(error)))
            continue
        worst = ""
        if study.held_out is not None:
            measured = study.held_out.loss
            errors = f.predict(study.held_out.inputs(law)) / measured - 1.0
            worst = f"{errors[np.abs(errors).argmax()]:+.2%}"
        one = {name: np.array([value]) for name, value in f.constants.items()}
        rows.append((form, f"{f.objective:.5g}", f"{f.r2:.4f}",
                     f"{exponents(form, one)[0]:.3f}", worst))  # fmt: skip
    head = ("form", "objective", "R²", "a of N_opt ∝ C^a", "largest hold-out error")
    return ["## Other forms", "", *_table(head, rows)]


def _compute(folder: Path, figures: Path, study: Study) -> list[str]:
    """Envelope, valleys and contours: everything over compute."""
    runs, f = study.runs, study.fit
    found = valleys(runs.columns["N"], runs.compute, runs.loss)
    both = {"N", "D"} <= set(f.law.inputs)
    line = None
    if both:
        top = runs if study.held_out is None else study.held_out
        c = np.geomspace(runs.compute.min(), top.compute.max(), 60)
        # the optimum is one at 6 N D; where the table's C counts attention too, it is larger
        exact = np.median(runs.compute / (6.0 * runs.columns["N"] * runs.columns["D"]))
        line = (c, optimal_loss(f, c / exact))
    page = ["## Compute-optimal training", ""]
    page += _picture(figures, "frontier", "Final losses", scaling.compute_frontier, study, line)
    approaches = []
    curves = read_curves(folder / "curves.csv", runs.renamed)
    if curves:
        border = envelope([(n, c, loss) for _, n, c, loss in curves])
        page += _picture(figures, "curves", "Loss curves", scaling.loss_curves, curves, border[0])
        if len(np.unique(border[0])) > 1 and len(np.unique(border[1])) > 1:
            approaches.append(("1, envelope of the curves", f"{power_fit(*border)[0]:.3f}", ""))
    if found:
        page += _valley_table(found)
        page += _picture(figures, "isoflop", "IsoFLOP valleys", scaling.isoflop, found)
    inside = [v for v in found if v.interior]
    if len(inside) > 1:
        c, n = (np.array([getattr(v, a) for v in inside]) for a in ("compute", "best_size"))
        approaches.append(("2, IsoFLOP minima", f"{power_fit(c, n)[0]:.3f}", ""))
    if both:
        best = optimum(f.law.form, f.constants, np.array([runs.compute.max()]))
        spread = None
        if study.boot is not None:
            spread = percentiles(exponents(f.law.form, study.boot.constants()))
        approaches.append((f"3, {f.law.form}", f"{best.exponent:.3f}", _interval(spread)))
        page += _picture(figures, "contours", "Lines of equal loss", scaling.contours, study)
    page += ["### a of N_opt ∝ C^a, by approach", "",
             *_table(("approach", "a", "95 %"), approaches)]  # fmt: skip
    return page + _by_convention(study)


def _by_convention(study: Study) -> list[str]:
    """The allocation exponent under each way to count N that the table has."""
    counted = [(c.column, f"{c.exponent:.3f}", _interval(c.interval), f"{c.objective:.5g}")
            for c in study.counted]  # fmt: skip
    if not counted:
        return []
    return ["### a of N_opt ∝ C^a, by how N is counted", "",
            *_table(("N", "a", "95 %", "objective"), counted)]  # fmt: skip


def _checks(path: Path) -> list[str]:
    """Learning rates and seeds, of a table that ``numpylm scaling sweep`` wrote."""
    page = []
    if rates := [(str(c.width), f"{c.compute:.3g}", ", ".join(f"{x:g}" for x in c.rates),
                  ", ".join(f"{y:.4f}" for y in c.losses), f"{c.lost:.4f}")
                 for c in rate_checks(path)]:  # fmt: skip
        head = ("width", "C", "learning rate / the recipe's", "loss", "recipe above the best")
        page += ["## Learning rates tried", "", *_table(head, rates)]
    if seeds := [(str(s.width), f"{s.compute:.3g}", ", ".join(f"{y:.4f}" for y in s.losses),
                  f"{s.deviation:.4f}") for s in seed_spreads(path)]:  # fmt: skip
        page += ["## Seeds", "", *_table(("width", "C", "loss", "standard deviation"), seeds)]
    return page


def _valley_table(found: list[Valley]) -> list[str]:
    rows = [
        (f"{v.compute:.3g}", str(len(v.sizes)), f"{v.best_size:.4g}",
         f"{v.compute / 6 / v.best_size:.4g}", f"{v.compute / 6 / v.best_size**2:.3g}",
         f"{v.best_loss:.4f}", "yes" if v.interior else "no: at the edge of the sizes tried")
        for v in found
    ]  # fmt: skip
    head = ("C", "sizes", "N_opt", "D_opt = C/(6 N)", "tokens per parameter", "loss", "interior")
    return _table(head, rows)


def read_curves(
    path: Path, columns: dict[str, str] | None = None
) -> list[tuple[str, float, Array, Array]]:
    """(run, N, C (n,), loss (n,)) of each run of a ``curves.csv``; none if there is no file.

    ``columns`` renames those that the file has.
    """
    if not path.is_file():
        return []
    header = columns_of(read_rows_of(path))
    table = read_runs(path, {n: c for n, c in (columns or {}).items() if c in header})
    if "N" not in table.columns or "C" not in table.columns:
        raise ValueError(f"{path} needs the columns run, N, C (or D) and loss")
    names, curves = np.array(table.names), []
    for name in dict.fromkeys(table.names):
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(table.compute[rows])]
        n = float(table.columns["N"][rows[0]])
        curves.append((name, n, table.compute[rows], table.loss[rows]))
    return curves


def _picture(figures: Path, name: str, caption: str, plot: Any, *arguments: Any) -> list[str]:
    scaling.draw(figures / f"{name}.png", plot, *arguments)
    return [f"![{caption}](figures/{name}.png)", ""]


def _pictures(
    figures: Path, name: str, caption: str, count: int, plot: Any, *arguments: Any
) -> list[str]:
    size = (3.0 * count + 1.0, 3.2)
    scaling.draw(figures / f"{name}.png", plot, *arguments, size=size, panels=count)
    return [f"![{caption}](figures/{name}.png)", ""]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows)]
    return [*lines, ""]


def _interval(interval: Any) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"[{'…' if low is None else f'{low:.4g}'}, {'…' if high is None else f'{high:.4g}'}]"
