"""What was measured of a result, and the limits within which it is believed."""

from dataclasses import dataclass, field
from typing import Literal

from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics.energy import EnergyDistance
from posterion.diagnostics.metropolis import ExactChain
from posterion.diagnostics.modes import ModeComparison
from posterion.diagnostics.weights import NonFinite, WeightReport
from posterion.diagnostics.witness import Divergences, ExactSampleEss

__all__ = ["CrossChains", "Findings", "Thresholds"]

Number = float | int


@register("cross_chains")
@dataclass(frozen=True)
class CrossChains:
    """A short run of Markov chains from dispersed starts, to compare the flow with.

    Args:
        method: such as ``"NUTS"``.
        chains: their number.
        draws: of all chains together.
        r_hat: the largest rank-normalised split R-hat of the parameters.
        ess_bulk: the smallest bulk effective sample size.
        ess_tail: the smallest tail effective sample size.
        divergences: divergent transitions; None for a method without them.
    """

    method: str
    chains: int
    draws: int
    r_hat: Number
    ess_bulk: Number
    ess_tail: Number
    divergences: int | None = None


@dataclass(frozen=True)
class Findings:
    """Measured numbers, from which `assess` draws its verdict; None is what was not measured.

    Args:
        name: of the target.
        stop: how learning ended.
        weights: of the flow's own draws.
        chain: the independence Metropolis chain over them.
        exact: ESS at independent points of the posterior.
        divergences: both Kullback-Leibler divergences and their gap.
        witness: where the independent points come from.
        witness_evidence: the witness's own log Z.
        cross: a run of Markov chains.
        distance: of the exact chain over the flow's draws to the cross-check chains: what weights
            mend does not count, what the flow cannot reach does.
        modes: shares of the flow's draws and of the witness in the witness's modes.
        density: non-finite values met in density calls of all purposes; a remark only.
        measure: the priors or reference measure, and how far modes were searched for: sentences.
        calls: density calls by purpose, such as scouting, learning, health.
        seconds: wall time by purpose, such as learning, compiling, health.
        notes: whatever else the reader must know.
    """

    name: str = ""
    stop: Literal["finished", "budget", "interrupted", "failed"] = "finished"
    weights: WeightReport | None = None
    chain: ExactChain | None = None
    exact: ExactSampleEss | None = None
    divergences: Divergences | None = None
    witness: str = "SMC"
    witness_evidence: Estimate | None = None
    cross: CrossChains | None = None
    distance: EnergyDistance | None = None
    modes: ModeComparison | None = None
    density: NonFinite | None = None
    measure: tuple[str, ...] = ()
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, Number] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thresholds:
    """The limits of the verdict; every one can be set.

    Args:
        ess_fraction: ESS / N of the flow's own weights, at least.
        k_hat: of the flow's own weights, below (less for few draws, see `k_hat_limit`).
        largest_weight: over the mean weight; where none exceeds it, a large k-hat is of no
            consequence and only a warning.
        exact_ess_fraction: ESS / N at independent points of the posterior, at least.
        exact_k_hat_warning: of p / q at these points; a warning above: the mean is noisy.
        exact_k_hat: likewise, a failure above: at 1 the importance weights have no variance.
        blind: by how much the ESS at independent points may fall short of the flow's own before it
            is the flow's blindness, not its fit, that fails.
        evidence_difference: of log Z to the witness's; smaller ones never fail,
        evidence_pull: nor do those below so many standard errors.
        gap: of the forward divergence as two samples see it, in nats; likewise with
        gap_pull: in standard errors.
        not_finite: share of the flow's draws where the density is NaN or +inf.
        outside: share of the flow's draws where p = 0; a warning above.
        autocorrelation: of the exact chain; a warning above.
        r_hat: of the cross-check chains: above, they are no witness.
        chain_ess: their bulk effective sample size: below, they are no witness.
        divergent: share of divergent transitions: above, they are no witness.
        distance_z: significance of the flow's distance to the chains, at most.
        mode_ratio: a mode is missed where the flow has less than so much of the witness's share,
        mode_pull: by more than so many standard errors.

    Raises:
        SettingError: a limit is negative or NaN.
    """

    ess_fraction: Number = 0.85
    k_hat: Number = 0.7
    largest_weight: Number = 10.0
    exact_ess_fraction: Number = 0.9
    exact_k_hat_warning: Number = 0.7
    exact_k_hat: Number = 1.0
    blind: Number = 0.1
    evidence_difference: Number = 0.05
    evidence_pull: Number = 3.0
    gap: Number = 0.05
    gap_pull: Number = 4.0
    not_finite: Number = 1e-3
    outside: Number = 0.01
    autocorrelation: Number = 2.0
    r_hat: Number = 1.05
    chain_ess: Number = 100
    divergent: Number = 0.01
    distance_z: Number = 4.5
    mode_ratio: Number = 0.5
    mode_pull: Number = 4.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise SettingError(f"thresholds: {name} must not be negative, got {value}")
