"""The study ``likelihood-conditional``: the toy likelihood's posterior for any counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.studies.base import Outcome, Study
from posterion.studies.likelihood_conditional.options import Settings

if TYPE_CHECKING:
    from posterion.diagnostics import Health


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Simulate, fit, calibrate, compare, and write the bundle, metrics and page."""
    from posterion.studies.likelihood_conditional.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Health:
    """Calibrate a saved result of this study anew, on fresh pairs; generated inputs only.

    Raises:
        SettingError: it is not of this study, or of inputs from a file.
    """
    from posterion.studies.likelihood_conditional.running import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "likelihood-conditional",
    "the toy likelihood's posterior for any counts: one flow, checked by calibration",
    Settings,
    run,
    check,
)
