"""Measuring the health of a posterior against its density."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.core.estimate import Estimate
from posterion.diagnostics import (
    Findings,
    Health,
    Modes,
    NonFinite,
    assess,
    clean_log_weights,
    compare_modes,
    divergences,
    exact_chain,
    exact_sample_ess,
    weigh,
)
from posterion.targets.frame import Frame
from posterion.targets.target import Target, unflatten_theta, v_and_log_det, x_of
from posterion.training.posterior import Posterior
from posterion.training.refresh import refresh

Floats = NDArray[np.float64]


@dataclass
class Witness:
    """Independent points of the posterior, from sequential Monte Carlo.

    Attributes:
        x: coordinates ``(n, dim)``.
        log_evidence: its own.
        ancestors: distinct particles of the start that survive.
        modes: the separated modes, in the coordinates of ``frame``.
        frame: of the reference measure.
    """

    x: Floats
    log_evidence: Estimate
    ancestors: int
    modes: Modes
    frame: Frame


def measure(
    posterior: Posterior,
    target: Target,
    witness: Witness | None,
    *,
    draws: int,
    seed: int,
    calls: dict[str, int],
    seconds: dict[str, float],
    stop: str = "finished",
    counted: NonFinite | None = None,
    searched: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    chains: int = 4,
) -> Health:
    """Draws, weighs, asks every witness, and judges."""
    began = time.perf_counter()
    health_calls = draws
    x, _, _, raw = posterior.with_target(target).weigh(draws, seed=seed)
    weights = weigh(raw)
    clean, _ = clean_log_weights(raw)
    periods = [
        p.upper - p.lower if p.periodic and p.lower is not None and p.upper is not None else None
        for p in posterior.parameters
        for _ in range(p.size)
    ]
    usable = bool(np.isfinite(clean).any())
    chain = exact_chain(clean, x, seed=seed, periods=periods) if usable else None
    exact = gap = modes = distance = cross = None
    if usable:
        gap = divergences(clean)
    if witness is not None and usable:
        points = witness.x
        v, _ = v_and_log_det(posterior.frame, points)
        moved_calls = 0
        if target.has_gradient:
            v, _, moved_calls = refresh(
                target, posterior.flow, posterior.frame, v, sweeps=6, seed=seed + 1
            )
        moved = x_of(posterior.frame, v)
        ratio = target.evaluate(moved) - _log_q(posterior, moved)
        health_calls += moved_calls + len(moved)
        independent = len(moved) if target.has_gradient else witness.ancestors
        exact = exact_sample_ess(
            ratio, log_evidence=weights.log_evidence, n_effective=max(independent, 2)
        )
        finite = np.isfinite(ratio)
        gap = divergences(clean, ratio[finite], n_effective=max(independent, 2))
        if witness.modes.count > 1:
            modes = compare_modes(
                witness.modes.fractions_of(v_and_log_det(witness.frame, x)[0]),
                witness.modes.fractions_of(v_and_log_det(witness.frame, points)[0]),
                n_flow=weights.ess_fraction.value * draws,
                n_witness=witness.ancestors,
            )
    seconds = {**seconds, "health": time.perf_counter() - began}
    return assess(
        Findings(
            name=posterior.name,
            stop=stop,  # type: ignore[arg-type]
            weights=weights,
            chain=chain,
            exact=exact,
            divergences=gap,
            witness_evidence=witness.log_evidence if witness is not None else None,
            cross=cross,
            distance=distance,
            modes=modes,
            density=counted,
            measure=(*target.measure(), *searched),
            calls={**calls, "health": calls.get("health", 0) + health_calls},
            seconds=seconds,
            notes=notes,
        )
    )


def _log_q(posterior: Posterior, x: Floats) -> Floats:
    return posterior.log_prob(unflatten_theta(posterior.parameters, x))
