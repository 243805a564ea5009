"""The study ``neutrinos``: learn the six oscillation parameters from NuFIT's tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.studies.base import Outcome, Study
from posterion.studies.neutrinos.options import Settings

if TYPE_CHECKING:
    from posterion.studies.neutrinos.checking import Checked


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn, compare, and write bundle, metrics, pictures and page to ``out``."""
    from posterion.studies.neutrinos.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Checked:
    """Measure the health of a saved result anew against the tables it was learned from."""
    from posterion.studies.neutrinos.checking import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "neutrinos",
    "six oscillation parameters from the tables of NuFIT, both mass orderings",
    Settings,
    run,
    check,
)
