"""Particles moved: exact points of the posterior, along the flow and across its cracks."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.base import Bijection, apply_batch
from posterion.distributions.flow import Flow
from posterion.targets.frame import Frame
from posterion.targets.target import Target

_LEAPFROGS = 3
_COPIES = 3
_ONE_SCALE, _ALL_SCALES = -1.6, -5.0


@partial(eqx.filter_jit)
def _sweeps(
    target: Target,
    bijection: Bijection | None,
    frame: Frame,
    v: Array,
    keys: Array,
    step: Array,
    least: Array,
):
    """Hamiltonian Monte Carlo on the target in the base space of a bijection, or as it is.

    Each particle's step is drawn anew: ``step`` times ``exp`` of a number between ``least`` and
    0.2.
    """
    z = v if bijection is None else apply_batch(bijection.inverse_and_log_det, v)[0]

    def forward(z):
        if bijection is None:
            return z, jnp.zeros(len(z), z.dtype)
        return apply_batch(bijection.forward_and_log_det, z)

    def value_and_score(z):
        (x, log_det), pull = jax.vjp(forward, z)
        value, score = target.value_and_score(frame, x)
        total = value + log_det
        usable = jnp.isfinite(total)[:, None] & jnp.isfinite(score)
        (back,) = pull((jnp.where(usable, score, 0.0), jnp.ones_like(log_det)))
        back = jnp.where(jnp.isfinite(back), back, 0.0)
        return x, jnp.where(jnp.isnan(total) | (total == jnp.inf), -jnp.inf, total), back

    def sweep(carry, key):
        (z, x, value, score), step = carry
        kick, spread, accept = jax.random.split(key, 3)
        momentum = jax.random.normal(kick, z.shape)
        epsilon = step * jnp.exp(jax.random.uniform(spread, (len(z), 1), minval=least, maxval=0.2))

        def leap(_, state):
            (z, x, value, score), momentum = state
            momentum = momentum + 0.5 * epsilon * score
            z = z + epsilon * momentum
            x, value, score = value_and_score(z)
            return (z, x, value, score), momentum + 0.5 * epsilon * score

        moved, end = lax.fori_loop(0, _LEAPFROGS, leap, ((z, x, value, score), momentum))
        ratio = moved[2] - value + 0.5 * jnp.sum(momentum**2 - end**2, axis=1)
        ratio = jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)
        chosen = jnp.log(jax.random.uniform(accept, ratio.shape)) < ratio
        state = jax.tree.map(
            lambda new, old: jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old),
            moved,
            (z, x, value, score),
        )
        rate = jnp.mean(jnp.exp(jnp.minimum(ratio, 0.0)))
        return (state, step * jnp.exp(0.5 * (rate - 0.7))), rate

    x, value, score = value_and_score(z)
    start = ((z, jnp.where(jnp.isfinite(x), x, v), value, score), step)
    ((_, x, value, _), _), rates = lax.scan(sweep, start, keys)
    return x, value, rates


def refresh(
    target: Target, flow: Flow, frame: Frame, v: np.ndarray, *, sweeps: int, seed: int
) -> tuple[np.ndarray, float, int]:
    """Moves particles of the target along the flow; they stay particles of the target.

    Returns:
        The particles, the acceptance of the last sweep and the density calls. Particles where the
        flow's inverse is not finite stay where they are.
    """
    return _moved(target, flow.bijection, frame, v, sweeps, seed, _ONE_SCALE)


def disperse(
    target: Target, frame: Frame, v: np.ndarray, *, sweeps: int, seed: int
) -> tuple[np.ndarray, float, int]:
    """Moves particles of the target past the flow, with steps of all sizes.

    Where the flow has a crack, which it cannot move anything across, its own `refresh` hardly comes
    there either.

    Returns:
        As for `refresh`.
    """
    return _moved(target, None, frame, v, sweeps, seed, _ALL_SCALES)


def exact_points(
    target: Target, flow: Flow, frame: Frame, v: np.ndarray, *, seed: int
) -> tuple[np.ndarray, int]:
    """Particles moved along the flow, followed by copies of them moved past it; and the calls."""
    along, _, calls = refresh(target, flow, frame, v, sweeps=6, seed=seed + 1)
    copies = np.tile(v, (_COPIES, 1))
    past, _, more = disperse(target, frame, copies, sweeps=4, seed=seed + 2)
    return np.concatenate([along, past]), calls + more


def _moved(
    target: Target,
    bijection: Bijection | None,
    frame: Frame,
    v: np.ndarray,
    sweeps: int,
    seed: int,
    least: float,
) -> tuple[np.ndarray, float, int]:
    keys = jax.random.split(jax.random.key(seed), sweeps)
    step = jnp.asarray(0.5)
    points = jnp.asarray(v, jnp.float32)
    x, value, rates = _sweeps(target, bijection, frame, points, keys, step, jnp.asarray(least))
    x, value = np.asarray(x, np.float64), np.asarray(value)
    good = np.isfinite(x).all(1) & np.isfinite(value)
    calls = len(v) * (sweeps * _LEAPFROGS + 1)
    return np.where(good[:, None], x, v), float(rates[-1]), calls
