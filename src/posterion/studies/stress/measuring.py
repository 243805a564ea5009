"""A learned stress target beside its exact truth."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.estimate import Estimate
from posterion.diagnostics import ExactSampleEss, exact_sample_ess
from posterion.diagnostics.verdict import FLOW_ESS
from posterion.studies.base import Figure
from posterion.studies.stress.targets import KnownTarget
from posterion.targets.target import unflatten_theta
from posterion.training import Posterior

__all__ = ["Measured", "exact_ess", "measure_known"]

_TOLERANCE = 0.1
_SOURCE = "by analysis or quadrature"


@dataclass(frozen=True, eq=False)
class Measured:
    """What came out at one target.

    Attributes:
        known: the target and its truth.
        result: what was learned.
        exact: ESS/N of the flow at exact draws.
        shares: of the flow's draws nearest to each centre, ``(m,)``.
        seconds: wall time of learning, compiling included.
    """

    known: KnownTarget
    result: Posterior
    exact: ExactSampleEss
    shares: np.ndarray
    seconds: float

    @property
    def mode_error(self) -> float:
        """The largest relative error of a mode's share."""
        return float(np.max(np.abs(self.shares / self.known.weights - 1)))

    @property
    def modes_found(self) -> int:
        """Modes whose share is within a tenth of the truth."""
        return int(np.sum(np.abs(self.shares / self.known.weights - 1) <= _TOLERANCE))

    @property
    def evidence_error(self) -> float:
        """Log evidence less the exact one."""
        return self.result.log_evidence.value - self.known.log_evidence

    def figures(self) -> dict[str, Figure]:
        """For ``metrics.json``, each name after that of the target."""
        health = self.result.health
        own = health.check(FLOW_ESS)
        compiling = health.seconds.get("compiling", 0.0)
        modes = len(self.known.weights)
        found: dict[str, Any] = {
            "ess_fraction": Figure(np.nan if own is None else own.value),
            "exact_ess_fraction": Figure(self.exact.fraction.value, source="at exact draws"),
            "exact_ess_error": Figure(self.exact.fraction.error),
            "exact_k_hat": Figure(self.exact.k_hat),
            "log_evidence": Figure(
                self.result.log_evidence.value, truth=self.known.log_evidence, source=_SOURCE
            ),
            "log_evidence_error": Figure(self.evidence_error, truth=0.0, source=_SOURCE),
            "modes_found": Figure(self.modes_found, truth=modes, source="within 10 % of its share"),
            "mode_error": Figure(self.mode_error, truth=0.0),
            "density_calls": Figure(health.calls.get("learning", 0)),
            "scouting_calls": Figure(health.calls.get("scouting", 0)),
            "health_calls": Figure(health.calls.get("health", 0)),
            "seconds": Figure(self.seconds),
            "compile_seconds": Figure(compiling),
            "converged": Figure(int(self.result.status.ok), source=self.result.status.name),
        }
        return {f"{self.known.name}.{name}": figure for name, figure in found.items()}


def exact_ess(posterior: Any, known: KnownTarget, *, draws: int, seed: int) -> ExactSampleEss:
    """ESS/N of the flow at exact draws of the target, with the exact evidence."""
    x = known.draw(np.random.default_rng([seed, 71]), draws)
    log_q = posterior.log_prob(unflatten_theta(posterior.parameters, x))
    ratio = known.target.evaluate(x) - known.log_evidence - log_q
    return exact_sample_ess(ratio, log_evidence=Estimate(0.0, 0.0))


def measure_known(
    result: Posterior, known: KnownTarget, *, draws: int, seed: int, seconds: float
) -> Measured:
    """Measure a learned target against its truth, with ``draws`` exact and learned draws each."""
    exact = exact_ess(result, known, draws=draws, seed=seed)
    x = result.sample(draws, seed=seed + 1)["x"]
    return Measured(known, result, exact, known.mode_fractions(x), seconds)
