"""The words, the figures and the page of the study."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posterion.core.estimate import Estimate
from posterion.reports import (
    COLOURS,
    Heading,
    Image,
    Page,
    Preformatted,
    Prose,
    Section,
    Table,
    calibration_plot,
    new_figure,
    style,
)
from posterion.reports.blocks import Block
from posterion.studies.amortised.measuring import Measured, averaged
from posterion.studies.base import Figure
from posterion.studies.calibrations import calibration_figures
from posterion.studies.likelihoods.rows import aligned

__all__ = ["figures_of", "page", "text"]

GOAL = 0.55
"""The AUC against exact posteriors that two moons are to stay below."""

_SHOWN, _POINTS = 4, 2000


def figures_of(found: Sequence[Measured]) -> dict[str, Any]:
    """Every number, beside the truth or what chance allows."""
    figures: dict[str, Any] = {}
    for row in found:
        key, floor = row.key, row.truth.floor
        figures[f"{key}.auc"] = Figure(row.mean_auc.value, truth=0.5, floor=float(floor.mean()))
        figures[f"{key}.auc.error"] = row.mean_auc.error
        figures[f"{key}.auc_worst"] = Figure(float(row.auc.max()), floor=float(floor.max()))
        figures |= calibration_figures(row.calibration, f"{key}.")
        chance = float(np.sqrt(2 / row.draws.shape[1]))
        for i, p in enumerate(row.case.parameters):
            pull = float(np.sqrt(np.square(row.pulls[:, i]).mean()))
            figures[f"{key}.{p.name}.mean_error"] = Figure(pull, truth=0.0, floor=chance)
            figures[f"{key}.{p.name}.sd_ratio"] = Figure(float(row.ratios[:, i].mean()), truth=1.0)
            worst = row.ratios[np.argmax(np.abs(np.log(row.ratios[:, i]))), i]
            figures[f"{key}.{p.name}.sd_ratio_worst"] = Figure(float(worst), truth=1.0)
        figures[f"{key}.seconds"] = row.seconds
        figures[f"{key}.epochs"] = len(row.result.history["epoch"])
    return figures


def _table(found: Sequence[Measured]) -> tuple[list[str], list[list[Any]]]:
    heads = ["posterior", "network", "AUC", "floor", "worst", "calibration p", "mean off by, sd"]
    lines = []
    for row in found:
        off = np.sqrt(np.square(row.pulls).mean(axis=0))
        line = [row.case.title, row.network, _cell(row.mean_auc), _cell(averaged(row.truth.floor))]
        line += [f"{row.auc.max():.3f}", f"{row.calibration.p_value:.2g}", _both(off)]
        lines.append([*line, _both(row.ratios.mean(axis=0)), f"{row.seconds:.0f}"])
    return [*heads, "sd over exact", "seconds"], lines


def _cell(found: Estimate) -> str:
    return f"{found.value:.3f} ± {found.error:.3f}"


def _both(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def text(found: Sequence[Measured]) -> str:
    """For the terminal."""
    heads, lines = _table(found)
    turned = [[head, *(line[i + 1] for line in lines)] for i, head in enumerate(heads[1:])]
    verdicts = [f"{row.case.file(row.network)}: {row.calibration.verdict}." for row in found]
    return "\n".join([aligned([heads[0], *(line[0] for line in lines)], turned), "", *verdicts])


def page(found: Sequence[Measured]) -> Page:
    """The page of the study."""
    first = found[0]
    n, draws = len(first.auc), first.draws.shape[1]
    good = all(row.calibration.ok for row in found)
    said = (
        f"AUC: of a classifier that tells {draws} draws from as many exact ones, the mean over "
        f"{n} simulations; the floor is that of exact draws against exact ones. Means are off by "
        "the root of the mean square, in exact standard deviations, a number for each parameter."
    )
    sections = [Section("All", [Table(*_table(found), said)])]
    for name in dict.fromkeys(row.case.name for row in found):
        rows = [row for row in found if row.case.name == name]
        blocks: list[Block] = [Prose(rows[0].case.about), _pictures(rows)]
        for row in rows:
            if len(rows) > 1:
                blocks.append(Heading(f"Calibration: {row.network}"))
            blocks += _calibration(row)
        sections.append(Section(rows[0].case.title, blocks))
    lead = [
        "Flows learn p(parameters | data) from simulations alone, under what a network makes of "
        "the data; a draw given new data costs one pass. Here the exact posterior is "
        "known, and shown beside."
    ]
    lead += [
        f"{row.case.title}, {row.network}: {row.calibration.verdict}. AUC {_cell(row.mean_auc)}."
        for row in found
    ]
    badge, tone = ("calibrated", "good") if good else ("not calibrated", "bad")
    return Page("Posteriors for any data", lead, sections, badge, tone)


def _calibration(row: Measured) -> list[Block]:
    found = row.calibration
    head, *lines = found.table()
    share = 100 * (1 - found.alpha)
    caption = (
        f"Ranks of the truth less uniform ones; the band holds all in {share:g} % of right fits."
    )
    return [
        Image.of(calibration_plot(found), f"ranks, {row.case.title}, {row.network}", caption),
        Table(list(head), [list(line) for line in lines], "Coverage in per cent."),
        Preformatted(f"{found}\n\n{row.result.health}", "reports", folded=True),
    ]


def _pictures(rows: Sequence[Measured]) -> Image:
    """Draws of some posteriors: exact ones above, learned ones below."""
    truth = rows[0].truth
    across = min(_SHOWN, len(truth.x))
    named = [("exact", truth.draws, "#333333")]
    named += [(row.network, row.draws, COLOURS[i]) for i, row in enumerate(rows)]
    first, second = (_label(p) for p in rows[0].case.parameters)
    with style():
        figure = new_figure(2.2 * across + 0.6, 2.1 * len(named) + 0.4, layout="constrained")
        grid = figure.subplots(len(named), across, squeeze=False, sharex="col", sharey="col")
        for axes_row, (name, draws, colour) in zip(grid, named, strict=True):
            for i, axes in enumerate(axes_row):
                x, y = draws[i, :_POINTS].T
                axes.plot(x, y, ".", ms=2, alpha=0.5, mew=0, color=colour, rasterized=True)
                axes.plot(*truth.theta[i], "x", color=COLOURS[1], ms=6)
                axes.locator_params(nbins=4)
            axes_row[0].set_ylabel(f"{name}\n{second}")
        for axes in grid[-1]:
            axes.set_xlabel(first)
    caption = "Draws of the posterior, a simulation in each column; the cross made it."
    return Image.of(figure, f"{rows[0].case.title}, exact and learned posteriors", caption)


def _label(parameter: Any) -> str:
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    return f"${parameter.label}${unit}"
