"""Microcanonical Langevin: motion at constant speed, with rejection or without.

``mclmc`` (Robnik et al., 2212.08549) rejects nothing: its step size holds the variance of the
energy's error, and with it the bias, at a stated value a coordinate. ``adjusted-mclmc`` makes that
exact by rejection (2503.01707).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.settings import check_bool, check_positive
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Accepting, Info, Kernel, Tuning, info_of, jittered

_MEMORY = 150.0  # transitions that MCLMC's step size remembers
_TRUST = 1.5
_TELLING = 1e-3  # of the wanted variance
_ORDER = 6.0  # the variance of the energy's error goes with this power of the step


@dataclass(frozen=True)
class AdjustedMclmc(Accepting):
    """Microcanonical trajectories with rejection; exact."""

    _cited: ClassVar[tuple[str, ...]] = ("robnik2025",)

    acceptance: float = 0.9

    def _first(self, dim: int) -> tuple[float, float]:
        return 0.25 * math.sqrt(dim), math.pi / 2 * math.sqrt(dim)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.adjusted_mclmc import build_kernel

        kernel: Any = build_kernel()
        of_move, of_length = jax.random.split(key)
        steps = jittered(of_length, tuning)
        state, info = kernel(
            of_move, state, density, tuning.step, (steps,), inverse_mass_matrix=tuning.metric
        )
        return state, info_of(info, 2 * steps)


@dataclass(frozen=True)
class Mclmc(Kernel):
    """Microcanonical Langevin without rejection.

    Steps are of velocity Verlet, one gradient each: networks have directions so stiff that a step
    cannot be longer than its limit of stability, and an integrator of more gradients a step is
    slower there.

    Args:
        energy_variance: of the energy's error, a coordinate; the bias falls with it.
        persistence: way over which the direction is forgotten, in units of the spread of all
            coordinates together; one is best for a round normal, more where some directions are
            far wider than others.
        precondition: whether the metric is the variance of each coordinate.

    Raises:
        SettingError: a number that is not positive, or a ``precondition`` that is no bool.
    """

    _cited: ClassVar[tuple[str, ...]] = ("robnik2023",)

    energy_variance: float = 5e-3
    persistence: float = 3.0
    precondition: bool = False

    def __post_init__(self) -> None:
        check_positive(energy_variance=self.energy_variance, persistence=self.persistence)
        check_bool(precondition=self.precondition)

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        dim = density.dim
        # So small that a start from training stays where it is: from a step that is too large a
        # chain does not come back. It grows until the errors tell.
        step = 5e-5 * math.sqrt(dim)
        return Tuning(
            jnp.asarray(step),
            jnp.asarray([0.0, 0.0, jnp.inf]),
            jnp.asarray(20 * step),
            jnp.ones(dim),
        )

    def begin(self, density: Posterior, theta: Array, key: PRNGKeyArray) -> Any:
        """See `Kernel`."""
        from blackjax.mcmc.mclmc import init

        return init(theta, density, key)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.integrators import isokinetic_velocity_verlet
        from blackjax.mcmc.mclmc import build_kernel

        kernel: Any = build_kernel(integrator=isokinetic_velocity_verlet)
        state, info = kernel(key, state, density, tuning.metric, tuning.length, tuning.step)
        lost: Any = ~info.nonans
        change = jnp.where(info.nonans, info.energy_change, jnp.inf)
        return state, Info(change, jnp.ones(()), jnp.asarray(1), lost)

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """The step at which the energy's error has the variance that is wanted.

        The errors before, each weighted by how near to it they were, say what the step should be;
        a step that led nowhere bounds those after, less and less. As long as errors are far too
        small to tell, the step doubles.
        """
        weight, sum_, most = tuning.memory
        dim = tuning.metric.shape[0]
        most = jnp.where(info.divergent, 0.8 * jnp.minimum(tuning.step, most), 1.02 * most)
        error = jnp.where(info.divergent, 0.0, info.energy)
        ratio = error**2 / (dim * self.energy_variance) + 1e-8
        growing = (weight == 0) & (ratio < _TELLING) & ~info.divergent
        near = jnp.exp(-0.5 * (jnp.log(ratio) / (_ORDER * _TRUST)) ** 2)
        near = jnp.where(info.divergent | growing, 0.0, near)
        kept = (_MEMORY - 1) / (_MEMORY + 1)
        weight, sum_ = kept * weight + near, kept * sum_ + near * ratio / tuning.step**_ORDER
        step = jnp.where(growing, 2 * tuning.step, tuning.step)
        step = jnp.where(weight > 0, (sum_ / weight) ** (-1 / _ORDER), step)
        return tuning._replace(step=jnp.minimum(step, most), memory=jnp.stack([weight, sum_, most]))

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        moved = jnp.sum(variance) > 0  # a chain that stands still tells nothing
        variance = jnp.where(moved, variance, tuning.metric)
        if not self.precondition:
            length = self.persistence * jnp.sqrt(jnp.sum(variance))
            return tuning._replace(length=jnp.where(moved, length, tuning.length))
        root = jnp.sqrt(jnp.asarray(float(tuning.metric.shape[0])))
        scale = root / jnp.sqrt(jnp.sum(variance / tuning.metric))
        memory = jnp.asarray([0.0, 0.0, jnp.inf])
        return Tuning(scale * tuning.step, memory, self.persistence * root, variance)

    def refresh(self, density: Posterior, state: Any, key: PRNGKeyArray) -> tuple[Any, int]:
        """See `Kernel`: the direction stays."""
        begun = self.begin(density, state.position, key)
        return begun._replace(momentum=state.momentum), 1
