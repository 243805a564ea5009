"""One panel per column: the density, or Delta chi-squared, of draws with exact lines over it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from posterion.core.columns import Column
from posterion.core.density import Window, closed, histogram
from posterion.core.errors import SettingError, ThetaError
from posterion.reports.axes import dress_axis, plain, unit_text
from posterion.reports.corner import layer_colour, tiled, truth_colour
from posterion.reports.layers import Layer, common_columns, common_windows
from posterion.reports.style import Picture, new_figure, style, tint

__all__ = ["Line", "panel_plot"]

_DASHES = (0, (4, 1.5))
_GRAIN = 40.0


@dataclass(frozen=True, eq=False)
class Line:
    """A curve from elsewhere, such as a published profile, in the panel of one column.

    Args:
        x, y: of one length, x ascending, in the panel's units.
        label: in the legend.
        colour: of the line.
    """

    x: Any
    y: Any
    label: str
    colour: str = "#555555"


def panel_plot(
    layers: Layer | Sequence[Layer],
    *,
    names: Iterable[str] | None = None,
    kind: str = "density",
    lines: Mapping[str, Line | Sequence[Line]] | None = None,
    across: int = 3,
    top: float | int = 12.0,
    bins: int = 80,
    title: str = "",
) -> Picture:
    """Draw each column in a panel of its own, all layers over one another.

    A layer's exact densities are dashed lines. As Delta chi-squared, -2 log of a density over its
    maximum is drawn as far out as the draws tell it from zero: about 40 effective draws a bin.

    Args:
        layers: draws, each with its truth if it has one.
        names: columns to show; by default those that all layers have.
        kind: ``density`` per unit, or ``delta_chi2``.
        lines: further curves by column: a `Line` or several.
        across: panels in a row, at most.
        top: upper end of the axis of Delta chi-squared.
        bins: of the histograms.
        title: over the figure.

    Raises:
        SettingError: an unknown ``kind``, no layer, no common column.
        ThetaError: an unknown name.
    """
    if kind not in ("density", "delta_chi2"):
        raise SettingError(f"kind: 'density' or 'delta_chi2', got {kind!r}")
    layers = [layers] if isinstance(layers, Layer) else list(layers)
    columns = common_columns(layers, names)
    windows = common_windows(layers, columns)
    further = {k: [v] if isinstance(v, Line) else list(v) for k, v in (lines or {}).items()}
    unknown = set(further) - {column.name for column in columns}
    if unknown:
        raise ThetaError(f"there is no panel {', '.join(sorted(unknown))} for a line")
    down = math.ceil(len(columns) / max(across, 1))
    across = math.ceil(len(columns) / down)
    with style():
        figure = new_figure(
            max(3.4 * across, 4.6), 2.6 * down + 0.5 + 0.3 * bool(title), layout="constrained"
        )
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.ravel()[len(columns) :]:
            axes.set_axis_off()
        for axes, column in zip(grid.ravel(), columns, strict=False):
            shown = windows[column.name]
            if kind == "density":
                _densities(axes, layers, column, shown, bins)
            else:
                _delta_chi2(axes, layers, column, shown, float(top))
            for line in further.get(column.name, []):
                x, y = tiled(np.asarray(line.x, float), np.asarray(line.y, float), shown)
                axes.plot(x, y, color=line.colour, linewidth=1.1, label=plain(line.label))
            dress_axis(axes.xaxis, column, shown.lower, shown.upper, ticks=5)
        _legend(figure, [axes for axes in grid.ravel() if axes.axison])
        if title:
            figure.suptitle(plain(title))
    return figure


def _densities(
    axes: Axes, layers: Sequence[Layer], column: Column, shown: Window, bins: int
) -> None:
    for k, layer in enumerate(layers):
        found = histogram(layer.column(column.name)[:, None], layer.weights, [shown], bins)
        colour, label = layer_colour(layers, k), plain(layer.label) or "draws"
        if len(layers) == 1:
            axes.stairs(found.values, found.edges[0], fill=True, color=tint(colour, 0.3))
        axes.stairs(found.values, found.edges[0], color=colour, linewidth=1.2, label=label)
        curve = None if layer.truth is None else layer.truth.curve(column.name)
        if layer.truth is not None and curve is not None:
            x, y = tiled(curve[0], curve[1], shown)
            exact = truth_colour(layers, k)
            axes.plot(x, y, color=exact, lw=1.2, ls=_DASHES, label=_exact_label(layers, k))
    axes.set_ylim(bottom=0)
    unit = unit_text(f"({column.unit})" if " " in column.unit else column.unit)
    axes.set_ylabel(f"density [1/{unit}]" if unit else "density")
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))


def _delta_chi2(
    axes: Axes, layers: Sequence[Layer], column: Column, shown: Window, top: float
) -> None:
    for level, name in ((1, "1σ"), (4, "2σ"), (9, "3σ")):
        if level < top:
            axes.axhline(level, color="#999999", linewidth=0.7, linestyle=":")
            axes.text(0.99, level, name, transform=axes.get_yaxis_transform(), **_BESIDE)
    for k, layer in enumerate(layers):
        density = layer.density([column.name], [shown])
        (x,), values = closed(density)
        width = shown.upper - shown.lower
        known = values * width / 80 * layer.effective > _GRAIN
        height = np.where(known, -2 * np.log(np.where(known, values / values.max(), 1.0)), np.nan)
        label = plain(layer.label) or "draws"
        axes.plot(x, height, color=tint(layer_colour(layers, k), 0.55), lw=3, label=label)
        curve = None if layer.truth is None else layer.truth.curve(column.name)
        if layer.truth is not None and curve is not None:
            x, y = tiled(curve[0], curve[1], shown)
            positive = y > 0
            drop = -2 * np.log(np.where(positive, y, 1.0) / y.max())
            drop = np.where(positive, drop, np.nan)
            exact = truth_colour(layers, k)
            axes.plot(x, drop, color=exact, lw=1.2, ls=_DASHES, label=_exact_label(layers, k))
    axes.set_ylim(0, top)
    axes.set_ylabel(r"$\Delta\chi^2$")


_BESIDE: Any = {"ha": "right", "va": "bottom", "fontsize": 7.5, "color": "#777777"}


def _exact_label(layers: Sequence[Layer], k: int) -> str:
    truth = layers[k].truth
    said = "exact" if truth is None else truth.label
    several = sum(layer.truth is not None for layer in layers) > 1
    return plain(f"{said}, {layers[k].label}" if several else said)


def _legend(figure: Picture, panels: Sequence[Axes]) -> None:
    """One legend for all panels, each entry once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=min(len(entries), 4),
        )
