"""Pictures and page of a closure test: ratios of marginals, coverage by condition, ranks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.diagnostics.closed import Closure, LocalCoverage, MarginalRatio
from posterion.reports.axes import plain, unit_text
from posterion.reports.blocks import Block, Image, Preformatted, Section, Table
from posterion.reports.calibration import calibration_plot
from posterion.reports.page import Page
from posterion.reports.style import COLOURS, Picture, new_figure, style

__all__ = ["closure_page", "closure_plot", "local_coverage_plot"]

_ACROSS = 4
_PULL = 5.0


def closure_plot(found: Closure) -> Picture:
    """Draw the counts of draws over those of outcomes, bin by bin, for each output.

    Bins hold as many outcomes each; vertical bars are the errors of the ratio from both counts.
    Where the test was given a cube of conditions, what lies in it is drawn too.

    Args:
        found: what `posterion.check_closure` gave.
    """
    units = {part.name: unit_text(part.unit) for part in found.marginals}
    names = list(units)
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    with style():
        figure = new_figure(2.7 * across + 0.6, 2.2 * down + 0.7, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for axes in grid.ravel()[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.ravel(), names, strict=False):
            axes.axhline(1, color="#999999", linewidth=0.7)
            for k, part in enumerate(p for p in found.marginals if p.name == name):
                _ratio(axes, part, COLOURS[k], f"in the cube {found.cube}" if k else "all rows")
            axes.set_xlabel(f"{plain(name)} [{units[name]}]" if units[name] else plain(name))
        for axes in grid[:, 0]:
            axes.set_ylabel("draws / outcomes")
        if found.cube:
            handles = grid[0, 0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


def local_coverage_plot(found: Closure) -> Picture:
    """Draw the share of outcomes in central intervals of their draws, in bins of each condition.

    In per cent; the colour is the distance from the stated level in units of its error.

    Args:
        found: what `posterion.check_closure` gave.

    Raises:
        SettingError: there were too few rows for bins.
    """
    names = list(dict.fromkeys(part.name for part in found.coverage))
    conditions = [part for part in found.coverage if part.name == names[0]] if names else []
    labels = [
        f"{plain(part.condition)}: {low:.4g}" + (f" to {high:.4g}" if high > low else "")
        for part in conditions
        for low, high in part.edges
    ]
    if not labels:
        raise SettingError(f"{found.rows} rows are too few for coverage in bins of conditions")
    share = np.stack([_stacked(found.coverage, name, "covered") for name in names], axis=1)
    error = np.stack([_stacked(found.coverage, name, "error") for name in names], axis=1)
    level = found.coverage[0].level
    with style():
        figure = new_figure(0.9 * len(names) + 4.4, 0.26 * len(labels) + 1.0, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(
            (share - level) / error, cmap="RdBu_r", vmin=-_PULL, vmax=_PULL, aspect="auto"
        )
        for (i, j), value in np.ndenumerate(share):
            far = abs(value - level) / error[i, j] > 0.6 * _PULL
            axes.text(
                j,
                i,
                f"{100 * value:.1f}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if far else "black",
            )
        axes.set_xticks(range(len(names)), [plain(name) for name in names])
        axes.set_yticks(range(len(labels)), labels, fontsize=7.5)
        axes.tick_params(length=0)
        for k in np.cumsum([len(part.covered) for part in conditions])[:-1]:
            axes.axhline(k - 0.5, color="#333333", linewidth=0.8)
        bar = figure.colorbar(image, ax=axes, extend="both")
        bar.set_label(f"distance from {100 * level:.1f} %, in errors", fontsize=9)
    return figure


def closure_page(found: Closure, *, title: str | None = None) -> Page:
    """The page of a closure test.

    Args:
        found: what `posterion.check_closure` gave.
        title: of the page.
    """
    head, *rows = found.table()
    tests = [list(row) for row in rows if len(row) == len(head)]
    ratios = Image.of(
        closure_plot(found),
        "Ratios of marginals",
        "One draw under the condition of each outcome, counted in bins of as many outcomes each.",
    )
    ranks = Image.of(
        calibration_plot(found.calibration),
        "Distribution of ranks",
        "Ranks of outcomes among draws under their own condition less uniform ones, with the band "
        f"that holds all curves in {100 * (1 - found.alpha):g} % of right models.",
    )
    sections: list[Section] = [
        Section(
            "Tests", [Table(list(head), tests), Preformatted(str(found), "report", folded=True)]
        ),
        Section("Marginals", [ratios]),
    ]
    local: list[Block] = [ranks]
    if any(len(part.covered) for part in found.coverage):
        caption = (
            "Outcomes in central intervals of their draws, in per cent, by bins of conditions."
        )
        local.append(Image.of(local_coverage_plot(found), "Coverage by condition", caption))
    sections.append(Section("Under each condition", local))
    return Page(
        title=title or found.heading,
        lead=[found.verdict[0].upper() + found.verdict[1:] + "."],
        sections=sections,
        badge="closes" if found.ok else "does not close",
        tone="good" if found.ok else "bad",
    )


def _ratio(axes: Any, part: MarginalRatio, colour: str, label: str) -> None:
    low, high = part.edges[:-1], part.edges[1:]
    axes.errorbar(
        (low + high) / 2,
        part.ratio,
        yerr=part.error,
        xerr=(high - low) / 2,
        fmt="none",
        color=colour,
        linewidth=1.2,
        label=plain(label),
    )


def _stacked(parts: Sequence[LocalCoverage], name: str, what: str) -> np.ndarray:
    return np.concatenate([getattr(part, what) for part in parts if part.name == name])
