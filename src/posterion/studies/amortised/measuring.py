"""What a learned posterior is worth: calibration, and how it differs from the exact one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.estimate import Estimate
from posterion.diagnostics import Calibration
from posterion.studies.amortised.cases import Case
from posterion.studies.amortised.options import Settings
from posterion.training import Fit, check_calibration, classify
from posterion.training.conditional import flat_draws

__all__ = ["Measured", "Truth", "calibrated", "exact", "measured"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """Exact posteriors of some simulations.

    Attributes:
        theta: the parameters that made them, ``(n, d)``.
        x: the simulations, one a row.
        draws: exact, ``(n, draws, d)``.
        floor: AUC of these against as many other exact draws, ``(n,)``: what chance allows.
    """

    theta: Floats
    x: Floats
    draws: Floats
    floor: Floats


@dataclass(frozen=True, eq=False)
class Measured:
    """One learned posterior.

    Attributes:
        case: of what.
        network: that summarises the data.
        result: the fit.
        seconds: of learning.
        calibration: over the whole prior.
        truth: exact posteriors.
        draws: learned, as the exact ones.
        auc: of either against the other, ``(n,)``.
    """

    case: Case
    network: str
    result: Fit
    seconds: float
    calibration: Calibration
    truth: Truth
    draws: Floats
    auc: Floats

    @property
    def key(self) -> str:
        """Of its figures."""
        return self.case.file(self.network).replace(" ", "-")

    @property
    def mean_auc(self) -> Estimate:
        """Over the simulations, with the error of that mean."""
        return averaged(self.auc)

    @property
    def pulls(self) -> Floats:
        """Learned less exact mean in exact standard deviations, ``(n, d)``."""
        exact = self.truth.draws
        return (self.draws.mean(axis=1) - exact.mean(axis=1)) / exact.std(axis=1)

    @property
    def ratios(self) -> Floats:
        """Learned over exact standard deviation, ``(n, d)``."""
        return self.draws.std(axis=1) / self.truth.draws.std(axis=1)


def averaged(values: Floats) -> Estimate:
    """The mean, and its error by the spread."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Estimate(float(values.mean()), float(error))


def exact(case: Case, settings: Settings, seed: int) -> Truth:
    """Exact posteriors of fresh simulations, and what chance allows."""
    rng = np.random.default_rng([seed, 141])
    theta, x = case.simulated(settings.observed, rng)
    n = settings.compared
    draws = np.stack([case.posterior(row, n, rng) for row in x])
    again = [case.posterior(row, n, rng) for row in x]
    floor = [classify(a, b, seed=seed).auc.value for a, b in zip(draws, again, strict=True)]
    return Truth(theta, x, draws, np.array(floor))


def calibrated(case: Case, result: Any, pairs: int, draws: int, seed: int) -> Calibration:
    """The calibration on fresh simulations."""
    theta, x = case.simulated(pairs, np.random.default_rng([seed, 142]))
    return check_calibration(result, case.theta(theta), case.context(x), draws=draws, seed=seed)


def measured(
    case: Case,
    network: str,
    result: Fit,
    seconds: float,
    truth: Truth,
    settings: Settings,
    seed: int,
) -> Measured:
    """A fit, calibrated and compared with exact posteriors."""
    found = calibrated(case, result, settings.pairs, settings.draws, seed)
    seen = case.context(truth.x)
    draws = flat_draws(result.sample(settings.compared, context=seen, seed=seed + 1))
    auc = [classify(a, b, seed=seed).auc.value for a, b in zip(truth.draws, draws, strict=True)]
    return Measured(case, network, result, seconds, found, truth, draws, np.array(auc))
