"""The figures of ``metrics.json``: each number beside its exact value and its floor."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.diagnostics import (
    ExactChain,
    clean_log_weights,
    ess_fraction,
    exact_chain,
    jensen_shannon_floor_simulated,
    log_evidence,
)
from posterion.reports import Sampler, break_even
from posterion.studies.base import Figure
from posterion.studies.neutrinos.blocks import NAMES
from posterion.studies.neutrinos.comparison import Chain
from posterion.studies.neutrinos.learning import Case
from posterion.studies.neutrinos.published import PUBLISHED_RANGES, SOURCE
from posterion.studies.neutrinos.ranges import parameter_range
from posterion.studies.neutrinos.truth import ordering_probability
from posterion.targets.target import unflatten_theta
from posterion.training import Posterior

SUMS = "sums over the tables"
BINS = 50
_FRESH = 500_009  # the figures' draws share no seed with learning's
_SPEED = 10


@dataclass(frozen=True, eq=False)
class Measured:
    """A posterior and fresh draws of it with their weights.

    Fields: `case`; `posterior`; `draws` by name; `log_weights`, cleaned; `chain`, the exact one
    over them; `upper_octant`, P(sin^2 theta23 > 1/2) by `many` more draws; `seconds_per_draw`, of a
    draw alone; `seconds_per_weight`, of a draw with its weight.
    """

    case: Case
    posterior: Posterior
    draws: dict[str, np.ndarray]
    log_weights: np.ndarray
    chain: ExactChain
    upper_octant: float
    many: int
    seconds_per_draw: float
    seconds_per_weight: float

    @classmethod
    def of(cls, case: Case, posterior: Posterior, draws: int, seed: int) -> Measured:
        """Draw, weigh, and take the time of both."""
        fresh = seed + _FRESH
        posterior.weigh(draws, seed=fresh)  # compiles
        began = time.perf_counter()
        x, _, _, raw = posterior.weigh(draws, seed=fresh)
        weighing = (time.perf_counter() - began) / draws
        many = _SPEED * draws
        began = time.perf_counter()
        more = posterior.sample(many, seed=fresh + 1)
        drawing = (time.perf_counter() - began) / many
        clean, _ = clean_log_weights(raw)
        periods = [360.0 if name == "delta_CP" else None for name in NAMES]
        return cls(
            case,
            posterior,
            unflatten_theta(posterior.parameters, x),
            clean,
            exact_chain(clean, x, seed=fresh, periods=periods),
            float((more["sin2_theta23"] > 0.5).mean()),
            many,
            drawing,
            weighing,
        )

    def divergences(self) -> dict[str, float]:
        """Jensen-Shannon divergence of each parameter's draws to the exact marginal, in nats."""
        return divergences(self.case, self.draws)

    @property
    def effective_per_second(self) -> float:
        """Effective draws a second, each with its weight."""
        return ess_fraction(self.log_weights).value / self.seconds_per_weight

    @property
    def learning_calls(self) -> int:
        """Density calls before the first draw: scouting, learning, health."""
        return sum(self.posterior.health.calls.values())

    @property
    def learning_seconds(self) -> float:
        """Wall time before the first draw, compiling included."""
        return float(sum(self.posterior.health.seconds.values()))

    def sampler(self, label: str) -> Sampler:
        """What its draws are worth by their weights, each with one call of the density."""
        return Sampler.of_weights(
            label,
            self.log_weights,
            calls_per_draw=1,
            learning_calls=self.learning_calls,
            seconds_per_draw=self.seconds_per_weight,
            learning_seconds=self.learning_seconds,
        )


def divergences(case: Case, draws: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Jensen-Shannon divergence of each parameter's draws to the exact marginal, in nats."""
    marginals = case.truth.marginals
    return {name: marginals[name].divergence(x.ravel(), BINS) for name, x in draws.items()}


def flow_figures(measured: Measured, seed: int) -> dict[str, Figure]:
    """The figures of one learned posterior, without prefix."""
    case, health = measured.case, measured.posterior.health
    count = len(measured.log_weights)
    truth = case.truth
    fraction, evidence = ess_fraction(measured.log_weights), log_evidence(measured.log_weights)
    floor = jensen_shannon_floor_simulated(BINS, count, seed=seed, parameters=len(NAMES))
    exact = truth.upper_octant_probability
    own = {
        "ess_fraction": Figure(fraction.value, floor=1.0),
        "log_evidence": Figure(evidence.value, truth=truth.log_evidence, source=SUMS),
        "log_evidence_error": Figure(
            evidence.value - truth.log_evidence, truth=0.0, floor=evidence.error, source=SUMS
        ),
        "autocorrelation": Figure(measured.chain.autocorrelation.value, floor=1.0),
        "js_max": Figure(
            max(measured.divergences().values()), truth=0.0, floor=floor.value, source=SUMS
        ),
        "upper_octant_probability": Figure(
            measured.upper_octant,
            truth=exact,
            floor=math.sqrt(exact * (1 - exact) / measured.many),
            source=SUMS,
        ),
        "draws_per_second": Figure(1 / measured.seconds_per_draw),
        "effective_draws_per_call": Figure(fraction.value, floor=1.0),
        "effective_draws_per_second": Figure(measured.effective_per_second),
    }
    calls = (("density_calls", "learning"), ("scouting_calls", "scouting"))
    spent = {k: health.calls.get(v, 0) for k, v in (*calls, ("health_calls", "health"))}
    times = {f"{k}_seconds": health.seconds.get(v) for k, v in _SECONDS}
    counted = {k: Figure(v) for k, v in {**spent, **times}.items()}
    return own | counted


_SECONDS = (
    ("learn", "learning"),
    ("compile", "compiling"),
    ("scouting", "scouting"),
    ("health", "health"),
)


def parameter_figures(measured: Measured) -> dict[str, Figure]:
    """Means and standard deviations of the draws, and the ranges of NuFIT's own profiles."""
    case, count = measured.case, len(measured.log_weights)
    mean, sd = case.truth.mean, case.truth.sd
    published = PUBLISHED_RANGES.get(case.tables.release, {}).get(case.ordering, {})
    figures = {}
    for name, x in measured.draws.items():
        floor = sd[name] / math.sqrt(count)
        figures[f"{name}.mean"] = Figure(x.mean(), mean[name], floor=floor, source=SUMS)
        figures[f"{name}.sd"] = Figure(x.std(), sd[name], floor=floor / math.sqrt(2), source=SUMS)
        if name in published:
            for end, ours, theirs in zip(
                ("low", "high"), ranges_of(case)[name], published[name][1:], strict=True
            ):
                turned = ours % 360 if name == "delta_CP" else ours
                key = f"{name}.delta_chi2_9_{end}"
                figures[key] = Figure(turned, published=theirs, source=SOURCE)
    return figures


def ranges_of(case: Case) -> dict[str, tuple[float, float]]:
    """Where NuFIT's own profile is below 9, of each parameter that the file has a profile of."""
    tables = case.tables
    return {name: parameter_range(tables, name) for name in NAMES if tables.has(name)}


def chain_figures(chain: Chain, case: Case, seed: int) -> dict[str, Figure]:
    """The figures of a Markov chain, without prefix; floors are those of its effective draws."""
    exact, effective = case.truth.upper_octant_probability, chain.effective
    floor = jensen_shannon_floor_simulated(
        BINS, max(round(effective), 1), seed=seed, parameters=len(NAMES)
    )
    upper = (chain.draws["sin2_theta23"] > 0.5).mean()
    return {
        "draws": Figure(chain.count),
        "ess_fraction": Figure(effective / chain.count),
        "autocorrelation": Figure(chain.autocorrelation),
        "js_max": Figure(
            max(divergences(case, chain.draws).values()), 0.0, floor=floor.value, source=SUMS
        ),
        "upper_octant_probability": Figure(
            upper, exact, floor=math.sqrt(exact * (1 - exact) / effective), source=SUMS
        ),
        "density_calls": Figure(chain.calls),
        "warmup_calls": Figure(chain.warmup_calls),
        "draws_per_second": Figure(chain.count / chain.seconds),
        "effective_draws": Figure(effective),
        "effective_draws_per_call": Figure(effective / chain.calls),
        "effective_draws_per_second": Figure(effective / chain.seconds),
        "seconds": Figure(chain.seconds),
        "warmup_seconds": Figure(chain.warmup_seconds),
    }


def break_even_figures(flow: Sampler, chains: Mapping[str, Chain]) -> dict[str, Figure]:
    """Effective draws beyond which learning the flow is cheaper, in calls and in seconds."""
    return {
        f"break_even.{name}_{kind}": Figure(break_even(flow, chain.sampler(), kind))
        for name, chain in chains.items()
        for kind in ("calls", "seconds")
    }


def ordering_figures(cases: Mapping[str, Case], result: Any) -> dict[str, Figure]:
    """P(IO) and the log of the evidence ratio normal over inverted, offsets included."""
    exact, log_ratio = ordering_probability({k: case.truth for k, case in cases.items()})
    weights = dict(zip(result.labels, result.log_weights, strict=True))
    errors = [result[k].log_evidence.error for k in result.labels]
    error = math.hypot(*errors)
    return {
        "probability_IO": Figure(
            result.probabilities["IO"], exact, floor=exact * (1 - exact) * error, source=SUMS
        ),
        "log_K": Figure(float(weights["NO"] - weights["IO"]), log_ratio, floor=error, source=SUMS),
    }
