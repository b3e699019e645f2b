"""The look of the book's figures: one quiet style, attention weights, a figure with a slider.

Colours: Okabe & Ito 2008, which colour-blind readers can tell apart. Lines differ in their dashes
too, so that a figure survives a printer without colour.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numpylm.parameters import Array
from numpylm.plots.labels import drawable, font_families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = OKABE_ITO = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def use_house_style() -> None:
    """Set matplotlib's defaults: for all figures drawn after this call."""
    import matplotlib
    from matplotlib.rcsetup import cycler

    matplotlib.rcParams.update(
        {
            "font.family": list(font_families()),
            "figure.figsize": (7.0, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.labelsize": 10,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "axes.prop_cycle": cycler(color=OKABE_ITO) + cycler(linestyle=DASHES),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "0.4",
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": "0.9",
            "grid.linewidth": 0.8,
        }
    )


def attention_map(
    weights: Array, queries: Sequence[object], keys: Sequence[object], ax: Axes | None = None
) -> AxesImage:
    """Draw weights (T, S): one row a query, one column a key; white 0, dark blue 1.

    Exactly 0 is grey and hatched: without colour, plain grey would look like a weight of 0.2.
    Returns the image, for a colour bar or another range (``image.set_clim``). Raises
    ``ValueError`` unless there is one label for each row and for each column.
    """
    import matplotlib.pyplot as plt

    if weights.shape != (len(queries), len(keys)):
        raise ValueError(f"{len(queries)} queries, {len(keys)} keys, but weights {weights.shape}")
    ax = plt.subplots()[1] if ax is None else ax
    ax.patch.set(facecolor="0.93", edgecolor="0.75", hatch="////")  # seen where nothing is drawn
    image = ax.imshow(np.ma.masked_equal(weights, 0.0), cmap="Blues", vmin=0.0, vmax=1.0)
    ax.set_xticks(range(len(keys)), [drawable(str(key)) for key in keys], rotation=90)
    ax.set_yticks(range(len(queries)), [drawable(str(query)) for query in queries])
    ax.set(xlabel="key", ylabel="query")
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image


def with_slider(
    draw: Callable[[Any], Figure], name: str, values: Sequence[Any], start: Any
) -> None:
    """Show the figure ``draw(start)`` in a notebook, with a slider that draws the other values.

    Without ipywidgets, and where no kernel answers (a saved notebook, a printed page), it is a
    still picture: the output holds both, and whoever shows it takes the best that it can show.
    Raises ``ValueError`` if start is not among the values.
    """
    from IPython.display import display

    if start not in values:
        raise ValueError(f"the slider starts at {start}, which is not among {list(values)}")
    still = _png(draw(start))
    output: dict[str, Any] = {}
    try:
        import ipywidgets
    except ImportError:
        pass
    else:
        picture = ipywidgets.Image(value=still, format="png")
        slider = ipywidgets.SelectionSlider(
            options=values, value=start, description=name, continuous_update=False
        )
        slider.observe(lambda change: setattr(picture, "value", _png(draw(change.new))), "value")
        output |= ipywidgets.VBox([slider, picture])._repr_mimebundle_()
    output |= {"image/png": base64.b64encode(still).decode(), "text/plain": f"{name} = {start}"}
    display(output, raw=True)


def _png(figure: Figure) -> bytes:
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)  # or the notebook shows it a second time
    return file.getvalue()
