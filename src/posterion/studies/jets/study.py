"""The study ``jets``: what a detector makes of a jet, and back."""

from __future__ import annotations

from pathlib import Path

from posterion.studies.base import Outcome, Study
from posterion.studies.jets.options import Settings


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Generate, learn, judge, and write bundles, metrics and page."""
    from posterion.studies.jets.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


STUDY = Study(
    "jets",
    "jets: the response of a detector and its correction, 1000 times faster than the simulation",
    Settings,
    run,
)
