"""Flows of known quality, the whole way from draws to the verdict.

Seeds are fixed; of the 20 good fits at most one may alarm, and of the bad ones at most one in
twenty may pass: here none does.
"""

import numpy as np
import pytest
from scipy.special import erf, logsumexp

from posterion.core.estimate import Estimate
from posterion.core.status import Status
from posterion.diagnostics import (
    Findings,
    Health,
    assess,
    compare_modes,
    divergences,
    energy_distance,
    exact_chain,
    exact_sample_ess,
    expected_autocorrelation,
    find_modes,
    independence_chain,
    weigh,
)


class Gaussians:
    """A mixture of Gaussians: weights (m,), centres (m, d), one scale each; cut in the first
    coordinate. The factor (2 pi)^(-d/2) is left out: it cancels in ratios.
    """

    def __init__(self, weights, centres, scales, cut: float = np.inf) -> None:
        self.weights, self.centres = np.array(weights), np.array(centres, dtype=float)
        self.scales, self.cut = np.array(scales, dtype=float), cut

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws whose first coordinate deviates by less than ``cut`` sigma."""
        label = rng.choice(self.weights.size, size=4 * n, p=self.weights)
        z = rng.normal(size=(4 * n, self.centres.shape[1]))
        z = z[keep := np.abs(z[:, 0]) < self.cut][:n]
        label = label[keep][:n]
        return self.centres[label] + self.scales[label, None] * z

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        z = (x[:, None] - self.centres) / self.scales[:, None]
        d = x.shape[1]
        terms = np.log(self.weights) - (z**2).sum(2) / 2 - d * np.log(self.scales)
        inside = np.where(np.abs(z[..., 0]) < self.cut, terms, -np.inf)
        return logsumexp(inside, axis=1) - np.log(erf(self.cut / np.sqrt(2)))


def measure(p: Gaussians, q: Gaussians, seed: int) -> Health:
    """What a verb does with a flow q: its draws, particles of p, an independent log Z, chains."""
    rng = np.random.default_rng(seed)
    draws, particles, chains = q.sample(10_000, rng), p.sample(2000, rng), p.sample(1000, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = p.log_prob(draws) - q.log_prob(draws)
        ratio = p.log_prob(particles) - q.log_prob(particles)
    exact = draws[independence_chain(weights, seed=seed).indices]
    report = weigh(weights)
    worth = (10_000 / expected_autocorrelation(weights), 1000)
    modes = find_modes(particles, log_density=p.log_prob(particles))
    return assess(
        Findings(
            weights=report,
            chain=exact_chain(weights, draws, seed=seed),
            exact=exact_sample_ess(ratio, log_evidence=report.log_evidence),
            divergences=divergences(weights, ratio),
            witness_evidence=Estimate(0.03 * rng.normal(), 0.03),  # log Z of p is 0 like that of q
            distance=energy_distance(exact, chains, seed=seed, n_effective=worth, limit=500),
            modes=compare_modes(
                modes.fractions_of(draws[:4000]), modes.fractions, n_flow=4000, n_witness=500
            ),
        )
    )


ONE, TWO = [[0.0, 0.0, 0.0]], [[3.0, 3.0, 3.0], [-3.0, -3.0, -3.0]]
GOOD_FLOWS = {
    "slightly wide": (Gaussians([1], ONE, [1]), Gaussians([1], ONE, [1.1])),
    "slightly shifted": (Gaussians([1], ONE, [1]), Gaussians([1], [[0.1, 0.1, 0.1]], [1])),
    "perfect": (Gaussians([1], ONE, [1]), Gaussians([1], ONE, [1])),
    "two modes, shares off": (
        Gaussians([0.7, 0.3], TWO, [1, 1]),
        Gaussians([0.6, 0.4], TWO, [1, 1]),
    ),
}
BAD_FLOWS = {
    "a mode removed": (
        Gaussians([0.7, 0.3], TWO, [1, 1]),
        Gaussians([1.0], TWO[:1], [1]),
        {Status.mode_collapse_suspected},
    ),
    "a small mode removed": (
        Gaussians([0.95, 0.05], TWO, [1, 1]),
        Gaussians([1.0], TWO[:1], [1]),
        {Status.mode_collapse_suspected},
    ),
    "tail cut at two sigma": (
        Gaussians([1], ONE, [1]),
        Gaussians([1], ONE, [1], cut=2.0),
        {Status.missing_tail_suspected},
    ),
    "too narrow": (
        Gaussians([1], ONE, [1]),
        Gaussians([1], ONE, [0.6]),
        {Status.missing_tail_suspected, Status.undertrained},
    ),
    "far too wide": (
        Gaussians([1], ONE, [1]),
        Gaussians([1], ONE, [2.0]),
        {Status.undertrained},
    ),
}


@pytest.mark.parametrize("flow", GOOD_FLOWS)
def test_good_flows_pass(flow: str) -> None:
    """Four flows of exact ESS >= 0.9 with 5 seeds: at most 1 of 20 may alarm; here none does."""
    for seed in range(5):
        health = measure(*GOOD_FLOWS[flow], seed=seed)
        assert health.status is Status.converged, health


@pytest.mark.parametrize("flow", BAD_FLOWS)
def test_bad_flows_are_flagged(flow: str) -> None:
    p, q, expected = BAD_FLOWS[flow]
    for seed in range(5):
        health = measure(p, q, seed=seed)
        assert health.status in expected, health
        assert health.reasons
