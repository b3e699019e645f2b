"""Pictures of a run: its loss against the n-gram floors; where a decoder looked."""

from __future__ import annotations

import io
from pathlib import Path

from numpylm.files import write_atomically
from numpylm.parameters import Array
from numpylm.plots.labels import drawable, token_label
from numpylm.training.run_folder import Run


def plot_loss(run: Run) -> None:
    """Write ``loss.png``: training and validation loss by step, the n-gram models as lines."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from numpylm.plots.style import BLUE, VERMILION, use_house_style

    with matplotlib.rc_context({"text.parse_math": False}):  # a $ in a text is a $
        use_house_style()
        figure = Figure(figsize=(7.0, 4.0))
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        trained = [m for m in run.metrics if m["train_loss"] is not None]
        ax.plot(
            [m["step"] for m in trained], [m["train_loss"] for m in trained],
            "o-", color=BLUE, markersize=3, label="training (mean since the last evaluation)",
        )  # fmt: skip
        ax.plot(
            [m["step"] for m in run.metrics], [m["val_loss"] for m in run.metrics],
            "s--", color=VERMILION, markersize=3, label="validation (all of it)",
        )  # fmt: skip
        right = max(m["step"] for m in run.metrics) or 1
        floors = run.baselines if run.config.task.language_model else {}  # others are scores
        for name, loss in floors.items():
            ax.axhline(loss, color="0.55", linewidth=1.0, linestyle=":")
            label = f"{drawable(name)} {loss:.2f}"
            ax.annotate(label, (right, loss), ha="right", va="bottom", color="0.35", fontsize=8)
        best = run.metrics[-1]
        ax.set_title(
            f"{run.config.objective} on {drawable(run.corpus['name'])}, "
            f"{run.config.tokenizer} tokens: "
            f"validation loss {best['val_loss']:.3f} at step {best['step']}"
        )
        ax.set(xlabel="step", ylabel=f"loss (nats per {unit_of(run)})")
        ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.95))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
    write_atomically(run.folder / "loss.png", buffer.getvalue())


def plot_attention(path: Path, source: list[str], target: list[str], weights: Array) -> None:
    """Write a picture of encoder-decoder attention, weights (T, S): a row for each target token."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from numpylm.plots.style import attention_map, use_house_style

    with matplotlib.rc_context({"text.parse_math": False}):  # a $ in a text is a $
        use_house_style()
        width, height = 1.5 + 0.32 * len(source), 1.5 + 0.3 * len(target)
        figure = Figure(figsize=(min(width, 50.0), min(height, 50.0)))  # at most 225 MB
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        attention_map(weights, [*map(token_label, target)], [*map(token_label, source)], ax)
        ax.set(xlabel="source", ylabel="written")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
    write_atomically(path, buffer.getvalue())


def unit_of(run: Run) -> str:
    """What a loss is the mean over."""
    return run.config.task.unit or run.config.tokenizer
