"""The study ``likelihood-pyhf``: a HistFactory workspace, learned, checked and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.studies.base import Outcome, Study
from posterion.studies.likelihood_pyhf.options import Settings

if TYPE_CHECKING:
    from posterion.diagnostics import Health


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Sample, learn, compare, and write the bundle, metrics and page."""
    from posterion.studies.likelihood_pyhf.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result of this study anew; of our own workspace only.

    Raises:
        SettingError: it is not of this study, or of a workspace from a file.
    """
    from posterion.studies.likelihood_pyhf.running import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "likelihood-pyhf",
    "a HistFactory workspace (pyhf): from its JSON file to a checked bundle",
    Settings,
    run,
    check,
)
