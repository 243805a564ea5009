"""Measuring the health of a posterior against its density."""

import time
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from posterion.bijections.base import apply_batch
from posterion.core.errors import DensityError, ShapeError
from posterion.core.estimate import Estimate
from posterion.diagnostics import (
    CrossChains,
    EnergyDistance,
    Findings,
    Health,
    Modes,
    NonFinite,
    Thresholds,
    assess,
    clean_log_weights,
    compare_modes,
    divergences,
    energy_distance,
    ess_bulk,
    ess_tail,
    exact_chain,
    exact_sample_ess,
    independence_chain,
    split_rhat,
    weigh,
)
from posterion.diagnostics.verdict import EXACT_ESS, EXACT_K_HAT, FLOW_ESS
from posterion.distributions.flow import Flow
from posterion.sampling.hamiltonian import walk
from posterion.targets.frame import Frame
from posterion.targets.target import Target, unflatten_theta, v_and_log_det, x_and_log_det, x_of
from posterion.training.posterior import Posterior
from posterion.training.refresh import exact_points

Floats = NDArray[np.float64]

_CHAIN_DRAWS = 250
_HOPELESS = 0.1
_TAIL = Thresholds().exact_k_hat_warning


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
    seconds: dict[str, float | int],
    stop: str = "finished",
    counted: NonFinite | None = None,
    searched: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    chains: int = 8,
) -> Health:
    """Draws, weighs, asks every witness, and judges.

    The witnesses are the particles of sequential Monte Carlo, moved along the flow and, in copies,
    past it, and ``chains`` short Hamiltonian chains from as many of the particles (0 for none).
    What measuring takes is added to ``calls`` and ``seconds``, under ``health``.
    """
    began = time.perf_counter()
    health_calls = draws
    x, _, _, raw = posterior.with_target(target).weigh(draws, seed=seed)
    lost = np.any(~np.isfinite(x), axis=1)  # the flow's fault, not the density's
    if lost.any():
        x, raw = np.where(lost[:, None], 0.0, x), np.where(lost, -np.inf, raw)
        notes = (*notes, f"{lost.sum()} of {draws} draws of the flow are not finite")
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
            v, moved_calls = exact_points(target, posterior.flow, posterior.frame, v, seed=seed)
        moved = x_of(posterior.frame, v)
        ratio = target.evaluate(moved) - _log_q(posterior, moved)
        health_calls += moved_calls + len(moved)
        independent = len(points) if target.has_gradient else witness.ancestors
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
        if chains and target.has_gradient:
            starts = v_and_log_det(posterior.frame, points[_far_apart(witness, chains, seed)])[0]
            run = _walk(posterior, target, starts, seed)
            if run is not None and chain is not None:
                cross, walked, walk_calls = run
                health_calls += walk_calls
                tau = chain.autocorrelation.value
                distance = _distance(clean, x, walked, cross, tau, periods, seed)
    taken = time.perf_counter() - began
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
            seconds={**seconds, "health": seconds.get("health", 0) + taken},
            notes=notes,
        )
    )


def hopeless(target: Target, flow: Flow, frame: Frame, v: Floats, *, seed: int) -> tuple[bool, int]:
    """Whether a half-trained flow misses so much that another start serves better.

    A flow cut along a crack, as a normal bent to a ring is, never closes it. The calls come second.
    """
    points, calls = exact_points(target, flow, frame, v, seed=seed)
    x, log_det = x_and_log_det(frame, points)
    log_q = eqx.filter_jit(apply_batch)(flow.log_prob, jnp.asarray(points, jnp.float32))
    ratio = target.evaluate(x) + log_det - np.asarray(log_q, np.float64)
    return exact_sample_ess(ratio).fraction.value < _HOPELESS, calls + len(points)


def _far_apart(witness: Witness, count: int, seed: int) -> NDArray[np.intp]:
    """Particles to start chains from, the modes in turn.

    Chains that all start in one mode and stay there agree with one another, and testify falsely.
    """
    order = np.random.default_rng([seed, 41]).permutation(len(witness.x))
    labels = witness.modes.assign(v_and_log_det(witness.frame, witness.x)[0])[order]
    turn = np.zeros(len(order))
    for label in np.unique(labels):
        turn[labels == label] = np.arange(np.sum(labels == label))
    return order[np.argsort(turn, kind="stable")[:count]]


def _walk(
    posterior: Posterior, target: Target, starts: Floats, seed: int
) -> tuple[CrossChains, Floats, int] | None:
    """Short chains: what they are worth, their draws and their calls."""
    chains = len(starts)
    try:
        run = walk(
            target,
            posterior.frame,
            starts,
            draws=_CHAIN_DRAWS,
            warmup=_CHAIN_DRAWS,
            sampler="hmc",
            seed=seed,
        )
    except DensityError:
        return None
    x = x_of(posterior.frame, run.v.reshape(-1, target.dim)).reshape(run.v.shape)
    found = CrossChains(
        "HMC",
        chains,
        chains * _CHAIN_DRAWS,
        float(np.max(split_rhat(x))),
        float(np.min(ess_bulk(x))),
        float(np.min(ess_tail(x))),
        int(run.statistics["diverging"].sum()),
    )
    return found, x, run.calls + run.warmup_calls


def _distance(
    clean: Floats,
    x: Floats,
    walked: Floats,
    cross: CrossChains,
    tau: float,
    periods: list[float | None],
    seed: int,
) -> EnergyDistance | None:
    """Of the exact chain over the flow's draws to the Markov chains."""
    kept = independence_chain(clean, seed=seed).indices
    worth = (len(kept) / max(tau, 1.0), max(cross.ess_bulk, 1.0))
    try:
        return energy_distance(x[kept], walked, seed=seed, n_effective=worth, periods=periods)
    except ShapeError:  # too few independent draws to compare
        return None


def _log_q(posterior: Posterior, x: Floats) -> Floats:
    return posterior.log_prob(unflatten_theta(posterior.parameters, x))


def content_with(health: Health) -> bool:
    """Whether nothing is left to try for: the status is fine, and no tail is in doubt."""
    tail = health.check(EXACT_K_HAT)
    return health.status.ok and (tail is None or tail.verdict == "good")


def score_of(health: Health) -> float:
    """What attempts are compared by: the smaller ESS fraction, less for a heavy tail."""
    checks = [health.check(name) for name in (FLOW_ESS, EXACT_ESS)]
    values = [check.value for check in checks if check is not None]
    least = min((v if np.isfinite(v) else 0.0 for v in values), default=0.0)
    tail = health.check(EXACT_K_HAT)
    return least - (max(0.0, min(tail.value, 2.0) - _TAIL) if tail is not None else 0.0)
