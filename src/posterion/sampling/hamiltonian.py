"""Hamiltonian Monte Carlo on a target, in compiled segments between which the host wakes.

BlackJAX (Cabezas et al., arXiv:2402.10797) moves the chains: NUTS (Hoffman and Gelman, JMLR 15
(2014) 1593), or HMC with a jittered length. The warmup follows Stan's windows: the step size by
dual averaging, one per chain; the metric from the covariance of the chains about their own means,
pooled, so that chains in different modes do not widen it. All in float64.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.errors import DensityError, SettingError
from posterion.targets.frame import Frame
from posterion.targets.target import Target

SAMPLERS = ("nuts", "hmc")

_BUFFER = 128
_WAKE = 0.3
_TRAJECTORY = math.pi / 2
_MOST_STEPS = 1023
_ACCEPTANCE = {"nuts": 0.8, "hmc": 0.65}


class Records(NamedTuple):
    """What is kept of every transition: arrays (steps, chains), positions (steps, chains, dim)."""

    position: Any
    value: Any
    energy: Any
    acceptance: Any
    steps: Any
    divergent: Any


@dataclass(frozen=True)
class Walk:
    """A run of several chains.

    Attributes:
        v: draws after the warmup, (chains, draws, dim), in the frame's coordinates.
        value: their log-densities per unit of ``v``, the frame's reference subtracted.
        statistics: (chains, draws) each: energy, acceptance_rate, n_steps, diverging.
        step_size: (chains,), after the warmup.
        calls, warmup_calls: density calls with gradient, one a leapfrog step.
        seconds: of the whole run.
        complete: whether the budget sufficed.
    """

    v: np.ndarray
    value: np.ndarray
    statistics: dict[str, np.ndarray]
    step_size: np.ndarray
    calls: int
    warmup_calls: int
    seconds: float
    complete: bool


def walk(
    target: Target,
    frame: Frame,
    starts: np.ndarray,
    *,
    draws: int,
    warmup: int,
    sampler: str = "nuts",
    seed: int,
    max_calls: int | None = None,
    max_seconds: float | int | None = None,
    on_wake: Callable[[int, int], None] | None = None,
) -> Walk:
    """Run one chain from each start.

    Args:
        target: with a gradient.
        frame: the coordinates in which the chains move.
        starts: (chains, dim), in those coordinates; the density is finite there.
        draws: transitions kept of each chain.
        warmup: transitions before, that adapt the step sizes and the metric.
        sampler: ``"nuts"`` or ``"hmc"``.
        seed: integer seed.
        max_calls: stop after about as many density calls (a transition is finished).
        max_seconds: stop after about as many seconds; the result then depends on the machine.
        on_wake: called with the transitions done of each chain and the calls so far.

    Raises:
        DensityError: the density or its gradient is not finite at a start.
        SettingError: an unknown sampler, or numbers out of range.
    """
    if sampler not in SAMPLERS:
        raise SettingError(f"sampler: one of {SAMPLERS}, got {sampler!r}")
    if draws < 1 or warmup < 0 or starts.ndim != 2 or starts.shape[1] != frame.dim:
        raise SettingError(
            f"chains need draws >= 1, warmup >= 0 and starts (chains, {frame.dim}); got {draws}, "
            f"{warmup} and {starts.shape}"
        )
    with jax.enable_x64(True):
        run = _Run(target, frame, starts, sampler, seed, max_calls, max_seconds, on_wake)
        run.warm_up(warmup)
        warmup_calls = run.calls
        kept = run.advance(draws, adapt=False) if run.open else []
        joined = _join(kept, *starts.shape)
        return Walk(
            joined["position"],
            joined["value"],
            {
                "energy": joined["energy"],
                "acceptance_rate": joined["acceptance"],
                "n_steps": joined["steps"],
                "diverging": joined["divergent"],
            },
            np.exp(np.asarray(run.averaging.log_step_size_avg)),
            run.calls - warmup_calls,
            warmup_calls,
            time.monotonic() - run.started,
            run.open,
        )


class _Run:
    """The state of the chains between segments; lives inside x64."""

    def __init__(self, target, frame, starts, sampler, seed, max_calls, max_seconds, on_wake):
        self.target, self.frame, self.sampler = target, frame, sampler
        self.max_calls, self.max_seconds, self.on_wake = max_calls, max_seconds, on_wake
        self.started = time.monotonic()
        self.chains, self.dim = starts.shape
        self.key = jax.random.key(seed)
        self.state = begin(target, frame, jnp.asarray(starts, jnp.float64))
        _, value, score = (np.asarray(leaf) for leaf in self.state)
        if not (np.isfinite(value).all() and np.isfinite(score).all()):
            raise DensityError(
                f"the log-density of {target.name!r} or its gradient is not finite at a start of "
                f"the chains; start them elsewhere"
            )
        self.metric = np.eye(self.dim)
        slope = np.linalg.norm(score, axis=1)
        first = np.minimum(0.5 / self.dim**0.25, 1 / np.maximum(slope, 1e-300))
        self.averaging = _averaging(sampler)[0](jnp.asarray(first))
        self.calls, self.done, self.open = self.chains, 0, True
        self.pace = 0.0

    def warm_up(self, warmup: int) -> None:
        """Stan's windows; the metric is renewed at the end of each slow one."""
        from blackjax.adaptation.window_adaptation import build_schedule

        if warmup == 0:
            return
        schedule = np.asarray(build_schedule(warmup)).reshape(-1, 2)
        ends = sorted({*(np.flatnonzero(np.diff(schedule[:, 0])) + 1), warmup} - {0})
        ends = sorted({*ends, *(np.flatnonzero(schedule[:, 1]) + 1)})
        for first, last in zip([0, *ends[:-1]], ends, strict=True):
            records = self.advance(int(last - first), adapt=True)
            if not self.open:
                return
            if schedule[last - 1, 1]:
                draws = _join(records, self.chains, self.dim)["position"]
                self.metric = pooled_covariance(draws, self.frame, self.metric)
                restart, _, final = _averaging(self.sampler)
                self.averaging = restart(final(self.averaging))

    def advance(self, count: int, *, adapt: bool) -> list[Records]:
        """Up to ``count`` transitions; fewer where the budget ends."""
        kept = []
        while count > 0 and self.open:
            wanted = min(count, _BUFFER, max(4, int(self.pace * _WAKE)) if self.pace else 8)
            left = math.inf if self.max_calls is None else self.max_calls - self.calls
            began = time.monotonic()
            state, averaging, records, made, calls = _segment(
                self.target,
                self.frame,
                self.state,
                self.averaging,
                jnp.asarray(self.metric),
                self.key,
                jnp.asarray(adapt),
                jnp.asarray(self.done),
                jnp.asarray(wanted),
                jnp.asarray(float(left)),
                sampler=self.sampler,
            )
            made = int(made)
            self.state, self.averaging = state, averaging
            self.pace = max(made, 1) / max(time.monotonic() - began, 1e-6)
            self.calls += int(calls)
            self.done += made
            count -= made
            kept.append(jax.tree.map(lambda leaf, n=made: np.asarray(leaf)[:n], records))
            late = self.max_seconds is not None and (
                time.monotonic() - self.started > self.max_seconds
            )
            self.open = made == wanted and not (late and count > 0)
            if self.on_wake is not None:
                self.on_wake(self.done, self.calls)
        return kept


def pooled_covariance(v: np.ndarray, frame: Frame, before: np.ndarray) -> np.ndarray:
    """Covariance of draws (chains, n, dim) about each chain's mean, shrunk to its diagonal.

    Circles are cut opposite each chain's mean. Where nothing moved, ``before`` stays.
    """
    chains, n, dim = v.shape
    circular = frame.circular
    location, lower = np.asarray(frame.whitening.location), np.asarray(frame.whitening.lower)
    u = location + v @ lower.T
    centred = u - u.mean(axis=1, keepdims=True)
    angle = np.angle(np.exp(1j * u).mean(axis=1, keepdims=True))
    turned = (u - angle + np.pi) % (2 * np.pi) - np.pi
    centred = np.where(circular, turned - turned.mean(axis=1, keepdims=True), centred)
    centred = np.linalg.solve(lower, centred.reshape(-1, dim).T)
    covariance = centred @ centred.T / max(chains * (n - 1), 1)
    diagonal = np.diag(covariance).copy()
    still = ~(np.isfinite(diagonal) & (diagonal > 0))
    if still.any():
        covariance[still, :] = covariance[:, still] = 0.0
        diagonal[still] = np.diag(before)[still]
    shrink = (dim / (dim + chains * n)) ** 2
    return (1 - shrink) * covariance + np.diag(shrink * diagonal + (1 - shrink) * still * diagonal)


def _join(pieces: list[Records], chains: int, dim: int) -> dict[str, np.ndarray]:
    """Records as arrays (chains, n, ...)."""
    if not pieces:
        empty: dict[str, Any] = {name: np.zeros((chains, 0)) for name in Records._fields}
        empty["position"] = np.zeros((chains, 0, dim))
        return empty | {
            "steps": np.zeros((chains, 0), int),
            "divergent": np.zeros((chains, 0), bool),
        }
    whole = Records(*(np.concatenate(leaves) for leaves in zip(*pieces, strict=True)))
    return {name: np.swapaxes(leaf, 0, 1) for name, leaf in whole._asdict().items()}


def _averaging(sampler: str):
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    init, update, final = dual_averaging_adaptation(_ACCEPTANCE[sampler])

    def restart(step: Array) -> Any:
        # Of one type from the first: a weak one would compile the segment twice.
        begun: Any = jax.tree.map(
            lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.result_type(x)), step.shape), init(step)
        )
        return begun._replace(log_step_size_avg=begun.log_step_size)

    return restart, update, final


def _density(target: Target, frame: Frame) -> Callable[[Array], Array]:
    """Of one point; +inf would hold a chain for good, and counts as a divergence like NaN."""

    def log_density(v: Array) -> Array:
        value = target.in_frame(frame, v[None])[0]
        return jnp.where(value == jnp.inf, jnp.nan, value)

    return log_density


@partial(jax.jit, static_argnums=0)
def begin(target: Target, frame: Frame, v: Array) -> Any:
    """Positions (n, dim) with their log-densities and scores; inside x64."""
    from blackjax.mcmc.hmc import init

    return jax.vmap(lambda point: init(point, _density(target, frame)))(v)


def wrap(frame: Frame, v: Array) -> Array:
    """The same points with every circle in one turn, lest windings pile up."""
    if not frame.circular.any():
        return v
    turns = jnp.round((frame.whitening.location + v @ frame.whitening.lower.T) / (2 * jnp.pi))
    shift = jnp.where(jnp.asarray(frame.circular), 2 * jnp.pi * turns, 0.0)
    solved = lax.linalg.triangular_solve(frame.whitening.lower, shift.T, left_side=True, lower=True)
    return v - solved.T


@partial(jax.jit, static_argnums=(0,), static_argnames=("sampler",))
def _segment(
    target: Target,
    frame: Frame,
    state: Any,
    averaging: Any,
    metric: Array,
    key: Array,
    adapt: Array,
    first: Array,
    count: Array,
    calls_left: Array,
    *,
    sampler: str,
):
    """Up to ``count`` transitions of every chain, one compiled loop for warmup and draws."""
    from blackjax.mcmc import hmc, nuts

    log_density = _density(target, frame)
    chains, dim = state.position.shape
    update = _averaging(sampler)[1]

    def transition(key: Array, state: Any, epsilon: Any, phase: Any) -> tuple[Any, Any]:
        if sampler == "nuts":
            return nuts.build_kernel()(key, state, log_density, epsilon, metric)
        steps: Any = jnp.ceil(phase * _TRAJECTORY / epsilon)
        steps = jnp.clip(steps, 1, _MOST_STEPS).astype(int)
        return hmc.build_kernel()(key, state, log_density, epsilon, metric, steps)

    def proceed(carry):
        i, state, averaging, records, calls = carry
        step_key, jitter = jax.random.split(jax.random.fold_in(key, first + i))
        log_epsilon = jnp.where(adapt, averaging.log_step_size, averaging.log_step_size_avg)
        phase = jax.random.uniform(jitter, (), jnp.float64, 0.2, 1.8)
        moved: Any = jax.vmap(transition, (0, 0, 0, None))(
            jax.random.split(step_key, chains), state, jnp.exp(log_epsilon), phase
        )
        state, info = moved
        state = state._replace(position=wrap(frame, state.position))
        adapted = update(averaging, info.acceptance_rate)
        averaging = jax.tree.map(lambda new, old: jnp.where(adapt, new, old), adapted, averaging)
        steps = info.num_integration_steps
        new = Records(
            state.position,
            state.logdensity,
            info.energy,
            info.acceptance_rate,
            jnp.broadcast_to(steps, (chains,)),
            info.is_divergent,
        )
        records = jax.tree.map(lambda kept, x: kept.at[i].set(x), records, new)
        return i + 1, state, averaging, records, calls + jnp.sum(steps)

    line = jnp.zeros((_BUFFER, chains))
    records = Records(
        jnp.zeros((_BUFFER, chains, dim)),
        line,
        line,
        line,
        jnp.zeros((_BUFFER, chains), int),
        jnp.zeros((_BUFFER, chains), bool),
    )
    made, state, averaging, records, calls = lax.while_loop(
        lambda carry: (carry[0] < count) & (carry[4] < calls_left),
        proceed,
        (jnp.zeros((), int), state, averaging, records, jnp.zeros((), int)),
    )
    return state, averaging, records, made, calls
