"""The study ``amortised``: posteriors for any data, from simulations, beside the exact ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.studies.amortised.options import Settings
from posterion.studies.base import Outcome, Study

if TYPE_CHECKING:
    from posterion.diagnostics import Health


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Simulate, fit, calibrate, compare, and write the bundles, metrics and page."""
    from posterion.studies.amortised.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Health:
    """Calibrate a saved result of this study anew, on fresh simulations.

    Raises:
        SettingError: it is not of this study.
    """
    from posterion.studies.amortised.running import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "amortised",
    "posteriors for any data from simulations: two moons, an epidemic, sets of measurements",
    Settings,
    run,
    check,
)
