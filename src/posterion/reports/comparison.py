"""The page of a comparison: the table, every column, the densities of both samples."""

import math
from typing import Any

import numpy as np

from posterion.core.estimate import Estimate
from posterion.core.statistics import normalised_weights
from posterion.diagnostics.comparison import Comparison
from posterion.reports.blocks import Block, Image, Prose, Section, Table
from posterion.reports.corner import corner_plot
from posterion.reports.layers import Layer
from posterion.reports.page import Page
from posterion.reports.panels import panel_plot

__all__ = ["comparison_page"]

_PANELS = 30
_PAIRED = 6
_ORDER = "wasserstein_sd"


def comparison_page(found: Comparison, pair: Any = None, *, title: str | None = None) -> Page:
    """The page of a comparison.

    Args:
        found: what `posterion.compare` gave.
        pair: the samples, as of `posterion.training.pair_samples`, for the pictures.
        title: of the page.
    """
    notes = [Prose(f"Note: {note}.") for note in found.notes]
    blocks: list[Block] = [Prose(f"Sizes: {found.sizes}. Floor: {found.basis}."), *notes]
    sections = [Section("Metrics", [_metrics(found), *blocks])]
    worst = _by_distance(found)
    if len(found.names) > 1:
        sections.append(Section("Columns", [_columns(found, worst)]))
    if pair is not None:
        sections.append(Section("Densities", _pictures(found, pair, worst)))
    return Page(
        title=title or found.heading.capitalize(),
        lead=[found.verdict[0].upper() + found.verdict[1:] + "."],
        sections=sections,
        badge="at the floor" if found.at_floor else "above the floor",
        tone="good" if found.at_floor else "bad",
    )


def _metrics(found: Comparison) -> Table:
    heads = ["metric", "found", "floor", "pull", "Gaussian", "worst", "floor", "pull", "column"]
    rows = [
        [
            m.label,
            _short(m.value),
            _floor(m.floor),
            _pull(m.pull),
            None if m.gaussian is None else _short(m.gaussian),
            None if m.worst is None else _short(m.worst),
            None if m.worst_floor is None else _floor(m.worst_floor),
            _pull(m.worst_pull),
            m.column or "",
        ]
        for m in found.metrics
    ]
    caption = (
        "The median over the columns, then the worst column. The pull is the distance above the "
        "floor in units of its spread. Gaussian: a normal of the same mean and covariance."
    )
    return Table(heads, rows, caption)


def _columns(found: Comparison, order: list[int]) -> Table:
    shown = [m for m in found.metrics if m.columns and not m.key.startswith("relative")]
    heads = ["column", *(m.label for m in shown)]
    rows = [[found.names[j], *(_short(m.columns[j]) for m in shown)] for j in order]
    return Table(heads, rows, "Every column, the furthest apart first.")


def _pictures(found: Comparison, pair: Any, order: list[int]) -> list[Block]:
    layers = [
        Layer(pair.columns, x, label, normalised_weights(weights, len(x)))
        for x, label, weights in zip(
            (pair.second, pair.first),
            (found.labels[1], found.labels[0]),
            (pair.weights_second, pair.weights_first),
            strict=True,
        )
    ]
    names = [found.names[j] for j in order]
    some = f" The {_PANELS} furthest apart of {len(names)}." if len(names) > _PANELS else ""
    panels = Image.of(
        panel_plot(layers, names=names[:_PANELS]),
        f"Densities of {found.labels[0]} and {found.labels[1]}",
        f"Each column by itself, the furthest apart first.{some}",
    )
    if len(names) < 2:
        return [panels]
    corner = Image.of(
        corner_plot(layers, names=names[:_PAIRED]),
        f"Corner plot of {found.labels[0]} and {found.labels[1]}",
        "Regions of each pair that hold 68 % and 95 %, of the columns that are furthest apart.",
    )
    return [panels, corner]


def _by_distance(found: Comparison) -> list[int]:
    return [int(j) for j in np.argsort(found[_ORDER].columns)[::-1]]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _floor(floor: Estimate) -> Any:
    return floor if floor.error != 0 else _short(floor.value)


def _pull(pull: float) -> str | None:
    return None if math.isnan(pull) else f"{pull:+.1f}"
