"""What every kernel has: its interface, what is tuned, and the step size by dual averaging."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.settings import check_share
from posterion.emulators.density import Posterior

MOST_STEPS = 1023
"""Steps of a trajectory."""


class Tuning(NamedTuple):
    """What the warmup finds.

    Attributes:
        step: step size.
        memory: of the adaptation of the step size.
        length: of a trajectory, or over which MCLMC forgets its direction.
        metric: inverse masses, ``(dim,)``.
        learned: what else there is.
    """

    step: Array
    memory: Any
    length: Array
    metric: Array
    learned: Any = ()


class Info(NamedTuple):
    """Of one transition.

    Attributes:
        energy: potential and kinetic; for MCLMC the change of it in the step.
        acceptance: rate of acceptance; for MCLMC one.
        gradients: evaluated.
        divergent: whether the energy went astray.
        seen: what else `Kernel.adapt` looks at.
    """

    energy: Array
    acceptance: Array
    gradients: Array
    divergent: Array
    seen: Any = ()


class Kernel(ABC):
    """One way of moving; hashable, so that it compiles once."""

    _cited: ClassVar[tuple[str, ...]] = ()

    @property
    def citations(self) -> tuple[str, ...]:
        """Keys of the papers of its method, for `posterion.cite`."""
        return self._cited

    @abstractmethod
    def begin(self, density: Posterior, theta: Array, key: PRNGKeyArray) -> Any:
        """The state of a chain at ``theta``; has ``position`` and ``logdensity``."""

    @abstractmethod
    def start(self, density: Posterior) -> Tuning:
        """The tuning before the first transition.

        Raises:
            SettingError: the density is not one that the kernel can move in.
        """

    @abstractmethod
    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """One transition."""

    @abstractmethod
    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """The tuning after a transition of the warmup, which led to ``state``."""

    @abstractmethod
    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """The tuning at the end of a window, from mean and spread of its ``count`` positions."""

    def settle(self, tuning: Tuning) -> Tuning:
        """The tuning after the warmup."""
        return tuning

    def refresh(self, density: Posterior, state: Any, key: PRNGKeyArray) -> tuple[Any, int]:
        """The state where it is, after the density has changed, and the gradients it took."""
        return self.begin(density, state.position, key), 1

    def transition(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """A move that is undone, as a divergence, where the log-density is +inf.

        Nothing would lead away from there: +inf would hold a chain for good.
        """
        after, info = self.move(density, key, state, tuning)
        lost = after.logdensity == jnp.inf
        kept = jax.tree.map(lambda new, old: jnp.where(lost, old, new), after, state)
        acceptance = jnp.where(lost, 0.0, info.acceptance)
        return kept, info._replace(acceptance=acceptance, divergent=info.divergent | lost)


def _dual_averaging(acceptance: float) -> tuple[Any, Any, Any]:
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    return dual_averaging_adaptation(acceptance)


def restarted(acceptance: float, step: Array) -> Any:
    """The memory of dual averaging that begins at a step size."""
    begun = _dual_averaging(acceptance)[0](step)
    # Of one type from the first: a weak one would compile the segment twice.
    begun = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), begun)
    return begun._replace(log_step_size_avg=begun.log_step_size)


def rescaled(metric: Array, variance: Array, count: Array) -> tuple[Array, Array]:
    """The metric of a window's spread, and the factor by which steps change with it."""
    shrunk = (count * variance + 5e-3 * jnp.mean(variance)) / (count + 5e-3)
    found = jnp.where(shrunk > 0, shrunk, metric)
    # The step is in units of the spread: it stays, as the least of them is what it must cross.
    return found, jnp.sqrt(jnp.min(metric / found))


@dataclass(frozen=True)
class Accepting(Kernel):
    """What has an acceptance rate, by which the step size is tuned.

    The metric is the variance of each coordinate (Stan's windows).

    Raises:
        SettingError: an acceptance that is not between 0 and 1.
    """

    acceptance: float

    def __post_init__(self) -> None:
        check_share(acceptance=self.acceptance)

    def _first(self, dim: int) -> tuple[float, float]:
        """Step size and length at the start."""
        return 0.1 / dim**0.25, math.pi / 2

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        step, length = map(jnp.asarray, self._first(density.dim))
        return Tuning(step, restarted(self.acceptance, step), length, jnp.ones(density.dim))

    def begin(self, density: Posterior, theta: Array, key: PRNGKeyArray) -> Any:
        """See `Kernel`."""
        from blackjax.mcmc.hmc import init

        return init(theta, density)

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """See `Kernel`."""
        memory = _dual_averaging(self.acceptance)[1](tuning.memory, info.acceptance)
        return tuning._replace(step=jnp.exp(memory.log_step_size), memory=memory)

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        metric, ratio = rescaled(tuning.metric, variance, count)
        step = jnp.exp(tuning.memory.log_step_size_avg) * ratio
        return tuning._replace(step=step, memory=restarted(self.acceptance, step), metric=metric)

    def settle(self, tuning: Tuning) -> Tuning:
        """See `Kernel`."""
        return tuning._replace(step=jnp.exp(tuning.memory.log_step_size_avg))


def jittered(key: PRNGKeyArray, tuning: Tuning) -> Array:
    """Steps of a trajectory whose length is jittered by 80 %."""
    phase = jax.random.uniform(key, (), tuning.step.dtype, 0.2, 1.8)
    return jnp.clip(jnp.ceil(phase * tuning.length / tuning.step), 1, MOST_STEPS).astype(int)


def info_of(info: Any, steps: Any, seen: Any = ()) -> Info:
    """What BlackJAX tells of a trajectory."""
    return Info(info.energy, info.acceptance_rate, steps, info.is_divergent, seen)
