"""Transitions of a chain of vectors, and how they are tuned; the moves are BlackJAX's.

``nuts`` (Hoffman and Gelman, JMLR 15 (2014) 1593) and ``hmc`` leave the density invariant; their
step size follows the acceptance by dual averaging, their metric is the variance of each coordinate
(Stan's windows). ``mclmc``, microcanonical Langevin (Robnik et al., 2212.08549), moves at constant
speed and rejects nothing: its step size holds the variance of the energy's error, and with it the
bias, at a stated value a coordinate. ``adjusted-mclmc`` makes that exact by rejection (2503.01707).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError

Density = Callable[[Array], Array]

_MOST_STEPS = 1023
_MEMORY = 150.0  # transitions that MCLMC's step size remembers
_TRUST = 1.5
_ORDER = 6.0  # the variance of the energy's error goes with this power of the step


class Tuning(NamedTuple):
    """What the warmup finds.

    Attributes:
        step: step size.
        memory: of the adaptation of the step size.
        length: of a trajectory, or over which MCLMC forgets its direction.
        metric: inverse masses, ``(dim,)``.
    """

    step: Array
    memory: Any
    length: Array
    metric: Array


class Info(NamedTuple):
    """Of one transition.

    Attributes:
        energy: potential and kinetic; for MCLMC the change of it in the step.
        acceptance: rate of acceptance; for MCLMC one.
        gradients: evaluated.
        divergent: whether the energy went astray.
    """

    energy: Array
    acceptance: Array
    gradients: Array
    divergent: Array


class Kernel(ABC):
    """One way of moving; hashable, so that it compiles once."""

    @abstractmethod
    def begin(self, density: Density, theta: Array, key: PRNGKeyArray) -> Any:
        """The state of a chain at ``theta``; has ``position`` and ``logdensity``."""

    @abstractmethod
    def start(self, dim: int) -> Tuning:
        """The tuning before the first transition."""

    @abstractmethod
    def move(
        self, density: Density, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """One transition."""

    @abstractmethod
    def adapt(self, tuning: Tuning, info: Info) -> Tuning:
        """The step size after a transition of the warmup."""

    @abstractmethod
    def renew(self, tuning: Tuning, variance: Array, count: Array) -> Tuning:
        """The tuning at the end of a window, from the spread of its positions."""

    @abstractmethod
    def settle(self, tuning: Tuning) -> Tuning:
        """The tuning after the warmup."""


def _dual_averaging(acceptance: float) -> tuple[Any, Any, Any]:
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    return dual_averaging_adaptation(acceptance)


def _restarted(acceptance: float, step: Array) -> Any:
    begun = _dual_averaging(acceptance)[0](step)
    # Of one type from the first: a weak one would compile the segment twice.
    begun = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), begun)
    return begun._replace(log_step_size_avg=begun.log_step_size)


@dataclass(frozen=True)
class _Accepting(Kernel):
    """What has an acceptance rate, by which the step size is tuned."""

    acceptance: float

    def _first_length(self, dim: int) -> float:
        return math.pi / 2

    def start(self, dim: int) -> Tuning:
        step = jnp.asarray(0.1 / dim**0.25)
        return Tuning(
            step,
            _restarted(self.acceptance, step),
            jnp.asarray(self._first_length(dim)),
            jnp.ones(dim),
        )

    def begin(self, density: Density, theta: Array, key: PRNGKeyArray) -> Any:
        from blackjax.mcmc.hmc import init

        return init(theta, density)

    def adapt(self, tuning: Tuning, info: Info) -> Tuning:
        memory = _dual_averaging(self.acceptance)[1](tuning.memory, info.acceptance)
        return tuning._replace(step=jnp.exp(memory.log_step_size), memory=memory)

    def renew(self, tuning: Tuning, variance: Array, count: Array) -> Tuning:
        shrunk = (count * variance + 5e-3 * jnp.mean(variance)) / (count + 5e-3)
        metric = jnp.where(shrunk > 0, shrunk, tuning.metric)
        # The step is in units of the spread: it stays, as the least of them is what it must cross.
        ratio = jnp.sqrt(jnp.min(tuning.metric / metric))
        step = jnp.exp(tuning.memory.log_step_size_avg) * ratio
        return Tuning(step, _restarted(self.acceptance, step), tuning.length, metric)

    def settle(self, tuning: Tuning) -> Tuning:
        return tuning._replace(step=jnp.exp(tuning.memory.log_step_size_avg))


def _info(info: Any, steps: Any) -> Info:
    return Info(info.energy, info.acceptance_rate, steps, info.is_divergent)


@dataclass(frozen=True)
class Nuts(_Accepting):
    """No-U-turn: the length of each trajectory is where it would turn back."""

    acceptance: float = 0.8
    doublings: int = 9

    def move(
        self, density: Density, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.nuts import build_kernel

        kernel: Any = build_kernel()
        state, info = kernel(key, state, density, tuning.step, tuning.metric, self.doublings)
        return state, _info(info, info.num_integration_steps)


@dataclass(frozen=True)
class Hmc(_Accepting):
    """Trajectories of one length, a quarter turn of a standard normal, jittered by 80 %.

    Args:
        acceptance: that the step size is tuned for.
        steps: leapfrog steps of each trajectory; None keeps its length and lets the step decide.
    """

    acceptance: float = 0.65
    steps: int | None = None

    def move(
        self, density: Density, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.hmc import build_kernel

        kernel: Any = build_kernel()
        of_move, of_length = jax.random.split(key)
        if self.steps is not None:
            steps = jnp.asarray(self.steps)
        else:
            phase = jax.random.uniform(of_length, (), tuning.step.dtype, 0.2, 1.8)
            steps = jnp.ceil(phase * tuning.length / tuning.step)
            steps = jnp.clip(steps, 1, _MOST_STEPS).astype(int)
        state, info = kernel(of_move, state, density, tuning.step, tuning.metric, steps)
        return state, _info(info, steps)


@dataclass(frozen=True)
class AdjustedMclmc(_Accepting):
    """Microcanonical trajectories with rejection; exact."""

    acceptance: float = 0.9

    def _first_length(self, dim: int) -> float:
        return math.pi / 2 * math.sqrt(dim)

    def start(self, dim: int) -> Tuning:
        """See `Kernel`."""
        begun = super().start(dim)
        step = jnp.asarray(0.25 * math.sqrt(dim))
        return begun._replace(step=step, memory=_restarted(self.acceptance, step))

    def move(
        self, density: Density, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.adjusted_mclmc import build_kernel

        kernel: Any = build_kernel()
        of_move, of_length = jax.random.split(key)
        phase = jax.random.uniform(of_length, (), tuning.step.dtype, 0.2, 1.8)
        steps = jnp.clip(jnp.ceil(phase * tuning.length / tuning.step), 1, _MOST_STEPS).astype(int)
        state, info = kernel(
            of_move, state, density, tuning.step, (steps,), inverse_mass_matrix=tuning.metric
        )
        return state, _info(info, 2 * steps)


@dataclass(frozen=True)
class Mclmc(Kernel):
    """Microcanonical Langevin without rejection.

    Args:
        energy_variance: of the energy's error, a coordinate; the bias falls with it.
        precondition: whether the metric is the variance of each coordinate.
    """

    energy_variance: float = 5e-4
    precondition: bool = False

    def start(self, dim: int) -> Tuning:
        """See `Kernel`."""
        # So small that a start from training stays where it is: from a step that is too large a
        # chain does not come back. It grows to what the errors allow within a few transitions.
        step = 5e-5 * math.sqrt(dim)
        return Tuning(
            jnp.asarray(step),
            jnp.asarray([0.0, 0.0, jnp.inf]),
            jnp.asarray(20 * step),
            jnp.ones(dim),
        )

    def begin(self, density: Density, theta: Array, key: PRNGKeyArray) -> Any:
        """See `Kernel`."""
        from blackjax.mcmc.mclmc import init

        return init(theta, density, key)

    def move(
        self, density: Density, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.mclmc import build_kernel

        kernel: Any = build_kernel()
        state, info = kernel(key, state, density, tuning.metric, tuning.length, tuning.step)
        lost: Any = ~info.nonans
        change = jnp.where(info.nonans, info.energy_change, jnp.inf)
        return state, Info(change, jnp.ones(()), jnp.asarray(2), lost)

    def adapt(self, tuning: Tuning, info: Info) -> Tuning:
        """The step at which the energy's error has the variance that is wanted.

        The errors before, each weighted by how near to it they were, say what the step should be;
        a step that led nowhere bounds those after, less and less.
        """
        weight, sum_, most = tuning.memory
        dim = tuning.metric.shape[0]
        most = jnp.where(info.divergent, 0.8 * jnp.minimum(tuning.step, most), 1.02 * most)
        error = jnp.where(info.divergent, 0.0, info.energy)
        ratio = error**2 / (dim * self.energy_variance) + 1e-8
        near = jnp.exp(-0.5 * (jnp.log(ratio) / (_ORDER * _TRUST)) ** 2)
        near = jnp.where(info.divergent, 0.0, near)
        kept = (_MEMORY - 1) / (_MEMORY + 1)
        weight, sum_ = kept * weight + near, kept * sum_ + near * ratio / tuning.step**_ORDER
        step = jnp.where(weight > 0, (sum_ / weight) ** (-1 / _ORDER), tuning.step)
        return tuning._replace(step=jnp.minimum(step, most), memory=jnp.stack([weight, sum_, most]))

    def renew(self, tuning: Tuning, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        moved = jnp.sum(variance) > 0  # a chain that stands still tells nothing
        variance = jnp.where(moved, variance, tuning.metric)
        if not self.precondition:
            spread = jnp.sqrt(jnp.sum(variance))
            return tuning._replace(length=jnp.where(moved, spread, tuning.length))
        root = jnp.sqrt(jnp.asarray(float(tuning.metric.shape[0])))
        scale = root / jnp.sqrt(jnp.sum(variance / tuning.metric))
        memory = jnp.asarray([0.0, 0.0, jnp.inf])
        return Tuning(scale * tuning.step, memory, root, variance)

    def settle(self, tuning: Tuning) -> Tuning:
        """See `Kernel`."""
        return tuning


KERNELS: dict[str, Kernel] = {
    "nuts": Nuts(),
    "hmc": Hmc(),
    "mclmc": Mclmc(),
    "adjusted-mclmc": AdjustedMclmc(),
}
"""The kernels by name."""


def make_kernel(sampler: Any) -> Kernel:
    """The kernel that is named or given.

    Raises:
        SettingError: neither.
    """
    if isinstance(sampler, Kernel):
        return sampler
    if not isinstance(sampler, str) or sampler not in KERNELS:
        raise SettingError(f"unknown sampler {sampler!r}; choose one of {', '.join(KERNELS)}")
    return KERNELS[sampler]
