"""Hamiltonian Monte Carlo of hundreds of chains as one batch.

Every chain makes the same number of leapfrog steps, a quarter turn of a standard normal, with a
jittered step: no chain waits for another, and the density is evaluated on whole batches. The
coordinates are whitened anew during the warmup by the covariance of all chains, so that the metric
costs nothing, and one step size serves all.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.support import straightened
from posterion.core.errors import DensityError
from posterion.sampling.hamiltonian import Walk, pooled_covariance, wrap
from posterion.targets.frame import Frame
from posterion.targets.target import Target, v_and_log_det, x_and_log_det

_BUFFER = 64
_TURN = math.pi / 2
_JITTER = 0.4
_MOST_STEPS = 64
_ACCEPTANCE = 0.75
_WINDOWS = 4
_DIVERGENT = 1000.0  # of energy, as Stan has it


class _State(NamedTuple):
    """Positions (chains, dim), log-densities and scores."""

    v: Array
    value: Array
    score: Array


def walk_parallel(
    target: Target,
    frame: Frame,
    starts: np.ndarray,
    *,
    draws: int,
    warmup: int,
    seed: int,
    max_calls: int | None = None,
    max_seconds: float | int | None = None,
    on_wake: Callable[[int, int], None] | None = None,
) -> tuple[Frame, Walk]:
    """Run one chain from each start, all side by side.

    Args:
        target: with a gradient.
        frame: the coordinates to begin with.
        starts: (chains, dim), in those coordinates; the density is finite there.
        draws: transitions kept of each chain.
        warmup: transitions before, in four windows; after each the coordinates are whitened anew.
        seed: integer seed.
        max_calls: stop after about as many density calls.
        max_seconds: stop after about as many seconds; the result then depends on the machine.
        on_wake: called with the transitions done of each chain and the calls so far.

    Returns:
        The coordinates at the end, and the draws in them.

    Raises:
        DensityError: the density or its gradient is not finite at a start.
    """
    began = time.monotonic()
    chains, dim = starts.shape
    key = jax.random.key(seed)
    log_step = math.log(1.0 / dim**0.25)
    calls = done = 0
    complete = True
    v, whole = np.asarray(starts, np.float64), []
    bounds = np.linspace(0, warmup, _WINDOWS + 1).astype(int)
    plans = [*np.diff(bounds), draws]
    with jax.enable_x64(True):
        for window, count in enumerate(plans):
            adapt = window < _WINDOWS
            state = _begin(target, frame, jnp.asarray(v))
            if window == 0 and not all(np.isfinite(leaf).all() for leaf in state):
                raise DensityError(
                    f"the log-density of {target.name!r} or its gradient is not finite at a start "
                    "of the chains; start them elsewhere"
                )
            kept, left = [], int(count)
            tuned = jnp.asarray([log_step, 0.0, 0.0])
            while left > 0 and complete:
                steps = max(1, min(_MOST_STEPS, round(_TURN / math.exp(float(tuned[0])))))
                made = min(left, _BUFFER)
                if max_calls is not None:
                    made = max(1, min(made, (max_calls - calls) // (steps * chains)))
                numbers = [jnp.asarray(n) for n in (done, made, steps)]
                state, tuned, records = _segment(
                    target, frame, state, tuned, key, jnp.asarray(adapt), *numbers
                )
                kept.append([np.asarray(leaf)[:made] for leaf in records])
                left, done, calls = left - made, done + made, calls + made * steps * chains
                late = max_seconds is not None and time.monotonic() - began > max_seconds
                spent = max_calls is not None and calls + steps * chains > max_calls
                complete = not ((late or spent) and (left > 0 or adapt))
                if on_wake is not None:
                    on_wake(done, calls)
            v, whole = np.asarray(state.v), kept
            if adapt:
                warmup_calls = calls
                log_step = float(tuned[2]) if count else log_step
                positions = [piece[0][len(piece[0]) // 2 :] for piece in kept[len(kept) // 2 :]]
                if complete and positions:
                    frame, v = _whitened_anew(frame, np.concatenate(positions), v)
            if not complete:
                whole = whole if not adapt else []
                break
    joined = _joined(whole, chains, dim)
    return frame, Walk(
        joined[0],
        joined[1],
        {
            "energy": joined[2],
            "acceptance_rate": joined[3],
            "n_steps": joined[4],
            "diverging": joined[5].astype(bool),
        },
        np.full(chains, math.exp(log_step)),
        calls - warmup_calls,
        warmup_calls,
        time.monotonic() - began,
        complete,
    )


def _whitened_anew(frame: Frame, window: np.ndarray, v: np.ndarray) -> tuple[Frame, np.ndarray]:
    """The frame in which ``window``, (draws, chains, dim), has unit covariance, and ``v`` there."""
    at = x_and_log_det(frame, v)[0]
    frame, window = _straightened(frame, window)
    dim = window.shape[2]
    covariance = pooled_covariance(np.swapaxes(window, 0, 1), frame, np.eye(dim))
    between = np.cov(window.mean(axis=0).T)  # of the chains' means: part of the spread
    factor = np.linalg.cholesky(covariance + between.reshape(dim, dim))
    circular = frame.circular
    factor[circular] = np.eye(dim)[circular]
    factor[:, circular] = np.eye(dim)[:, circular]
    centre = np.where(circular, 0.0, window.mean(axis=(0, 1)))
    old = np.asarray(frame.whitening.lower)
    location = np.asarray(frame.whitening.location) + old @ centre
    reference = float(frame.reference) + float(np.log(np.diag(factor)).sum())
    renewed = Frame.of(location, old @ factor, frame.support, reference, frame.origins)
    return renewed, v_and_log_det(renewed, at)[0]


def _straightened(frame: Frame, window: np.ndarray) -> tuple[Frame, np.ndarray]:
    """The frame in which no interval bends what is normal, and ``window`` in it."""
    x = x_and_log_det(frame, window.reshape(-1, frame.dim))[0]
    support = straightened(frame.support, x)
    if support.kinds == frame.support.kinds:
        return frame, window
    reference = float(frame.reference) - float(np.log(np.diag(frame.whitening.lower)).sum())
    plain = Frame.of(np.zeros(frame.dim), np.eye(frame.dim), support, reference, frame.origins)
    return plain, v_and_log_det(plain, x)[0].reshape(window.shape)


@partial(jax.jit, static_argnums=0)
def _begin(target: Target, frame: Frame, v: Array) -> _State:
    return _State(v, *_climb(target, frame, v))


def _climb(target: Target, frame: Frame, v: Array) -> tuple[Array, Array]:
    def total(v: Array) -> tuple[Array, Array]:
        value = target.in_frame(frame, v)
        return jnp.sum(value), value

    (_, value), score = jax.value_and_grad(total, has_aux=True)(v)
    return value, score


@partial(jax.jit, static_argnums=0)
def _segment(
    target: Target,
    frame: Frame,
    state: _State,
    tuned: Array,
    key: Array,
    adapt: Array,
    first: Array,
    count: Array,
    steps: Array,
) -> tuple[_State, Array, tuple[Array, ...]]:
    """Up to `_BUFFER` transitions of all chains; ``tuned`` is the step size's state."""
    chains, dim = state.v.shape

    def proceed(i: Array, carry: Any) -> Any:
        state, tuned, records = carry
        of_momentum, of_step, of_choice = jax.random.split(jax.random.fold_in(key, first + i), 3)
        momentum = jax.random.normal(of_momentum, (chains, dim), jnp.float32).astype(jnp.float64)
        spread = jax.random.uniform(of_step, (), jnp.float64, 1 - _JITTER, 1 + _JITTER)
        step = spread * jnp.exp(jnp.where(adapt, tuned[0], tuned[2]))

        def leap(_: Array, moving: tuple[Array, ...]) -> tuple[Array, ...]:
            v, _, score, momentum = moving
            v = v + step * momentum
            value, score = _climb(target, frame, v)
            return v, value, score, momentum + step * score

        begun = (*state, momentum + 0.5 * step * state.score)
        v, value, score, after = lax.fori_loop(0, steps, leap, begun)
        after = after - 0.5 * step * score
        gain = value - state.value - 0.5 * jnp.sum(after**2 - momentum**2, axis=1)
        fine = jnp.isfinite(gain) & jnp.all(jnp.isfinite(score), axis=1)
        gain = jnp.where(fine, gain, -jnp.inf)
        chance = jnp.exp(jnp.minimum(gain, 0.0))
        taken = jax.random.uniform(of_choice, (chains,), jnp.float64) < chance
        chosen = [jnp.where(taken[:, None], v, state.v), jnp.where(taken, value, state.value)]
        score = jnp.where(taken[:, None], score, state.score)
        state = _State(wrap(frame, chosen[0]), chosen[1], score)
        energy = -state.value + 0.5 * jnp.sum(momentum**2, axis=1)
        new = (
            state.v,
            state.value,
            energy,
            chance,
            jnp.broadcast_to(steps, (chains,)),
            ~(gain > -_DIVERGENT),
        )
        records = tuple(kept.at[i].set(x) for kept, x in zip(records, new, strict=True))
        return state, jnp.where(adapt, _adapted(tuned, jnp.mean(chance)), tuned), records

    line = jnp.zeros((_BUFFER, chains))
    whole = jnp.zeros((_BUFFER, chains), int)
    records = (jnp.zeros((_BUFFER, chains, dim)), line, line, line, whole, whole.astype(bool))
    tuned = jnp.where(adapt, tuned, tuned.at[2].set(tuned[0]))
    state, tuned, records = lax.fori_loop(0, count, proceed, (state, tuned, records))
    return state, tuned, records


def _adapted(tuned: Array, acceptance: Array) -> Array:
    """Log step size, number of updates and running mean, by Robbins and Monro."""
    log_step, n, mean = tuned
    n = n + 1
    log_step = log_step + (acceptance - _ACCEPTANCE) / n**0.6
    return jnp.stack([log_step, n, mean + (log_step - mean) / jnp.minimum(n, 20.0)])


def _joined(pieces: list[list[np.ndarray]], chains: int, dim: int) -> list[np.ndarray]:
    """Records as arrays (chains, n, ...)."""
    if not pieces:
        return [np.zeros((chains, 0, *([dim] if i == 0 else []))) for i in range(6)]
    return [np.swapaxes(np.concatenate(leaves), 0, 1) for leaves in zip(*pieces, strict=True)]
