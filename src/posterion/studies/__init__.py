"""The physics cases that come with Posterion: one folder each, found by its ``study.py``."""

import difflib
from importlib import import_module
from pathlib import Path

from posterion.core.errors import SettingError
from posterion.studies.base import Figure, Outcome, Study, read_metrics, write_metrics

__all__ = [
    "Figure",
    "Outcome",
    "Study",
    "all_studies",
    "find_study",
    "read_metrics",
    "study_names",
    "write_metrics",
]


def study_names() -> tuple[str, ...]:
    """The names of all studies, in order of the alphabet; nothing is imported."""
    folders = (path.parent for room in __path__ for path in Path(room).glob("*/study.py"))
    return tuple(sorted(folder.name.replace("_", "-") for folder in folders))


def find_study(name: str) -> Study:
    """The study of that name.

    Raises:
        SettingError: there is none; the message lists the known ones and the nearest.
    """
    names = study_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        question = f" Did you mean {near[0]!r}?" if near else ""
        raise SettingError(f"there is no study {name!r}.{question} Known: {', '.join(names)}")
    return import_module(f"posterion.studies.{name.replace('-', '_')}.study").STUDY


def all_studies() -> dict[str, Study]:
    """All studies by name."""
    return {name: find_study(name) for name in study_names()}
