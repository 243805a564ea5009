"""The page of an emulator: whether its error bars hold, and how it came about."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.columns import Column
from posterion.core.estimate import Estimate
from posterion.diagnostics.coverage import coverage, normal_probability
from posterion.emulators.assessing import SIGMAS, lacking_corrections, pulls_of
from posterion.emulators.emulator import Emulator
from posterion.emulators.predicting import means_of_networks
from posterion.emulators.surrogate import Surrogate
from posterion.emulators.tables import Columns
from posterion.reports.blocks import Block, Image, Preformatted, Prose, Section, Table
from posterion.reports.curves import training_plot
from posterion.reports.emulator_pictures import (
    coverage_plot,
    losses_plot,
    prediction_plot,
    pulls_plot,
    reliability_plot,
    traces_plot,
)
from posterion.reports.page import Page, write_page
from posterion.reports.posterior import closing_sections, tone_of

__all__ = ["emulator_page", "report"]

Floats = NDArray[np.float64]

_FEWEST = 20  # test rows that pictures are drawn from
_TRACED, _POINTS = 3, 50


def report(emulator: Surrogate, path: str | os.PathLike[str], **options: Any) -> None:
    """Write the page of an emulator: ``emulator.report("report.html")``.

    Args:
        emulator: as for `emulator_page`.
        path: the file to write.
        options: as `emulator_page`.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    write_page(path, emulator_page(emulator, **options))


def emulator_page(emulator: Surrogate, *, title: str | None = None) -> Page:
    """The page of an emulator, or of the one network in its place.

    Args:
        emulator: its pictures are drawn from the held-out rows that it keeps.
        title: of the page.
    """
    name = emulator.health.name
    sections = [Section("Health", [Preformatted(emulator.health.text(100))])]
    held = emulator.held
    if held is None or held.test.sum() < _FEWEST:
        text = f"There are fewer than {_FEWEST} held-out rows in the file to draw pictures from."
        sections.append(Section("Held-out rows", [Prose(text)]))
    else:
        x, y = held.x[held.test], held.y[held.test]
        of = _of_labels if emulator.head != "normal" else _of_numbers
        sections += of(emulator, x, y)
    if isinstance(emulator, Emulator):
        sections += _chains(emulator)
    if learning := _learning(emulator):
        sections.append(Section("Training", [learning]))
    sections.append(Section("Columns", [_columns(emulator)]))
    return Page(
        title=title or f"Emulator of {', '.join(emulator.targets.names)}{name and f': {name}'}",
        lead=[emulator.status.sentence],
        sections=[*sections, *closing_sections(emulator)],
        badge=emulator.status.value.replace("_", " "),
        tone=tone_of(emulator.status),
    )


def _of_numbers(emulator: Surrogate, x: Floats, y: Floats) -> list[Section]:
    pulls, found = pulls_of(emulator, x, y), emulator.predict(x)
    names = list(emulator.targets.names)
    rows: list[list[Any]] = []
    for i, name in enumerate(names):
        raw = coverage(pulls[:, i], SIGMAS)
        for k, sigmas in enumerate(SIGMAS):
            known = k < len(emulator.factors)
            factor = float(emulator.factors[k, i]) if known else None
            mended = coverage(pulls[:, i] / factor, (1,))[0] if factor else None
            promised = normal_probability(sigmas)
            line = [f"{sigmas} sd", round(100 * promised, 2), _percent(raw[k])]
            rows.append(
                [
                    name,
                    *line,
                    None if mended is None else _percent(mended),
                    None if factor is None else round(factor, 3),
                ]
            )
    heads = ["target", "interval", "promised [%]", "raw [%]", "corrected [%]", "half width [sd]"]
    caption = (
        f"Share of {len(x)} test rows within the interval, with binomial errors. The corrected one "
        "has the half width at the right, taken from other rows."
    )
    if lacking := lacking_corrections(emulator):
        caption += f" There is {lacking}."
    blocks: list[Block] = [
        Table(heads, rows, caption),
        Image.of(
            coverage_plot(pulls, emulator.factors, names),
            "Coverage against half width",
            "Share of the test rows within the raw interval (line) less what a normal promises. "
            "Grey, up to 99 % (2.58 sd): of right error bars the band holds the whole line in 99 "
            "of 100 cases. Circles: corrected, with their binomial errors.",
        ),
    ]
    mean, sd = (np.reshape(a, y.shape) for a in (found.mean, found.sd))
    columns = _labels(emulator.targets)
    beyond = int((np.abs(pulls) > 5).sum())
    return [
        Section("Coverage", blocks),
        Section(
            "Pulls",
            [
                Image.of(
                    pulls_plot(pulls, names),
                    "Histogram of pulls",
                    "Pulls of the test rows, in the units that are learned (with a logarithm, of "
                    f"that). Beyond 5, in the outermost bins: {beyond or 'none'}.",
                )
            ],
        ),
        Section(
            "Predictions",
            [
                Image.of(
                    prediction_plot(y, mean, sd, columns, emulator.targets.log.tolist()),
                    "Predictions against the truth",
                    "Left: test rows, at most a few hundred, with raw error bars of one sd. "
                    "Right: test rows in tenths by their predicted sd; on the dashed line "
                    "error bars are as large as the errors.",
                )
            ],
        ),
    ]


def _of_labels(emulator: Surrogate, x: Floats, y: Floats) -> list[Section]:
    p, name = emulator.predict(x).probability, emulator.targets.names[0]
    if emulator.head == "categorical":
        right, sure = (p.argmax(axis=1) == y[:, 0]) * 1.0, p.max(axis=1)
        label = f"probability of the likeliest class of {name}"
    else:
        right, sure, label = y.ravel(), p.ravel(), f"probability of {name}"
    caption = (
        f"{len(x)} test rows in tenths of the corrected probability, with binomial errors and the "
        "number of rows; on the dashed line probabilities are frequencies."
    )
    picture = reliability_plot(np.clip(sure, 0, 1), right, label)
    return [Section("Calibration", [Image.of(picture, "Frequency against probability", caption)])]


def _chains(emulator: Emulator) -> list[Section]:
    """Traces of what chains predict; networks of approximations, or reweighted ones, have none."""
    chain = emulator.health.check("divergent transitions") is not None
    if not chain or emulator.held is None or emulator.theta.shape[1] < 4:
        return []
    points = emulator.held.x[:_POINTS]
    scaled = emulator.inputs.scaled(points)
    means = means_of_networks(emulator.joint, emulator.networks, scaled).astype(np.float64)
    if emulator.head == "normal":
        columns, of_log = emulator.targets, emulator.targets.log[0]
        means = columns.location[0] + columns.scale[0] * means[:, :, 0]
        said = f"log {columns.names[0]}" if of_log else axis_of(columns)
    else:
        means, said = means[:, :, 0], f"probability of {emulator.targets.names[0]}"
    means = means.reshape(*emulator.theta.shape[:2], len(points))
    names = emulator.inputs.names[:3]
    labels = [
        f"{said} at " + ", ".join(f"{n} = {v:.4g}" for n, v in zip(names, row, strict=False))
        for row in points[:_TRACED]
    ]
    picture = traces_plot(means, labels)
    caption = (
        f"Above: what the networks of each chain predict at {len(labels)} held-out points, one "
        f"colour a chain. Below: autocorrelation of such predictions at {len(points)} points, "
        "median and 68 %."
    )
    return [Section("Chains", [Image.of(picture, "Traces of predictions", caption)])]


def axis_of(columns: Columns) -> str:
    """Name and unit of the first column."""
    unit = columns.units[0]
    return f"{columns.names[0]} [{unit}]" if unit else columns.names[0]


def _learning(emulator: Surrogate) -> Image | None:
    history = emulator.history
    if not len(history.get("loss", ())):
        return None
    if "chain" in history:
        caption = "Of each warm start: the networks from which the chains began."
        return Image.of(losses_plot(history), "Loss against epoch", caption)
    caption = "Loss on points that chose the epoch."
    return Image.of(training_plot(history), "Loss against epoch", caption)


def _columns(emulator: Surrogate) -> Table:
    rows = []
    for role, columns in (("input", emulator.inputs), ("target", emulator.targets)):
        for i, name in enumerate(columns.names):
            ends = float(columns.low[i]), float(columns.high[i])
            rows.append([name, role, columns.units[i] or "1", *ends, bool(columns.log[i])])
    heads = ["column", "role", "unit", "least", "greatest", "logarithm"]
    of = "" if isinstance(emulator, Emulator) else " of the emulator that was distilled"
    caption = f"Range of the training rows{of}; beyond it a prediction is flagged."
    return Table(heads, rows, caption)


def _labels(columns: Columns) -> list[Column]:
    return [Column(*pair) for pair in zip(columns.names, columns.units, strict=True)]


def _percent(found: Estimate) -> Estimate:
    return Estimate(100 * found.value, 100 * found.error)
