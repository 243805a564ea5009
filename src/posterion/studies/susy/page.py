"""The words, the figures and the page of the study."""

from collections.abc import Mapping
from typing import Any

from posterion.core.estimate import Estimate
from posterion.diagnostics.coverage import normal_probability
from posterion.emulators.assessing import lacking_corrections
from posterion.reports import Page, Preformatted, Prose, Section, Table
from posterion.reports.blocks import Block
from posterion.reports.posterior import tone_of
from posterion.studies.base import Figure
from posterion.studies.likelihoods.rows import aligned
from posterion.studies.susy.measuring import Measured
from posterion.studies.susy.pictures import planes, predicted_and_true
from posterion.studies.susy.published import MINUTES_A_POINT, PUBLISHED, SOURCE
from posterion.studies.susy.tasks import TASKS, Task
from posterion.studies.susy.timing import Timing

__all__ = ["figures_of", "page", "text"]

Found = Mapping[str, list[Measured]]

_HEADS = {
    "percent_error": "mean error, %",
    "percent_error_median": "median error, %",
    "percent_error_by_median": "mean error of the median, %",
    "covered_1": "within 1 sd",
    "covered_2": "2 sd",
    "covered_3": "3 sd",
    "covered_1_corrected": "1 sd corrected",
    "covered_2_corrected": "2 sd corrected",
    "covered_3_corrected": "3 sd corrected",
    "window.f1": "F1 of 123-127 GeV",
    "window_overlap.f1": "F1, 3 sd meet it",
    "accuracy": "accuracy",
    "calibration_error": "calibration error",
    "calibration_error_corrected": "calibration error, corrected",
    "mean.precision": "precision",
    "mean.recall": "recall",
    "mean.f1": "F1",
    "mean_plus_3_sd.precision": "precision, mean + 3 sd",
    "mean_plus_3_sd.recall": "recall, mean + 3 sd",
    "mean_plus_3_sd.f1": "F1, mean + 3 sd",
}


def figures_of(found: Found, timings: Mapping[str, Timing]) -> dict[str, Figure]:
    """Every number of every row, beside what was published."""
    figures: dict[str, Figure] = {}
    for task, rows in found.items():
        published = PUBLISHED[task]
        for row in rows:
            key = f"{task}.{row.sampler.replace(' ', '_')}"
            for name, number in row.figures.items():
                main = row is rows[0] and name in published
                figures[f"{key}.{name}"] = Figure(
                    number.value,
                    truth=_promised(name),
                    published=published[name] if main else None,
                    floor=row.floor if name.startswith("calibration_error") else None,
                    source=SOURCE if main else None,
                )
                if number.error:
                    figures[f"{key}.{name}.error"] = Figure(number.error)
            figures[f"{key}.seconds"] = Figure(row.seconds)
            for check in row.emulator.health.checks:
                if check.name.startswith(("R-hat", "effective")):
                    short = check.name.replace(" ", "_").replace(",", "").replace("%", "percent")
                    figures[f"{key}.{short}"] = Figure(check.value)
        for name, value in timings[task].figures().items():
            figures[f"{task}.{name}"] = Figure(value)
    return figures


def _promised(name: str) -> float | None:
    """What an interval promises to hold."""
    if not name.startswith("covered_"):
        return None
    return normal_probability(int(name.split("_")[1]))


def _table(task: Task, rows: list[Measured]) -> tuple[list[str], list[list[Any]]]:
    names = [name for name in _HEADS if name in rows[0].figures]
    lines: list[list[Any]] = []
    for row in rows:
        cells = [_cell(name, row.figures.get(name)) for name in names]
        networks = len(row.emulator.networks)
        lines.append([row.sampler, networks, *cells, f"{row.seconds:.0f}"])
    published = PUBLISHED[task.name]
    cells = [f"{published[n]:.4g}" if n in published else "" for n in names]
    lines.append([f"published, {task.train:,} rows".replace(",", " "), "", *cells, ""])
    if task.likelihood == "gaussian":
        wanted = [_promised(n) for n in names]
        lines.append(["promised", "", *("" if p is None else f"{p:.4f}" for p in wanted), ""])
    if rows[0].floor is not None:
        floor = [f"{rows[0].floor:.4f}" if n.startswith("calibration_error") else "" for n in names]
        lines.append(["floor", "", *floor, ""])
    return ["emulator", "networks", *(_HEADS[n] for n in names), "seconds"], lines


def _cell(name: str, found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{found.value:.3f}" if name.startswith("percent") else f"{found.value:.4f}"


def text(found: Found, timings: Mapping[str, Timing]) -> str:
    """For the terminal."""
    parts = []
    for name, rows in found.items():
        parts.append(TASKS[name].title)
        # One line a figure: a row of twelve columns fits on no terminal.
        heads, lines = _table(TASKS[name], rows)
        turned = [[head, *(line[i + 1] for line in lines)] for i, head in enumerate(heads[1:])]
        parts.append(aligned([heads[0], *(line[0] for line in lines)], turned))
        parts.append(timings[name].words())
        parts.append(str(rows[0].emulator.health.status.sentence) + "\n")
    return "\n".join(parts)


def page(found: Found, timings: Mapping[str, Timing], generated: bool) -> Page:
    """The page of the study.

    Args:
        found: rows of each task, the sampled networks first.
        timings: of each task.
        generated: whether the rows are those of the generator.
    """
    sections = [Section("Theory", [Prose(_GENERATOR if generated else _TABLE)])]
    lead = []
    for name, rows in found.items():
        task, emulator = TASKS[name], rows[0].emulator
        lead.append(f"{task.title}: {emulator.health.status.sentence}")
        blocks: list[Block] = [Table(*_table(task, rows)), Prose(timings[name].words())]
        if lacking := lacking_corrections(emulator):
            blocks.append(Prose(f"There is {lacking}."))
        blocks.append(predicted_and_true(task, rows[0]))
        if generated:
            blocks.append(planes(task, emulator))
        blocks.append(Preformatted(emulator.health.text(100), "health", folded=True))
        status = emulator.status
        sections.append(
            Section(task.title, blocks, status.value.replace("_", " "), tone_of(status))
        )
    good = all(rows[0].emulator.health.status.ok for rows in found.values())
    return Page(
        "Bayesian networks in place of supersymmetry codes",
        lead,
        sections,
        tone="good" if good else "warn",
    )


_GENERATOR = (
    "Nineteen parameters of the phenomenological MSSM to masses at tree level, the Higgs mass with "
    "the loops of the third generation, and the strong cross section at leading order times a "
    "factor for the next. This is a stand-in of some percent in masses and some ten percent in "
    f"cross sections for codes that take {MINUTES_A_POINT} minutes a point, not a prediction."
)
_TABLE = "The rows are those of your own table."
