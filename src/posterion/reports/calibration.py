"""Pictures and page of a calibration: ranks within their band, and coverage."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.diagnostics.bands import uniform_band
from posterion.diagnostics.calibrated import Calibration
from posterion.reports.axes import plain
from posterion.reports.blocks import Image, Preformatted, Section, Table
from posterion.reports.page import Page
from posterion.reports.style import COLOURS, Picture, new_figure, style, tint

__all__ = ["calibration_page", "calibration_plot"]

_PANELS, _ACROSS = 12, 4


def calibration_plot(found: Calibration, *, names: Iterable[str] | None = None) -> Picture:
    """Draw the empirical distribution of each quantity's ranks, less that of uniform ones.

    The band holds all curves together with probability ``1 - alpha``. A curve above zero on the
    left and below on the right is of posteriors too narrow, the reverse of such too wide; one above
    or below throughout of draws too high or too low.

    Args:
        found: what `posterion.check_calibration` gave.
        names: of quantities; by default the twelve with the smallest p-values.

    Raises:
        SettingError: no such quantity, or none at all.
    """
    if names is None:
        order = sorted(np.argsort(found.p_values)[:_PANELS])
        shown = [found.names[i] for i in order]
    else:
        shown = list(names)
    if not shown:
        raise SettingError("a plot of a calibration needs at least one quantity")
    band = uniform_band(found.pairs, found.alpha / len(found.names))
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    with style():
        figure = new_figure(2.6 * across + 0.6, 2.1 * down + 0.5, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes in grid.ravel()[len(shown) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.ravel(), shown, strict=False):
            u = np.sort(found[name])
            at = np.concatenate([[0.0], np.repeat(u, 2), [1.0]])
            share = np.repeat(np.arange(len(u) + 1) / len(u), 2)
            left = found.p_values[found.names.index(name)] * len(found.names) <= found.alpha
            axes.fill_between(
                band.at, band.lower - band.at, band.upper - band.at, color=tint(COLOURS[0], 0.2)
            )
            axes.axhline(0, color="#999999", linewidth=0.7)
            axes.plot(at, share - at, color=COLOURS[1] if left else COLOURS[0], linewidth=1.1)
            axes.set_title(plain(name))
        figure.supxlabel("rank of the truth among the draws", fontsize=10)
        figure.supylabel("excess below", fontsize=10)
    return figure


def calibration_page(found: Calibration, *, title: str | None = None) -> Page:
    """The page of a calibration.

    Args:
        found: what `posterion.check_calibration` gave.
        title: of the page.
    """
    head, *rows = found.table()
    numbers = Table(list(head), [list(row) for row in rows], "Coverage in per cent.")
    image = Image.of(
        calibration_plot(found),
        "Distribution of ranks",
        f"Empirical distribution of ranks less the uniform one; the band holds all curves in "
        f"{100 * (1 - found.alpha):g} % of right posteriors.",
    )
    blocks: list[Any] = [numbers, Preformatted(str(found), "report", folded=True)]
    return Page(
        title=title or found.heading,
        lead=[found.verdict[0].upper() + found.verdict[1:] + "."],
        sections=[Section("Ranks", [image]), Section("Coverage", blocks)],
        badge="calibrated" if found.ok else "not calibrated",
        tone="good" if found.ok else "bad",
    )
