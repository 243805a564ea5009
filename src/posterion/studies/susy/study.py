"""The study ``susy``: Bayesian networks in place of the theory codes of the pMSSM."""

from __future__ import annotations

from pathlib import Path

from posterion.studies.base import Outcome, Study
from posterion.studies.susy.options import Settings


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Scan, emulate, compare, and write bundles, metrics and page."""
    from posterion.studies.susy.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


STUDY = Study(
    "susy",
    "supersymmetry: cross section, Higgs mass and viability from 19 parameters, with error bars",
    Settings,
    run,
)
