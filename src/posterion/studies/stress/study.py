"""The study ``stress``: targets of exact truth, each learned with the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.studies.base import Outcome, Study
from posterion.studies.stress.options import Settings

if TYPE_CHECKING:
    from posterion.diagnostics import Health


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn each target, measure it against its truth, and write bundles, metrics and page."""
    from posterion.studies.stress.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result of this study anew.

    Raises:
        SettingError: it is not of this study.
    """
    from posterion.studies.stress.running import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "stress",
    "ten targets of exact truth: modes, ring, funnel, bananas, walls, torus, 50 dimensions",
    Settings,
    run,
    check,
)
