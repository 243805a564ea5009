"""The words, the figures and the page of the study."""

from collections.abc import Callable, Sequence

import numpy as np

from posterion.core.estimate import Estimate
from posterion.reports import Page, Prose, Section, Table
from posterion.studies.base import Figure
from posterion.studies.likelihoods.rows import aligned
from posterion.studies.pendulum.measuring import RANGES, Measured
from posterion.studies.pendulum.methods import EXACT, TITLES
from posterion.studies.pendulum.options import Settings
from posterion.studies.pendulum.pictures import coverage_picture, errors_picture
from posterion.studies.pendulum.published import CORRELATION, COVERAGE, SOURCE, SQUARED_ERROR

__all__ = ["figures_of", "page", "text"]

_QUANTITIES: dict[str, Callable[[Measured], float | None]] = {
    "correlation": lambda m: m.correlation,
    "squared_error": lambda m: m.squared_error,
    **{f"coverage_error.{name}": (lambda m, name=name: m.coverage.get(name)) for name in RANGES},
    **{f"pull.{name}": (lambda m, name=name: m.ratio.get(name)) for name in RANGES},
    "seconds": lambda m: m.seconds,
}
_HEADS = {
    "correlation": "correlation",
    "squared_error": "squared error",
    **{f"coverage_error.{name}": f"coverage error, {name}" for name in RANGES},
    **{f"pull.{name}": f"rms pull, {name}" for name in RANGES},
    "seconds": "seconds",
}


def _published(method: str, noise: float, name: str) -> float | None:
    if name == "correlation":
        return CORRELATION.get(method, {}).get(noise)
    if name == "squared_error":
        return SQUARED_ERROR.get(method) if noise == 0.2 else None
    return COVERAGE.get(method, {}).get(name.removeprefix("coverage_error."))


def _over_seeds(found: Sequence[Measured], name: str) -> Estimate | None:
    """Mean over the seeds and their standard deviation."""
    values = [_QUANTITIES[name](m) for m in found]
    numbers = [v for v in values if v is not None]
    if not numbers:
        return None
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return Estimate(float(np.mean(numbers)), spread)


def _grouped(found: Sequence[Measured]) -> dict[float, dict[str, list[Measured]]]:
    """By noise, then by method."""
    groups: dict[float, dict[str, list[Measured]]] = {}
    for one in found:
        groups.setdefault(one.noise, {}).setdefault(one.method, []).append(one)
    return groups


def figures_of(found: Sequence[Measured]) -> dict[str, Figure]:
    """Every number beside what the exact posterior and the published methods reach."""
    figures: dict[str, Figure] = {}
    for noise, methods in _grouped(found).items():
        for method, several in methods.items():
            for name in _QUANTITIES:
                value = _over_seeds(several, name)
                if value is None:
                    continue
                exact = _over_seeds(methods[EXACT], name) if method != EXACT else None
                published = _published(method, noise, name)
                key = f"{noise:g}.{method}.{name.replace(' ', '_')}"
                figures[key] = Figure(
                    value.value,
                    floor=exact.value if exact and not name.startswith("seconds") else None,
                    published=published,
                    source=None if published is None else SOURCE,
                )
                if value.error:
                    figures[f"{key}.spread"] = Figure(value.error)
    return figures


def _table(methods: dict[str, list[Measured]], noise: float) -> tuple[list[str], list[list[str]]]:
    lines = []
    for method, several in methods.items():
        found = [_over_seeds(several, name) for name in _QUANTITIES]
        cells = [_cell(name, value) for name, value in zip(_QUANTITIES, found, strict=True)]
        lines.append([TITLES[method], *cells])
        beside = [_published(method, noise, name) for name in _QUANTITIES]
        if any(value is not None for value in beside):
            told = ["" if v is None else f"{v:.3g}" for v in beside]
            lines.append([f"{TITLES[method]}, published", *told])
    return ["", *_HEADS.values()], lines


def _cell(name: str, value: Estimate | None) -> str:
    if value is None:
        return ""
    if name == "seconds":
        return f"{value.value:.0f}"
    digits = 4 if name.startswith(("coverage", "squared")) else 3
    spread = f" ± {value.error:.{digits}f}" if value.error else ""
    return f"{value.value:.{digits}f}{spread}"


def text(found: Sequence[Measured]) -> str:
    """For the terminal."""
    parts = []
    for noise, methods in _grouped(found).items():
        parts.append(f"Noise of a period from 1 % to {100 * noise:g} %")
        heads, lines = _table(methods, noise)
        turned = [[head, *(line[i + 1] for line in lines)] for i, head in enumerate(heads[1:])]
        parts.append(aligned([heads[0], *(line[0] for line in lines)], turned) + "\n")
    return "\n".join(parts)


def page(found: Sequence[Measured], settings: Settings) -> Page:
    """The page of the study."""
    sections = [Section("What is measured, and what is asked", [Prose(_PROTOCOL)])]
    for noise, methods in _grouped(found).items():
        first = {method: several[0] for method, several in methods.items()}
        sections.append(
            Section(
                f"Noise from 1 % to {100 * noise:g} %",
                [
                    Table(*_table(methods, noise)),
                    coverage_picture(first, noise),
                    errors_picture(first, noise),
                ],
            )
        )
    seeds = "one seed" if settings.seeds == 1 else f"{settings.seeds} seeds, mean and spread"
    lead = [
        f"{len(settings.methods)} methods, {settings.train} pendulums to learn from, {seeds}.",
        "Every figure stands beside that of the exact posterior.",
    ]
    return Page("Gravity from a pendulum, and how sure of it", lead, sections)


_PROTOCOL = (
    f"The protocol of {SOURCE}. Gravity is uniform from 5 to 15 m/s², the length from 0.2 to 0.8 m "
    "and measured to 2 %; ten periods each have a noise that differs from pendulum to pendulum. "
    "Correlation: of the aleatoric error with the one propagated by hand, both over gravity. "
    "Coverage error: mean difference of what central intervals hold from what they promise, from "
    "1 % to 100 %; the exact posterior has that of so few pendulums. Out of range, pendulums are "
    "longer than any that was learned from: the exact posterior still holds them for no longer "
    "than 0.8 m, and is wrong. Networks of a Gaussian give one normal of both variances, as "
    "published; the published methods see the features as they are, the others logarithms of "
    "length and periods, in which gravity is nearly linear. Quantile networks and "
    "flows give their mixture, and they are told that gravity lies within 5 and 15 m/s²."
)
