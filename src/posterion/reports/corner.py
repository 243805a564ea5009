"""The corner plot: every column's density, and every pair's contours, of draws and of the truth."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from posterion.core.columns import Column
from posterion.core.density import Density, Window, closed, histogram
from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.summary import summarise
from posterion.reports.axes import dress_axis, plain, scaling
from posterion.reports.layers import (
    Curve1,
    Curve2,
    Layer,
    Truth,
    common_columns,
    common_windows,
    mass_levels,
)
from posterion.reports.style import COLOURS, EXACT, Picture, new_figure, style, tint

__all__ = ["corner_plot", "credible_contours"]

LEVELS = (0.68, 0.95)
LIMIT = 10
"""Columns that are shown unless asked otherwise."""


def corner_plot(
    layers: Layer | Sequence[Layer],
    *,
    names: Iterable[str] | None = None,
    truth: Mapping[str, Curve1] | None = None,
    truth2: Mapping[tuple[str, str], Curve2] | None = None,
    levels: Sequence[float | int] = LEVELS,
    bins: int = 60,
    limit: int = LIMIT,
    title: str = "",
) -> Picture:
    """Draw densities and credible regions of all columns and pairs.

    A contour at 0.68 holds that share of the draws themselves; one of an exact density, of its
    total on the grid given.

    Args:
        layers: draws; the first one is filled, the others are lines.
        names: columns to show; by default those that all layers have.
        truth: exact densities of the first layer: name to ``(x, density)``.
        truth2: exact densities of pairs: ``(a, b)`` to ``(x_a, x_b, density)``.
        levels: shares in the contours, such as (0.393, 0.865) for one and two sigma of a normal.
        bins: of the histograms on the diagonal.
        limit: at most so many columns, the first ones; the figure says how many were left out.
        title: over the figure.

    Raises:
        SettingError: no layer, no common column, a level that is not between 0 and 1.
        ThetaError: an unknown name.
    """
    layers = _with_truth(layers, truth, truth2)
    masses = sorted(set(levels))
    if not masses or not all(0 < mass < 1 for mass in masses):
        raise SettingError(f"levels: shares between 0 and 1, got {tuple(levels)}")
    every = common_columns(layers, names)
    columns = every[: max(limit, 1)]
    windows = common_windows(layers, columns)
    d = len(columns)
    with style():
        size = max(1.35 * d + 1.0, 4.2)
        figure = new_figure(size, size)
        left, right = 0.95 / size, 1 - 0.12 / size
        bottom, top = 0.9 / size, 1 - (0.62 if title else 0.4) / size
        grid = figure.subplots(d, d, squeeze=False)
        figure.subplots_adjust(left, bottom, right, top, wspace=0.06, hspace=0.06)
        for row, col in np.ndindex(d, d):
            axes: Any = grid[row, col]
            if col > row:
                axes.set_axis_off()
                continue
            shown, under = columns[row], columns[col]
            if row == col:
                _draw_one(axes, layers, under, windows[under.name], bins)
                axes.set_ylim(0, (1.5 if d == 1 else 1.12) * axes.get_ylim()[1])
                axes.yaxis.set_major_locator(NullLocator())
            else:
                pair = (windows[under.name], windows[shown.name])
                _draw_pair(axes, layers, under, shown, pair, masses)
                side = windows[shown.name]
                dress_axis(
                    axes.yaxis, shown, side.lower, side.upper, ticks=5, label=col == 0, inside=True
                )
            base = windows[under.name]
            dress_axis(
                axes.xaxis, under, base.lower, base.upper, ticks=5, label=row == d - 1, inside=True
            )
            axes.tick_params("x", labelrotation=45, labelbottom=row == d - 1)
            axes.tick_params("y", labelleft=col == 0 and row > 0)
        for axes in grid.ravel():
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_label_text(_in_two_lines(axis.get_label_text()))
        figure.align_labels()
        _explain(figure, layers, masses, len(every) - d, d)
        if title:
            figure.text(left, 1 - 0.12 / size, title, va="top", fontsize=12, parse_math=False)
    return figure


def credible_contours(
    layer: Layer, a: str, b: str, windows: tuple[Window, Window], masses: Sequence[float | int]
) -> tuple[Density, np.ndarray]:
    """The density of a pair on a grid, and the levels whose contours hold ``masses`` of the draws.

    Returns:
        The density with axes ``(a, b)``, and the levels in the order of ``masses``.
    """
    density = layer.density((a, b), windows)
    return density, layer.levels((a, b), density, masses)


def _with_truth(
    layers: Layer | Sequence[Layer],
    truth: Mapping[str, Curve1] | None,
    truth2: Mapping[tuple[str, str], Curve2] | None,
) -> list[Layer]:
    found = [layers] if isinstance(layers, Layer) else list(layers)
    if found and (truth or truth2):
        known = found[0].truth or Truth()
        both = Truth(truth or known.marginals, truth2 or known.pairs, known.label)
        found[0] = replace(found[0], truth=both)
    return found


def layer_colour(layers: Sequence[Layer], k: int) -> str:
    """The colour of the layer of that place."""
    return layers[k].colour or COLOURS[k % len(COLOURS)]


def truth_colour(layers: Sequence[Layer], k: int) -> Any:
    """Black for one exact density; for several a dark shade of each layer's colour."""
    if sum(layer.truth is not None for layer in layers) < 2:
        return EXACT
    red, green, blue = tint(layer_colour(layers, k), 1.0)
    return 0.45 * red, 0.45 * green, 0.45 * blue


def _draw_one(
    axes: Axes, layers: Sequence[Layer], column: Column, shown: Window, bins: int
) -> None:
    top = 0.0
    for k, layer in enumerate(layers):
        found = histogram(layer.column(column.name)[:, None], layer.weights, [shown], bins)
        top, colour = max(top, float(found.values.max())), layer_colour(layers, k)
        if k == 0:
            axes.stairs(found.values, found.edges[0], fill=True, color=tint(colour, 0.35))
        axes.stairs(found.values, found.edges[0], color=colour, linewidth=1.2)
    for k, layer in enumerate(layers):
        curve = None if layer.truth is None else layer.truth.curve(column.name)
        if curve is not None:
            x, y = tiled(curve[0], curve[1], shown)
            axes.plot(x, y, color=truth_colour(layers, k), linewidth=1.1, linestyle=(0, (4, 1.5)))
            visible = (x >= shown.lower) & (x <= shown.upper)
            top = max(top, float(y[visible].max(initial=0.0)))
    axes.set_ylim(0, top if top > 0 else 1)
    if len(layers) == 1:
        layer = layers[0]
        row = summarise([column], layer.column(column.name)[:, None], layer.weights)
        offset, power = scaling(shown.lower, shown.upper)
        unit = 1.0 if offset else 10.0**power  # as on the axis
        text = Estimate(row.mean[0] / unit, row.sd[0] / unit).text()
        axes.set_title(text.replace("-", "\N{MINUS SIGN}"), fontsize=8, pad=4)


def _draw_pair(
    axes: Axes,
    layers: Sequence[Layer],
    under: Column,
    shown: Column,
    windows: tuple[Window, Window],
    masses: Sequence[float | int],
) -> None:
    for k, layer in enumerate(layers):
        found, levels = credible_contours(layer, under.name, shown.name, windows, masses)
        (x, y), values = closed(found)
        colour, top = layer_colour(layers, k), float(values.max())
        steps = [float(level) for level in dict.fromkeys(levels[::-1]) if 0 < level < top]
        if not steps:  # no area to enclose: the draws lie on a point or a line
            axes.plot(*(layer.column(c.name)[:200] for c in (under, shown)), ".", color=colour)
            continue
        if k == 0:
            shades = [tint(colour, 0.25 + 0.5 * i / len(steps)) for i in range(len(steps))]
            axes.contourf(x, y, values.T, levels=[*steps, 1.01 * top], colors=shades)
        axes.contour(x, y, values.T, levels=steps, colors=[colour], linewidths=1.0)
    for k, layer in enumerate(layers):
        pair = None if layer.truth is None else layer.truth.pair(under.name, shown.name)
        if pair is not None:
            levels = sorted(set(mass_levels(*pair, masses)))
            a, b, density = _tiled_pair(*pair, windows)
            axes.contour(
                a,
                b,
                density.T,
                levels=[level for level in levels if density.min() < level < density.max()],
                colors=[truth_colour(layers, k)],
                linewidths=0.9,
                linestyles=[(0, (4, 1.5))],
            )


def tiled(x: np.ndarray, y: np.ndarray, shown: Window) -> tuple[np.ndarray, np.ndarray]:
    """A curve continued round the circle of a window, so that it crosses the cut."""
    if shown.turn is None:
        return x, y
    turns = shown.turn * np.array([-1.0, 0.0, 1.0])
    return (x + turns[:, None]).ravel(), np.tile(y, 3)


def _tiled_pair(
    a: np.ndarray, b: np.ndarray, density: np.ndarray, windows: tuple[Window, Window]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axes = []
    for k, (x, shown) in enumerate(zip((a, b), windows, strict=True)):
        if shown.turn is not None:
            if np.isclose(x[-1] - x[0], shown.turn):  # the same point at both ends
                x, density = x[:-1], density.take(range(x.size - 1), axis=k)
            x = (x + shown.turn * np.array([-1.0, 0.0, 1.0])[:, None]).ravel()
            density = np.concatenate([density] * 3, axis=k)
        axes.append(x)
    return axes[0], axes[1], density


def _in_two_lines(label: str) -> str:
    """A label that is longer than a panel, its unit on a line of its own."""
    seen = re.sub(r"\\[a-zA-Z]+|[${}^_\\]", lambda m: "x" if len(m[0]) > 1 else "", label)
    head, bracket, unit = label.rpartition(" [")
    return f"{head}\n[{unit}" if bracket and len(seen) > 17 else label


def _explain(
    figure: Picture, layers: Sequence[Layer], masses: Sequence[float | int], hidden: int, d: int
) -> None:
    shares = " and ".join(f"{100 * mass:.3g} %" for mass in masses)
    handles: list[Any] = []
    for k, layer in enumerate(layers):
        colour, label = layer_colour(layers, k), plain(layer.label) or "draws"
        face = tint(colour, 0.5) if k == 0 else "none"
        handles.append(Patch(facecolor=face, edgecolor=colour, label=label))
    for k, layer in enumerate(layers):
        if layer.truth is not None:
            several = sum(other.truth is not None for other in layers) > 1
            label = f"{layer.truth.label}, {layer.label}" if several else layer.truth.label
            handles.append(
                Line2D(
                    [],
                    [],
                    color=truth_colour(layers, k),
                    linestyle=(0, (4, 1.5)),
                    linewidth=1.1,
                    label=plain(label),
                )
            )
    title = f"regions hold{chr(10) if d == 2 else ' '}{shares}" if d > 1 else ""
    if hidden:
        title += f"\n{d} of {d + hidden} columns shown"
    box = (figure.subplotpars.right, figure.subplotpars.top)
    figure.legend(
        handles=handles, title=title.strip(), loc="upper right", bbox_to_anchor=box, borderaxespad=0
    )
