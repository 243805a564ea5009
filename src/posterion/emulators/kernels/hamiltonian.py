"""Hamiltonian trajectories in a fixed metric.

``nuts`` (Hoffman and Gelman, JMLR 15 (2014) 1593) turns back where the trajectory does. The length
of ``hmc`` follows the squared jump for what it costs (Wang, Mohamed and de Freitas, ICML 2013, and
TensorBNN), by the stochastic gradients of ChEES (Hoffman, Radul and Sountsov, AISTATS 2021), here
of one chain; it is fixed after the warmup, and the draws are exact.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.settings import check_bool, check_whole
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Accepting, Info, Tuning, info_of, jittered

_RATE = 0.03  # that the length's logarithm changes by in a transition
_MOST_DOUBLINGS = 20  # a million steps
_BOUNDS = math.log(0.1), math.log(100.0)


@dataclass(frozen=True)
class Nuts(Accepting):
    """No-U-turn: the length of each trajectory is where it would turn back.

    Args:
        acceptance: that the step size is tuned for.
        doublings: of a trajectory's length, at most.

    Raises:
        SettingError: an acceptance that is not between 0 and 1, or doublings not in 1 ... 20.
    """

    _cited: ClassVar[tuple[str, ...]] = ("hoffman2014",)

    acceptance: float = 0.8
    doublings: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(doublings=self.doublings, least=1, most=_MOST_DOUBLINGS)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.nuts import build_kernel

        kernel: Any = build_kernel()
        state, info = kernel(key, state, density, tuning.step, tuning.metric, self.doublings)
        return state, info_of(info, info.num_integration_steps)


class _Search(NamedTuple):
    """For the length: whether there is a metric yet, and running means.

    They are of the gradient by the length's logarithm, of its square, and of that logarithm.
    """

    begun: Array
    slope: Array
    square: Array
    average: Array


@dataclass(frozen=True)
class Hmc(Accepting):
    """Trajectories of one length, jittered by 80 %.

    From the first metric on, the warmup moves the length towards the largest expected squared jump
    in units of the spread, times the acceptance rate, for each gradient.

    Args:
        acceptance: that the step size is tuned for.
        steps: leapfrog steps of each trajectory, whose size is then jittered by 20 %; None lets the
            warmup find its length.
        learned: whether it does, or keeps a quarter turn of a standard normal.

    Raises:
        SettingError: an acceptance that is not between 0 and 1, no whole number of steps, or a
            ``learned`` that is neither True nor False.
    """

    _cited: ClassVar[tuple[str, ...]] = ("duane1987", "hoffman2021")

    acceptance: float = 0.65
    steps: int | None = None
    learned: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool(learned=self.learned)
        if self.steps is not None:
            check_whole(steps=self.steps, least=1)

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        begun = Accepting.start(self, density)
        search = _Search(jnp.zeros(()), jnp.zeros(()), jnp.ones(()), jnp.log(begun.length))
        return begun._replace(learned=search)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.hmc import build_kernel

        kernel: Any = build_kernel()
        of_move, of_length = jax.random.split(key)
        steps, step = jittered(of_length, tuning), tuning.step
        if self.steps is not None:  # of one length, a direction of whole half turns would stand
            steps = self.steps  # known when compiling, for a faster loop
            step = step * jax.random.uniform(of_length, (), step.dtype, 0.8, 1.2)
        after, info = kernel(of_move, state, density, step, tuning.metric, steps)
        jump = info.proposal.position - state.position
        # The proposal's momentum is turned round: it is minus that of its end.
        seen = jump, -info.proposal.momentum, steps * step
        return after, info_of(info, jnp.asarray(steps), seen)

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """See `Kernel`."""
        tuning = Accepting.adapt(self, density, key, state, tuning, info)
        if self.steps is not None or not self.learned:
            return tuning
        begun, slope, square, average = tuning.learned
        jump, momentum, time = info.seen
        gain = jump @ (jump / tuning.metric)
        growth = 2 * time * (jump @ momentum)  # of it, by the length's logarithm
        # Of a straight line it is twice the gain; far beyond that there is noise alone.
        found = info.acceptance * (jnp.clip(growth, -4 * gain, 4 * gain) - gain)
        found = jnp.where(jnp.isfinite(found), found, 0.0)
        slope = slope + 0.1 * (found - slope)
        square = square + 0.05 * (found**2 - square)
        change = slope / jnp.sqrt(square + 1e-12)
        log = jnp.log(tuning.length) + _RATE * begun * change
        log = jnp.clip(log, *_BOUNDS)
        average = average + 0.02 * (log - average)
        length = jnp.where(begun > 0, jnp.exp(log), tuning.length)
        return tuning._replace(length=length, learned=_Search(begun, slope, square, average))

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        tuning = Accepting.renew(self, tuning, mean, variance, count)
        return tuning._replace(learned=tuning.learned._replace(begun=jnp.ones(())))

    def settle(self, tuning: Tuning) -> Tuning:
        """See `Kernel`."""
        tuning = Accepting.settle(self, tuning)
        found = tuning.learned.begun * self.learned > 0
        return tuning._replace(
            length=jnp.where(found, jnp.exp(tuning.learned.average), tuning.length)
        )
