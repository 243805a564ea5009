"""Hamiltonian dynamics with friction on minibatches, for tables too large for whole gradients.

Stochastic-gradient HMC (Chen, Fox and Guestrin, 1402.4102) in cycles of the step size (Zhang et
al., 1902.03932): each begins with steps large enough to leave a mode, and falls as a cosine.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.settings import check_positive, check_whole, is_number
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Info, Kernel, Tuning, rescaled

_FORGET = 1 / 50  # transitions
_FASTER = 1.2  # that the step may grow by in a transition
_STABLE = 0.5  # of the step, in units of the inverse root of the curvature
_ASTRAY = 100.0  # mean square of the momenta


class _Flow(NamedTuple):
    """A chain; ``momentum`` is in units of its spread.

    ``place`` counts the transitions of the cycle, ``number`` the minibatches of the epoch, in the
    ``order`` in which they come, ``spent`` those that no gradient has been counted for.
    """

    position: Array
    logdensity: Array
    momentum: Array
    place: Array
    number: Array
    order: Array
    spent: Array


@dataclass(frozen=True)
class Sghmc(Kernel):
    """Stochastic-gradient HMC with cyclical steps; nothing is rejected.

    A cycle begins with ``exploration`` of its minibatches at large steps; what is left is
    ``cycle`` transitions of ``steps`` minibatches each. The first transition of a cycle does the
    exploration as well, so that every transition ends in the sampling part: whatever warmup, draws
    and thin are, no other network is kept, and with ``thin`` equal to ``cycle`` it is the last of
    each cycle. Noise of the temperature of the posterior is added all along.

    The noise of minibatches and coarse steps heat a chain: the variance of what it draws exceeds
    its due, relatively by about ``step^2 (V / (2 friction) + H / 4)``, where ``V`` is the variance
    of the minibatches' slopes and ``H`` the curvature, which is the mean square of the slope; both
    a coordinate, in units of the spread. The warmup measures them and sets the step for an excess
    of ``heat``, on average over the sampling part; the bias falls with it.

    An epoch goes once through all minibatches in an order of its own; as many of them as it has
    count as one gradient. The log-density of a draw is estimated from one minibatch.

    Args:
        heat: excess of the variance of draws, relative.
        batch: rows of a minibatch, about.
        steps: minibatches of a transition, two at least.
        cycle: transitions of a cycle.
        exploration: share of the cycle's minibatches, in [0, 1).
        friction: share of the momentum that is lost in a step.

    Raises:
        SettingError: numbers out of range.
    """

    _cited: ClassVar[tuple[str, ...]] = ("chen2014", "zhang2020")

    heat: float = 0.05
    batch: int = 256
    steps: int = 10
    cycle: int = 10
    exploration: float = 0.5
    friction: float = 0.1

    def __post_init__(self) -> None:
        check_positive(heat=self.heat, friction=self.friction)
        check_whole(batch=self.batch, cycle=self.cycle, least=1)
        check_whole(steps=self.steps, least=2)
        if not (is_number(self.exploration) and 0 <= self.exploration < 1):
            raise SettingError(f"exploration is a share below 1, got {self.exploration!r}")

    def _batches(self, density: Posterior) -> int:
        rows = density.data.x.shape[0] * density.data.x.shape[1]
        return -(-rows // self.batch)

    def _schedule(self) -> tuple[int, int, np.ndarray]:
        """Minibatches of a cycle, those before the sampling part, and the factors of the step."""
        sampled = self.cycle * self.steps
        whole = round(sampled / (1 - self.exploration))
        return whole, whole - sampled, np.sqrt(0.5 * (1 + np.cos(np.pi * np.arange(whole) / whole)))

    def begin(self, density: Posterior, theta: Array, key: PRNGKeyArray) -> _Flow:
        """See `Kernel`."""
        momentum = jax.random.normal(key, theta.shape, theta.dtype)
        zero = jnp.zeros((), jnp.int32)
        order = jnp.arange(self._batches(density), dtype=jnp.int32)
        return _Flow(theta, density(theta), momentum, zero, zero, order, zero)

    def refresh(self, density: Posterior, state: Any, key: PRNGKeyArray) -> tuple[Any, int]:
        """See `Kernel`: nothing that is kept depends on the density."""
        return state, 0

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        memory = jnp.asarray([0.0, 0.0, 0.0, jnp.inf])
        return Tuning(jnp.asarray(0.005), memory, jnp.zeros(()), jnp.ones(density.dim))

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.sgmcmc.diffusions import sghmc

        batches, root = self._batches(density), jnp.sqrt(tuning.metric)
        _, before, factors = self._schedule()
        factors = jnp.asarray(factors, root.dtype)
        slope_of = jax.grad(density.of_batch)

        def one(k: Array, carry: Any) -> Any:
            z, momentum, number, order, last, (noise, square, speed) = carry
            of_noise, of_order = jax.random.split(jax.random.fold_in(key, k))
            order = lax.cond(
                number == 0, lambda: jax.random.permutation(of_order, order), lambda: order
            )
            step = tuning.step * factors[k]
            integrator: Any = sghmc
            move = integrator(self.friction / step)
            # The slope where the step leads to, as in Chen et al.: at its start it would be Euler's
            # explicit rule, which gains energy.
            slope = root * slope_of(root * (z + step * momentum), order[number], batches)
            z, momentum = move(of_noise, z, momentum, slope, step)
            noise = noise + jnp.where(k > first, 0.5 * jnp.mean((slope - last) ** 2), 0.0)
            square = square + jnp.mean(slope**2)
            speed = jnp.maximum(speed, jnp.mean(momentum**2))
            told = noise, square, speed
            return z, momentum, (number + 1) % batches, order, slope, told

        first = jnp.where(state.place == 0, 0, before + state.place * self.steps)
        end = before + (state.place + 1) * self.steps
        zero = jnp.zeros((), root.dtype)
        z = state.position / root
        begun = z, state.momentum, state.number, state.order, jnp.zeros_like(z), (zero,) * 3
        z, momentum, number, order, _, (noise, square, speed) = lax.fori_loop(
            first, end, one, begun
        )
        noise, square = noise / (end - first - 1), square / (end - first)
        theta = root * z
        value = density.of_batch(theta, order[(number - 1) % batches], batches)
        fine = jnp.isfinite(theta).all() & (speed < _ASTRAY) & (value > -jnp.inf)
        spent = state.spent + end - first
        after = _Flow(
            jnp.where(fine, theta, state.position),
            jnp.where(fine, value, state.logdensity),
            jnp.where(fine, momentum, 0.0),
            (state.place + 1) % self.cycle,
            number,
            order,
            spent % batches,
        )
        energy = 0.5 * jnp.sum(after.momentum**2) - after.logdensity
        return after, Info(energy, jnp.ones(()), spent // batches, ~fine, (noise, square))

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """The step of the excess that is wanted; one that led nowhere bounds those after."""
        noise, square, weight, most = tuning.memory
        most = jnp.where(info.divergent, 0.5 * tuning.step, 1.02 * most)
        fine = jnp.isfinite(info.seen[1]) & ~info.divergent
        noise, square, weight = (
            (1 - _FORGET) * old + jnp.where(fine, new, 0.0)
            for old, new in zip((noise, square, weight), (*info.seen, jnp.ones(())), strict=True)
        )
        factors = self._schedule()[2][-self.cycle * self.steps :]
        heating = (noise / (2 * self.friction) + square / 4) * np.mean(factors**2)
        step = jnp.sqrt(self.heat * weight / jnp.maximum(heating, 1e-12))
        stable = _STABLE * jnp.sqrt(weight / jnp.maximum(square, 1e-12))
        bounds = jnp.stack([step, stable, _FASTER * tuning.step, most])
        step = jnp.where(fine, jnp.min(bounds), jnp.minimum(tuning.step, most))
        return tuning._replace(step=step, memory=jnp.stack([noise, square, weight, most]))

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        metric, ratio = rescaled(tuning.metric, variance, count)
        memory = jnp.asarray([0.0, 0.0, 0.0, jnp.inf])
        return tuning._replace(step=ratio * tuning.step, memory=memory, metric=metric)
