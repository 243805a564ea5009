"""What every study has, and the one form of its ``metrics.json``."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from posterion.core import portable
from posterion.core.errors import SettingError, TableError
from posterion.core.files import write_json
from posterion.core.versions import versions

__all__ = ["Figure", "Outcome", "Study", "read_metrics", "write_metrics"]


@dataclass(frozen=True)
class Outcome:
    """What a run of a study gives to whoever started it.

    Args:
        text: for the terminal: the health of each result.
        files: what was written.
    """

    text: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Study:
    """One physics case. A folder ``studies/<name>/`` with ``study.py`` holds it as ``STUDY``.

    Args:
        name: that of its folder.
        summary: one line for the list of studies.
        settings: a frozen dataclass; each field is a setting, made with
            `posterion.studies.settings.setting`, and an option of ``posterion run <name>``.
        run: ``run(settings, *, seed, out, resume)`` learns, and writes ``<name>.posterion``,
            ``report.html`` and ``metrics.json`` to the folder ``out``. With ``resume`` it goes on
            from the checkpoints there.
        check: ``check(result, *, seed)`` measures the health of a saved result of this study anew,
            against the density; None if the study has no density.
    """

    name: str
    summary: str
    settings: type[Any]
    run: Callable[..., Outcome]
    check: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Figure:
    """One number of a study beside what it is measured against; None where there is nothing.

    Args:
        value: ours.
        truth: the exact value.
        published: what the literature states.
        floor: what a perfect result would give, by the finite number of draws alone.
        source: where ``truth`` or ``published`` comes from.
    """

    value: Any
    truth: Any = None
    published: Any = None
    floor: Any = None
    source: str | None = None


@dataclass(frozen=True)
class Metrics:
    """The content of a ``metrics.json``."""

    study: str
    seed: int
    seconds: float | int
    versions: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)


def write_metrics(
    path: str | os.PathLike[str],
    study: str,
    seed: int,
    seconds: float | int,
    figures: Mapping[str, Any],
) -> None:
    """Write ``metrics.json`` in the form that all studies share.

    Args:
        path: the file.
        study: the study's name.
        seed: the run's seed.
        seconds: wall time of the whole run.
        figures: by name, such as ``"NO.ess_fraction"``: a `Figure`, a mapping with some of its
            fields, or the value alone.

    Raises:
        SettingError: a figure has an unknown field, no value, or a value that is no number.
        OutputError: the file could not be written; what was there before is still there.
    """
    made = {name: asdict(_figure(name, figure)) for name, figure in figures.items()}
    whole = Metrics(study, seed, seconds, versions())
    write_json(path, asdict(whole) | {"figures": made})


def read_metrics(path: str | os.PathLike[str]) -> Metrics:
    """Read a ``metrics.json``.

    Raises:
        TableError: the file is missing or not of that form.
    """
    try:
        content = portable.loads(Path(path).read_bytes())
        figures = {name: Figure(**figure) for name, figure in content.pop("figures").items()}
        return Metrics(**content, figures=figures)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TableError(f"{path} is no metrics.json: {error}") from error


def _figure(name: str, figure: Any) -> Figure:
    if not isinstance(figure, (Figure, Mapping)):
        figure = Figure(figure)
    if isinstance(figure, Mapping):
        known = {f.name for f in fields(Figure)}
        if not figure.keys() <= known or "value" not in figure:
            raise SettingError(
                f"the figure {name!r} has the fields {', '.join(figure)}; it needs 'value' and may "
                f"have {', '.join(sorted(known - {'value'}))}"
            )
        figure = Figure(**figure)
    for key in ("value", "truth", "published", "floor"):
        number = getattr(figure, key)
        if number is not None:
            try:
                math.isfinite(number)
            except TypeError as error:
                raise SettingError(
                    f"the figure {name!r}: {key} = {number!r} is no number"
                ) from error
    return figure
