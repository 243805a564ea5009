"""Running the study: simulate, fit, calibrate, compare with exact posteriors."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.versions import versions
from posterion.diagnostics import Health
from posterion.reports import write_page
from posterion.studies.amortised.cases import Case, cases
from posterion.studies.amortised.measuring import Measured, calibrated, exact, measured
from posterion.studies.amortised.options import Settings
from posterion.studies.amortised.page import figures_of, page, text
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.calibrations import health_of
from posterion.studies.keeping import Run, kept
from posterion.training import Fit, fit

__all__ = ["check_result", "run_study"]

STUDY_NAME = "amortised"


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Simulate, fit, calibrate, compare; write the bundles, ``metrics.json`` and ``report.html``.

    Raises:
        CheckpointError: what is to be resumed is of another run.
    """
    began = time.perf_counter()
    numbers = {name: value for name, value in vars(settings).items() if name != "case"}
    identity = {"seed": seed, "posterion": versions()["posterion"]} | numbers
    run = Run(STUDY_NAME, identity, seed, out, resume)
    found: list[Measured] = []
    for case in cases(settings):
        theta, x = case.simulated(settings.train, np.random.default_rng([seed, 140]))
        learned = {
            network: kept(run, case.file(network), partial(_fitted, run, case, network, theta, x))
            for network in case.flows
        }
        truth = exact(case, settings, seed)
        found += [
            measured(case, network, result, seconds, truth, settings, seed)
            for network, (result, seconds) in learned.items()
        ]
    metrics, report = out / "metrics.json", out / "report.html"
    write_metrics(metrics, STUDY_NAME, seed, time.perf_counter() - began, figures_of(found))
    write_page(report, page(found))
    bundles = [run.path(row.case.file(row.network)) for row in found]
    return Outcome(text(found), (*bundles, report, metrics))


def _fitted(run: Run, case: Case, network: str, theta: Any, x: Any) -> Fit:
    return fit(
        case.flows[network](run.seed),
        case.theta(theta),
        context=case.context(x),
        parameters=case.parameters,
        epochs=case.longer * run.identity["epochs"],
        seed=run.seed,
        checkpoint=run.checkpoint(case.file(network)),
        resume=run.resume,
        name=case.file(network),
        **case.settings,
    )


def check_result(result: Any, *, seed: int) -> Health:
    """Calibrate a saved result anew, on fresh simulations.

    Raises:
        SettingError: it is not one that this study learned.
    """
    if not isinstance(result, Fit) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError(f"the result is not one that {STUDY_NAME!r} learned")
    part = result.provenance["part"]
    settings = Settings(**{k: v for k, v in part.items() if k in vars(Settings())})
    case = next(c for c in cases(settings) if result.name in map(c.file, c.flows))
    found = calibrated(case, result, settings.pairs, settings.draws, seed)
    return health_of(found, result)
