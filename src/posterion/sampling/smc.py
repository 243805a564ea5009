"""Sequential Monte Carlo from the reference measure to the target: particles and evidence.

Anneals ``(1 - beta) log p0 + beta log p`` (Del Moral, Doucet and Jasra, 2006), with ``p0`` the
reference measure of the support: standard normal in ``u``, uniform on circles. Each step of beta
halves the effective sample size; the particles are then moved by Hamiltonian Monte Carlo,
preconditioned by their own covariance, with step sizes spread over a decade, since the
particles may live on several scales.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.errors import DensityError
from posterion.targets.frame import Frame
from posterion.targets.target import Target

_LEAPFROGS = 4
_SWEEPS = 6


class Swarm(NamedTuple):
    """Particles of one temperature, float64: positions, log-densities, scores."""

    u: Array
    value: Array
    score: Array
    ancestor: Array


@dataclass(frozen=True)
class Scouted:
    """What a sequential Monte Carlo run found.

    Attributes:
        u: equally weighted particles ``(n, dim)`` in the coordinates of the frame.
        value: their log-densities per unit of ``u``, the frame's reference subtracted.
        log_evidence, error: of the density per unit of ``u``, the reference subtracted.
        calls: density calls.
        stages: temperatures.
        not_finite: evaluations that gave NaN or +inf; ``excluded``: that gave -inf.
        acceptance: of the last stage.
        ancestors: particles of the start that have descendants at the end.
        complete: whether beta reached 1 within the budget.
    """

    u: np.ndarray
    value: np.ndarray
    log_evidence: float
    error: float
    calls: int
    stages: int
    not_finite: int
    excluded: int
    acceptance: float
    ancestors: int
    complete: bool


def reference_log_prob(u: Array, circular: Array) -> Array:
    """Log-density of the reference measure at ``(n, dim)``."""
    line = -0.5 * u * u - 0.5 * jnp.log(2 * jnp.pi)
    return jnp.sum(jnp.where(circular, -jnp.log(2 * jnp.pi), line), axis=-1)


def _tempered(swarm: Swarm, beta: Array, circular: Array) -> tuple[Array, Array]:
    value = (1 - beta) * reference_log_prob(swarm.u, circular) + beta * swarm.value
    return value, (1 - beta) * jnp.where(circular, 0.0, -swarm.u) + beta * swarm.score


def _evaluate(target: Target, frame: Frame, u: Array, ancestor: Array) -> tuple[Swarm, Array]:
    """Values and scores; what is not finite becomes -inf with no score, and is counted."""

    def total(u):
        value = target.in_frame(frame, u)
        return jnp.sum(value), value

    (_, value), score = jax.value_and_grad(total, has_aux=True)(u)
    broken = jnp.isnan(value) | (value == jnp.inf)
    excluded = value == -jnp.inf
    value = jnp.where(broken, -jnp.inf, value)
    usable = jnp.isfinite(value)[:, None] & jnp.isfinite(score)
    counts = jnp.stack([jnp.sum(broken), jnp.sum(excluded)])
    return Swarm(u, value, jnp.where(usable, score, 0.0), ancestor), counts


def _sweep(target: Target, frame: Frame, state, key: Array):
    """One Hamiltonian trajectory of every particle at inverse temperature ``beta``."""
    swarm, beta, lower, step, counts = state
    circular = jnp.asarray(frame.circular)
    n, dim = swarm.u.shape
    kick, spread, accept = jax.random.split(key, 3)
    momentum = jax.random.normal(kick, (n, dim), jnp.float64)
    factor = jnp.exp(jnp.log(10.0) * (jax.random.uniform(spread, (n, 1), jnp.float64) - 0.8))
    epsilon = step * factor
    start, score = _tempered(swarm, beta, circular)

    def leap(_, carry):
        swarm, momentum, score, counts = carry
        momentum = momentum + 0.5 * epsilon * (score @ lower)
        u = swarm.u + epsilon * (momentum @ lower.T)
        swarm, bad = _evaluate(target, frame, u, swarm.ancestor)
        _, score = _tempered(swarm, beta, circular)
        return swarm, momentum + 0.5 * epsilon * (score @ lower), score, counts + bad

    moved, end_momentum, _, counts = lax.fori_loop(
        0, _LEAPFROGS, leap, (swarm, momentum, score, counts)
    )
    end, _ = _tempered(moved, beta, circular)
    log_ratio = end - start + 0.5 * jnp.sum(momentum**2 - end_momentum**2, axis=-1)
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    chosen = jnp.log(jax.random.uniform(accept, (n,), jnp.float64)) < log_ratio
    swarm = jax.tree.map(
        lambda new, old: jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old),
        moved,
        swarm,
    )
    rate = jnp.mean(jnp.minimum(1.0, jnp.exp(jnp.minimum(log_ratio, 0.0))))
    step = step * jnp.exp(0.5 * (rate - 0.65))
    return (swarm, beta, lower, step, counts), rate


def covariance_factor(u: Array, circular: Array) -> Array:
    """Cholesky factor of the particles' covariance; circles stay apart, on their own scale."""
    n, dim = u.shape
    angle = jnp.angle(jnp.mean(jnp.exp(1j * u), axis=0))
    turned = (u - angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
    centred = jnp.where(circular, turned, u - jnp.mean(u, axis=0))
    covariance = centred.T @ centred / n
    shrink = dim / (dim + n)
    diagonal = jnp.diag(jnp.diag(covariance))
    covariance = (1 - shrink) * covariance + (shrink + 1e-9) * diagonal
    either = circular[:, None] | circular[None, :]
    covariance = jnp.where(either, diagonal, covariance) + 1e-300 * jnp.eye(dim)
    return jnp.linalg.cholesky(covariance)


def _next_beta(log_ratio: Array, beta: Array, share: float) -> Array:
    """Largest step of beta that keeps ``share`` of the particles effective, by bisection."""

    def effective(step):
        log_w = jnp.where(log_ratio == -jnp.inf, -jnp.inf, step * log_ratio)
        w = jnp.exp(log_w - jnp.max(log_w))
        return jnp.sum(w) ** 2 / jnp.sum(w**2) / jnp.sum(log_ratio > -jnp.inf)

    def halve(_, bounds):
        low, high = bounds
        middle = jnp.exp(0.5 * (jnp.log(low) + jnp.log(high)))
        good = effective(middle) > share
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    rest = 1 - beta
    low, _ = lax.fori_loop(0, 50, halve, (rest * 1e-14, rest))
    return jnp.where(effective(rest) > share, 1.0, beta + low)


def _one_turn(swarm: Swarm, circular: Array) -> Swarm:
    """The same particles with their circles in (-pi, pi]."""
    turned = (swarm.u + jnp.pi) % (2 * jnp.pi) - jnp.pi
    return swarm._replace(u=jnp.where(circular, turned, swarm.u))


@partial(jax.jit, static_argnums=(0,), static_argnames=("share",))
def _stage(target: Target, frame: Frame, swarm: Swarm, beta, step, key, *, share: float):
    """One temperature: the step of beta, resampling and the moves."""
    circular = jnp.asarray(frame.circular)
    n = swarm.u.shape[0]
    log_ratio = swarm.value - reference_log_prob(swarm.u, circular)
    new_beta = _next_beta(log_ratio, beta, share)
    increment = new_beta - beta
    log_w = jnp.where(log_ratio == -jnp.inf, -jnp.inf, increment * log_ratio)
    log_mean = jax.nn.logsumexp(log_w) - jnp.log(n)
    weight = jnp.exp(log_w - log_mean)
    variance = jnp.var(weight) / n
    pick, move = jax.random.split(key)
    grid = (jnp.arange(n) + jax.random.uniform(pick, (), jnp.float64)) / n
    chosen = jnp.clip(jnp.searchsorted(jnp.cumsum(weight) / n, grid), 0, n - 1)
    swarm = jax.tree.map(lambda leaf: leaf[chosen], swarm)
    lower = covariance_factor(swarm.u, circular)
    counts = jnp.zeros(2, jnp.int64)
    state = (swarm, new_beta, lower, step, counts)
    state, rates = lax.scan(
        lambda state, key: _sweep(target, frame, state, key), state, jax.random.split(move, _SWEEPS)
    )
    swarm, _, _, step, counts = state
    swarm = _one_turn(swarm, circular)
    return swarm, new_beta, step, log_mean, variance, counts, rates[-1]


@partial(jax.jit, static_argnums=0)
def _settle(target: Target, frame: Frame, swarm: Swarm, step, keys):
    """More sweeps at the target itself."""
    lower = covariance_factor(swarm.u, jnp.asarray(frame.circular))
    state = (swarm, jnp.ones((), jnp.float64), lower, step, jnp.zeros(2, jnp.int64))
    (swarm, _, _, step, counts), rates = lax.scan(
        lambda state, key: _sweep(target, frame, state, key), state, keys
    )
    swarm = _one_turn(swarm, jnp.asarray(frame.circular))
    return swarm, step, counts, rates[-1]


@partial(jax.jit, static_argnums=0)
def _first(target: Target, frame: Frame, u: Array):
    return _evaluate(target, frame, u, jnp.arange(u.shape[0]))


def scout(
    target: Target,
    frame: Frame,
    *,
    particles: int,
    seed: int,
    share: float = 0.5,
    settle: int = 10,
    max_calls: int | None = None,
    on_stage: Callable[[float, int], None] | None = None,
) -> Scouted:
    """Particles of a differentiable target from its reference measure.

    Args:
        target: the target.
        frame: coordinates; its reference is subtracted from the log-density.
        particles: number of particles.
        seed: integer seed.
        share: effective share of the particles after each step of beta.
        settle: further sweeps at beta 1.
        max_calls: stop, incomplete, before more density calls than this.
        on_stage: called with beta and the calls so far.

    Raises:
        DensityError: the density is finite at none of the first points.
    """
    rng = np.random.default_rng([seed, 101])
    circular = frame.circular
    u = rng.normal(size=(particles, frame.dim))
    u = np.where(circular, rng.uniform(-np.pi, np.pi, u.shape), u)
    keys = iter(range(1_000_000))
    with jax.enable_x64(True):
        root = jax.random.key(seed)
        swarm, counts = _first(target, frame, jnp.asarray(u))
        if not np.any(np.isfinite(np.asarray(swarm.value))):
            raise DensityError(
                f"the log-density of {target.name!r} is finite at none of {particles} points drawn "
                f"over its support ({int(counts[0])} NaN or +inf, {int(counts[1])} -inf); check "
                f"the bounds, the scales and the density's own domain"
            )
        beta, step = jnp.zeros((), jnp.float64), jnp.asarray(0.5 / frame.dim**0.25, jnp.float64)
        log_z, variance, stages, rate = 0.0, 0.0, 0, 0.0
        calls, total = particles, np.asarray(counts)
        cost = particles * _SWEEPS * _LEAPFROGS
        while float(beta) < 1.0:
            if max_calls is not None and calls + cost > max_calls:
                break
            swarm, beta, step, gain, spread, counts, rate = _stage(
                target, frame, swarm, beta, step, jax.random.fold_in(root, next(keys)), share=share
            )
            log_z += float(gain)
            variance += float(spread)
            total = total + np.asarray(counts)
            stages += 1
            calls += cost
            if on_stage is not None:
                on_stage(float(beta), calls)
        complete = float(beta) >= 1.0
        if complete and settle:
            swarm, step, counts, rate = _settle(
                target, frame, swarm, step, jax.random.split(jax.random.fold_in(root, 7), settle)
            )
            total = total + np.asarray(counts)
            calls += particles * settle * _LEAPFROGS
        return Scouted(
            np.asarray(swarm.u),
            np.asarray(swarm.value),
            log_z,
            float(np.sqrt(variance) * 2),
            calls,
            stages,
            int(total[0]),
            int(total[1]),
            float(rate),
            len(np.unique(np.asarray(swarm.ancestor))),
            complete,
        )
