"""§5.3 The loss curve of a run against the n-gram floors."""

from __future__ import annotations

import io

from numpylm.files import write_atomically
from numpylm.training.run import Run


def plot_loss(run: Run) -> None:
    """Write ``loss.png``: training and validation loss by step, the n-gram models as lines."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from numpylm.plotting import BLUE, VERMILION, use_house_style

    with matplotlib.rc_context():
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
        for name, loss in run.baselines.items():
            ax.axhline(loss, color="0.55", linewidth=1.0, linestyle=":")
            label = f"{name} {loss:.2f}"
            ax.annotate(label, (right, loss), ha="right", va="bottom", color="0.35", fontsize=8)
        best = run.metrics[-1]
        ax.set_title(
            f"{run.corpus['name']}, {run.config.tokenizer} tokens: validation loss "
            f"{best['val_loss']:.3f} at step {best['step']}"
        )
        ax.set(xlabel="step", ylabel=f"loss (nats per {run.config.tokenizer})")
        ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.95))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
    write_atomically(run.folder / "loss.png", buffer.getvalue())
