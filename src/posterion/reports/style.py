"""One look for every picture, applied as a context: Matplotlib's global settings stay as they are.

Figures are made without pyplot, so that they hold no global state and need no display. The colours
are those of Okabe & Ito (jfly.uni-koeln.de/color), told apart with any colour vision.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from posterion.core.files import write_bytes

__all__ = ["COLOURS", "EXACT", "Picture", "new_figure", "png", "save_picture", "style", "tint"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of the layers of a picture, in their order."""

EXACT = "#111111"
"""Of exact lines."""

DPI = 160

_SETTINGS: Any = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": "#333333",
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": True,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "lines.linewidth": 1.5,
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
}


class Picture(Figure):
    """A Matplotlib figure that notebooks show as it is."""

    def _repr_png_(self) -> bytes:
        return png(self, dpi=100)


@contextmanager
def style() -> Iterator[None]:
    """The project's look, inside the block alone."""
    with rc_context(_SETTINGS):
        yield


def new_figure(width: float | int, height: float | int, **options: Any) -> Picture:
    """An empty figure of that size in inches, with its own canvas; call it inside `style`."""
    figure = Picture(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, *, dpi: float | int = DPI) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    data = io.BytesIO()
    with style():
        figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return data.getvalue()


def save_picture(figure: Figure, path: str | os.PathLike[str], *, dpi: float | int = DPI) -> None:
    """Write the figure as PNG, whole or not at all.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    write_bytes(path, png(figure, dpi=dpi))


def tint(colour: str, strength: float) -> tuple[float, float, float]:
    """The colour mixed with white: 0 is white, 1 the colour itself."""
    red, green, blue = (1 - strength * (1 - c) for c in to_rgb(colour))
    return red, green, blue
