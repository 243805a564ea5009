"""Hamiltonian trajectories bent by networks that the warmup trains; for small networks.

L2HMC (Levy, Hoffman and Sohl-Dickstein, 1711.09268): leapfrog steps that scale and shift positions
and momenta by learned amounts, run forward or backward, and accepted with their exact Jacobian.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.settings import check_positive, check_whole
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Accepting, Info, Tuning
from posterion.networks import MLP
from posterion.optimisation.loop import adam

MOST_DIMENSIONS = 200
"""Of a density that `L2hmc` moves in."""

_ASTRAY = 1000.0  # energy
_METRICS = 2  # before training begins


class _Scales(eqx.Module):
    """Three vectors ``(dim,)`` of two: logarithms of two scales, each bounded, and a shift."""

    network: MLP
    bounds: Array

    def __call__(self, one: Array, two: Array, time: Array) -> tuple[Array, Array, Array]:
        found = jnp.split(self.network(jnp.concatenate([one, two, time])), 3)
        low, high = jnp.exp(self.bounds)
        return low * jnp.tanh(found[0]), high * jnp.tanh(found[1]), found[2]


class Bends(eqx.Module):
    """What is trained: the networks of positions and of momenta, and the step; zero at first.

    Args:
        dim: of the density.
        width: of their hidden layers.
        key: random key of their weights.
    """

    of_position: _Scales
    of_momentum: _Scales
    stretch: Array

    def __init__(self, dim: int, width: int, key: PRNGKeyArray):
        def scales(key: PRNGKeyArray) -> _Scales:
            sizes = 2 * dim + 2, 3 * dim, (width, width)
            network = MLP(*sizes, "tanh", key=key, zero_output=True)
            return _Scales(network, jnp.zeros(2))

        self.of_position, self.of_momentum = map(scales, jax.random.split(key))
        self.stretch = jnp.zeros(())


class Point(NamedTuple):
    """Of a trajectory: where it is, and the log-density and its slope there, ``(dim,)``."""

    x: Array
    v: Array
    value: Array
    slope: Array


def bent(
    value_and_slope: Any, bends: Bends, step: Array, masks: Array, start: Point, forward: Array
) -> tuple[Point, Array]:
    """A trajectory and the logarithm of its Jacobian (equations 4 to 6).

    Args:
        value_and_slope: the log-density at a position, and its slope.
        bends: the networks.
        step: size of the leapfrog steps.
        masks: (steps, dim), of the coordinates that each step moves second.
        start: where it begins.
        forward: whether forward, or backward: the inverse of the forward map.
    """
    count = masks.shape[0]
    step = step * jnp.exp(bends.stretch)

    def push(v: Array, x: Array, slope: Array, time: Array) -> tuple[Array, Array]:
        s, q, t = bends.of_momentum(x, slope, time)
        growth, drift = 0.5 * step * s, 0.5 * step * (slope * jnp.exp(step * q) - t)
        there = v * jnp.exp(growth) + drift
        back = (v - drift) * jnp.exp(-growth)
        return jnp.where(forward, there, back), jnp.where(forward, 1, -1) * jnp.sum(growth)

    def pull(x: Array, v: Array, free: Array, time: Array) -> tuple[Array, Array]:
        s, q, t = bends.of_position((1 - free) * x, v, time)
        growth, drift = step * s * free, step * (v * jnp.exp(step * q) + t) * free
        there = x * jnp.exp(growth) + drift
        back = (x - drift) * jnp.exp(-growth)
        return jnp.where(forward, there, back), jnp.where(forward, 1, -1) * jnp.sum(growth)

    def leap(carry: tuple[Point, Array], i: Array) -> tuple[tuple[Point, Array], None]:
        (x, v, _, slope), total = carry
        at = jnp.where(forward, i, count - 1 - i)
        angle = 2 * math.pi * at / count
        time = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        free = jnp.where(forward, 1 - masks[at], masks[at])
        v, one = push(v, x, slope, time)
        x, two = pull(x, v, free, time)
        x, three = pull(x, v, 1 - free, time)
        value, slope = value_and_slope(x)
        v, four = push(v, x, slope, time)
        return (Point(x, v, value, slope), total + one + two + three + four), None

    begun = start, jnp.zeros((), start.x.dtype)
    return lax.scan(leap, begun, jnp.arange(count))[0]


def masks_of(steps: int, dim: int) -> np.ndarray:
    """Half of the coordinates for each step, others each time, ``(steps, dim)``."""
    rng = np.random.default_rng(dim)
    halves = np.arange(dim) % 2 if dim > 1 else np.zeros(1)
    return np.stack([rng.permutation(halves) for _ in range(steps)]).astype(np.float32)


class _Lessons(NamedTuple):
    """What is learned: how many metrics there were, the centre, the networks, Adam's state."""

    begun: Array
    centre: Array
    bends: Bends
    adam: Any


@dataclass(frozen=True)
class L2hmc(Accepting):
    """Hamiltonian Monte Carlo with trained trajectories of a fixed number of steps.

    The coordinates are those of the windows: without their mean, in units of their spread. The
    networks begin at zero, where a move is one of HMC, and learn in the warmup from ``lessons``
    trajectories from each of the chain's states, by the paper's loss of the expected squared
    jump; afterwards they are fixed, and the draws exact. Training takes gradients of gradients, and
    the networks have about ``width * (dim + width)`` weights: it is refused above 200 dimensions.

    Args:
        acceptance: that the step size is tuned for.
        steps: leapfrog steps of a trajectory.
        width: of the networks' hidden layers.
        lessons: trajectories that a transition of the warmup is followed by.
        rate: learning rate.

    Raises:
        SettingError: numbers out of range; at use, too many dimensions.
    """

    _cited: ClassVar[tuple[str, ...]] = ("levy2018",)

    acceptance: float = 0.8
    steps: int = 5
    width: int = 16
    lessons: int = 4
    rate: float = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(steps=self.steps, width=self.width, lessons=self.lessons, least=1)
        check_positive(rate=self.rate)

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        dim = density.dim
        if dim > MOST_DIMENSIONS:
            raise SettingError(
                f"l2hmc would train networks of {2 * dim + 2} inputs by second derivatives: it "
                f"takes at most {MOST_DIMENSIONS} dimensions, not {dim}; take hmc or nuts"
            )
        bends = Bends(dim, self.width, jax.random.key(dim))
        optimiser: Any = adam()
        lessons = _Lessons(jnp.zeros(()), jnp.zeros(dim), bends, optimiser.init(bends))
        return Accepting.start(self, density)._replace(learned=lessons)

    def _run(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, bends: Bends
    ) -> tuple[Point, Point, Array]:
        """A trajectory from ``state``: both its ends, and the logarithm of the acceptance rate."""
        root, centre = jnp.sqrt(tuning.metric), tuning.learned.centre

        def value_and_slope(x: Array) -> tuple[Array, Array]:
            value, slope = jax.value_and_grad(density)(centre + root * x)
            return value, root * slope

        of_momentum, of_direction = jax.random.split(key)
        v = jax.random.normal(of_momentum, root.shape, root.dtype)
        x = (state.position - centre) / root
        start = Point(x, v, state.logdensity, root * state.logdensity_grad)
        masks = jnp.asarray(masks_of(self.steps, density.dim))
        forward = jax.random.bernoulli(of_direction)
        end, growth = bent(value_and_slope, bends, tuning.step, masks, start, forward)
        gain = growth + end.value - 0.5 * jnp.sum(end.v**2)
        gain = gain - start.value + 0.5 * jnp.sum(start.v**2)
        return start, end, jnp.where(jnp.isnan(gain), -jnp.inf, gain)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        of_run, of_choice = jax.random.split(key)
        _, end, gain = self._run(density, of_run, state, tuning, tuning.learned.bends)
        rate = jnp.exp(jnp.minimum(gain, 0.0))
        root = jnp.sqrt(tuning.metric)
        moved = type(state)(tuning.learned.centre + root * end.x, end.value, end.slope / root)
        taken = jax.random.uniform(of_choice, (), rate.dtype) < rate
        after = jax.tree.map(lambda new, old: jnp.where(taken, new, old), moved, state)
        energy = 0.5 * jnp.sum(end.v**2) - end.value
        return after, Info(energy, rate, jnp.asarray(self.steps), gain < -_ASTRAY)

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """See `Kernel`."""
        begun, centre, bends, memory = tuning.learned
        # Two masters of one step would drive it to zero: in training it follows the loss alone.
        training = begun >= _METRICS
        found = Accepting.adapt(self, density, key, state, tuning, info)
        tuning = jax.tree.map(lambda new, old: jnp.where(training, old, new), found, tuning)
        far = float(density.dim)  # what a squared jump is compared with

        def one(bends: Bends, key: PRNGKeyArray) -> Array:
            start, end, gain = self._run(density, key, state, tuning, bends)
            jump = jnp.sum((end.x - start.x) ** 2) * jnp.exp(jnp.minimum(gain, 0.0)) / far
            return 1 / (jump + 1e-2) - jump

        def loss(bends: Bends) -> Array:
            keys = jax.random.split(key, self.lessons)
            return jnp.mean(jax.vmap(partial(one, bends))(keys))

        slope = jax.grad(loss)(bends)
        fine = jnp.stack([jnp.isfinite(a).all() for a in jax.tree.leaves(slope)]).all()
        fine = fine & training
        optimiser: Any = adam()
        update, later = optimiser.update(slope, memory)
        learned = jax.tree.map(lambda w, u: w - self.rate * u, bends, update)
        bends, memory = jax.tree.map(
            lambda new, old: jnp.where(fine, new, old), (learned, later), (bends, memory)
        )
        return tuning._replace(learned=_Lessons(begun, centre, bends, memory))

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        tuning = Accepting.renew(self, tuning, mean, variance, count)
        lessons = tuning.learned._replace(begun=tuning.learned.begun + 1, centre=mean)
        return tuning._replace(learned=lessons)
