"""The study ``pendulum``: what ten measured periods say of gravity, with two kinds of error."""

from __future__ import annotations

from pathlib import Path

from posterion.studies.base import Outcome, Study
from posterion.studies.pendulum.options import Settings


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Simulate, learn by each method, judge, and write bundles, metrics and page."""
    from posterion.studies.pendulum.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


STUDY = Study(
    "pendulum",
    "gravity from a pendulum: two kinds of error by seven methods, beside the exact posterior",
    Settings,
    run,
)
