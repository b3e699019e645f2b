"""The figures of a scaling study: curves, valleys, contours, residuals, predictions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numpylm.files import write_atomically
from numpylm.parameters import Array
from numpylm.plots.style import BLUE, GREEN, VERMILION, use_house_style
from numpylm.scaling.fit.allocation import Valley, around_lowest, optimum
from numpylm.scaling.fit.prediction import Study
from numpylm.scaling.fit.run_table import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[str, float, Array, Array]  # run, N, compute (n,), loss (n,)
EVERY = "viridis"


def draw(
    path: Path, plot: Any, *arguments: Any, size: tuple[float, float] = (7.0, 4.2), panels: int = 1
) -> None:
    """Make a figure in the house style with ``plot(axes, *arguments)`` and write it as PNG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        use_house_style()
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        plot(figure.subplots(1, panels), *arguments)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    write_atomically(path, buffer.getvalue())


def parts(study: Study) -> list[tuple[Runs, str, str, str]]:
    """The fitted and the held-out runs, each with marker, colour and label."""
    fitted = (study.runs, "o", BLUE, "fitted")
    return [fitted] if study.held_out is None else [
        fitted, (study.held_out, "s", VERMILION, "held out")]  # fmt: skip


def colours(values: Array) -> list[Any]:
    """A colour for each value, by its rank among the different ones."""
    import matplotlib

    different, rank = np.unique(values, return_inverse=True)
    shades = matplotlib.colormaps[EVERY](np.linspace(0.05, 0.85, len(different)))
    return [shades[r] for r in rank]


def loss_curves(ax: Axes, curves: list[Curve], border: Array) -> None:
    """Every run's loss over its compute, coloured by size; the envelope at budgets border (m,)."""
    every = np.array([n for _, n, _, _ in curves])
    for (_, _, c, loss), colour in zip(curves, colours(every), strict=True):
        ax.plot(c, loss, "-", color=colour, linewidth=1.1)
    sizes = np.unique(every)
    for n, colour in zip(sizes, colours(sizes), strict=True):
        ax.plot([], [], "-", color=colour, label=f"N {n:,.3g}")
    at = [np.interp(np.log(border), np.log(c), loss, left=np.inf, right=np.inf)
          for _, _, c, loss in curves]  # fmt: skip
    if len(border):
        ax.plot(border, np.min(at, axis=0), "--", color=VERMILION, label="lowest at this C")
    ax.set(xscale="log", xlabel="training FLOPs C", ylabel="loss (nats)",
           title="loss curves and their envelope")  # fmt: skip
    ax.legend(ncols=2, fontsize=8)


def compute_frontier(ax: Axes, study: Study, law: tuple[Array, Array] | None) -> None:
    """Final losses over compute, the best of them, and the law at its optimum."""
    for runs, marker, colour, label in parts(study):
        ax.plot(runs.compute, runs.loss, marker, color=colour, markersize=4, label=label)
    if law is not None:
        ax.plot(*law, "-", color="0.2", label=f"{study.fit.law.form}, best N and D for C")
    ax.set(xscale="log", yscale="log", xlabel="training FLOPs C", ylabel="loss (nats)",
           title="final losses and the compute-optimal frontier")  # fmt: skip
    _plain_ticks(ax)
    ax.legend()


def isoflop(ax: Axes, found: list[Valley]) -> None:
    """The valley of each budget, its parabola near the minimum, and the minimum."""
    for v, colour in zip(found, colours(np.array([v.compute for v in found])), strict=True):
        ax.plot(v.sizes, v.losses, "o", color=colour, markersize=4, label=f"C {v.compute:.2g}")
        near = around_lowest(np.log(v.sizes), v.losses)
        if v.interior:
            curve = np.polyfit(np.log(v.sizes[near] / v.best_size), np.log(v.losses[near]), 2)
            first, last = np.log(v.sizes[near][[0, -1]] / v.best_size)
            x = np.linspace(first, last, 50)
            ax.plot(v.best_size * np.exp(x), np.exp(np.polyval(curve, x)), "-", color=colour,
                    linewidth=1.1)  # fmt: skip
            ax.plot(v.best_size, v.best_loss, "*", color=VERMILION, markersize=9)
        else:
            ax.plot(v.sizes, v.losses, ":", color=colour, linewidth=1.0)
    ax.plot([], [], "*", color=VERMILION, markersize=9, label="minimum")
    ax.set(xscale="log", yscale="log", xlabel="parameters N", ylabel="loss (nats)",
           title="IsoFLOP valleys")  # fmt: skip
    _plain_ticks(ax)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def contours(ax: Axes, study: Study) -> None:
    """Lines of equal loss in the plane of C and N, the runs, and N_opt(C)."""
    fit, runs = study.fit, study.runs
    everything = [part for part in (runs, study.held_out) if part is not None]
    c = np.concatenate([part.compute for part in everything])
    n = np.concatenate([part.columns["N"] for part in everything])
    grid_c = np.geomspace(c.min() / 2, c.max() * 2, 80)
    grid_n = np.geomspace(n.min() / 2, n.max() * 2, 80)
    cc, nn = np.meshgrid(grid_c, grid_n)
    columns = {"N": nn.ravel(), "D": (cc / (6 * nn)).ravel()}
    columns["U"] = columns["D"]
    table = fit.predict(np.stack([columns[name] for name in fit.law.inputs], axis=1))
    losses = np.concatenate([part.loss for part in everything])
    levels = np.geomspace(losses.min() * 0.97, losses.max(), 12)
    lines = ax.contour(cc, nn, table.reshape(cc.shape), levels=levels, cmap=EVERY, linewidths=1.0)
    ax.clabel(lines, fmt="%.2f", fontsize=7)
    for part, marker, colour, label in parts(study):
        ax.plot(part.compute, part.columns["N"], marker, color=colour, markersize=4, label=label)
    best = optimum(fit.law.form, fit.constants, grid_c)
    ax.plot(grid_c, best.parameters, "--", color="0.1", label=f"N_opt ∝ C^{best.exponent:.3f}")
    ax.set(xscale="log", yscale="log", xlabel="training FLOPs C", ylabel="parameters N",
           ylim=(grid_n[0], grid_n[-1]), title=f"{fit.law.form}: lines of equal loss")  # fmt: skip
    ax.legend(fontsize=8)


AXES = {
    "N": "parameters N", "D": "tokens D", "U": "different tokens U", "C": "training FLOPs C",
}  # fmt: skip


def residuals(axes: Any, study: Study) -> None:
    """L̂/L − 1 of each run, over the inputs of the law: a trend is a wrong form."""
    fit = study.fit
    law = fit.law
    x = study.runs.inputs(law)
    percent = 100.0 * np.expm1(fit.residuals)
    for k, (ax, name) in enumerate(zip(np.atleast_1d(axes), law.inputs, strict=False)):
        ax.axhline(0.0, color="0.5", linewidth=1.0)
        ax.scatter(x[:, k], percent, s=14, color=colours(study.runs.compute), zorder=3)
        ax.set(xscale="log" if (x[:, k] > 0).all() else "linear", xlabel=AXES.get(name, name),
               ylabel="fitted against measured (%)" if k == 0 else "")  # fmt: skip
        if (x[:, k] > 0).all():
            _few_ticks(ax, x[:, k])


def predicted_measured(ax: Axes, study: Study) -> None:
    """Predicted against measured loss; for held-out runs with the 95 % interval of a new run."""
    fitted = study.fit.predict(study.runs.inputs(study.fit.law))
    ax.plot(study.runs.loss, fitted, "o", color=BLUE, markersize=4, label="fitted")
    low, high = study.runs.loss.min(), study.runs.loss.max()
    if study.held_out is not None:
        rows = study.holdout()["runs"]
        loss = np.array([row["loss"] for row in rows])
        predicted = np.array([row["predicted"] for row in rows])
        low = min(low, loss.min())
        bars = None
        if "new_run" in rows[0]:
            ends = np.array([row["new_run"] for row in rows]).T
            bars = np.maximum(np.stack([predicted - ends[0], ends[1] - predicted]), 0.0)
        ax.errorbar(loss, predicted, yerr=bars, fmt="s", color=VERMILION, markersize=4,
                    linestyle="none", capsize=3, label="held out, 95 %")  # fmt: skip
    ax.plot([low, high], [low, high], "--", color="0.3", linewidth=1.0, label="equal")
    ax.set(xscale="log", yscale="log", xlabel="measured loss (nats)",
           ylabel="predicted loss (nats)", title="predicted and measured")  # fmt: skip
    _plain_ticks(ax)
    ax.legend()


def profiles(axes: Any, study: Study) -> None:
    """How much the objective rises along each constant, against the threshold of 95 %."""
    for ax, p in zip(np.atleast_1d(axes), study.profiles, strict=False):
        shown = p.rise < 4.0
        ax.plot(p.values[shown], p.rise[shown], ".-", color=BLUE, markersize=4)
        ax.axhline(1.0, color=VERMILION, linestyle="--", linewidth=1.0)
        ax.axvline(study.fit.constants[p.name], color=GREEN, linestyle=":", linewidth=1.2)
        wide = (p.values[shown] > 0).all() and p.values[shown].max() > 5 * p.values[shown].min()
        ax.set(xlabel=p.name, xscale="log" if wide else "linear")
    np.atleast_1d(axes)[0].set_ylabel("rise / threshold of 95 %")


def _few_ticks(ax: Axes, x: Array) -> None:
    """A logarithmic axis in a narrow panel: powers of ten alone, or 1, 2 and 5 if it spans few."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    few = x.max() < 30.0 * x.min()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
    if few:
        ax.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False,
                                                             minor_thresholds=(9, 9)))  # fmt: skip
        ax.tick_params(axis="x", labelsize=8)
    ax.xaxis.set_minor_formatter(NullFormatter())


def _plain_ticks(ax: Axes) -> None:
    """Decimal numbers on axes of losses, which span less than a factor of ten."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis, name in ((ax.xaxis, ax.get_xlabel()), (ax.yaxis, ax.get_ylabel())):
        if "loss" in name:
            axis.set_major_locator(MaxNLocator(6))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axis.set_minor_locator(MaxNLocator(1))
            axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
