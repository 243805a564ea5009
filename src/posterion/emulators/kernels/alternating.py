"""Weights given hyperparameters and noise, then these given the weights, each by a kernel."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Info, Kernel, Tuning


class _Both(NamedTuple):
    """The whole vector, and the states of the two kernels in their parts of it."""

    position: Array
    logdensity: Array
    parts: tuple[Any, Any]


@dataclass(frozen=True)
class Alternated(Kernel):
    """Gibbs sampling in two blocks, as Neal (1996) and TensorBNN (2009.14393) do it.

    Each transition moves the weights, then all else, each with a tuning of its own. It is exact if
    both kernels are. The tuning's step sizes and lengths have one entry for each kernel.

    Args:
        weights: the kernel of the weights.
        others: that of hyperparameters and noise.

    Raises:
        SettingError: no kernels, or one that alternates itself; at use, a density with nothing but
            weights.
    """

    weights: Any
    others: Any

    def __post_init__(self) -> None:
        for kernel in (self.weights, self.others):
            if not isinstance(kernel, Kernel) or isinstance(kernel, Alternated):
                raise SettingError(
                    f"alternated takes a kernel for the weights and one for all else, such as "
                    f"Hmc() and Nuts(); got {kernel!r}"
                )

    @property
    def citations(self) -> tuple[str, ...]:
        """See `Kernel`: also those of its two kernels."""
        return tuple(dict.fromkeys(("neal1996", *self.weights.citations, *self.others.citations)))

    def _parts(self, density: Posterior, theta: Array) -> list[tuple[Kernel, Posterior, Array]]:
        """Each kernel with the density and the place in which it moves."""
        first, count = density.joint.weights, density.dim
        if first == count:
            raise SettingError(
                "there is nothing to alternate with: the density has weights alone. Take a "
                "hierarchical prior or a likelihood whose noise is learned, or one sampler for all"
            )
        return [
            (self.weights, density.part(theta, 0, first), theta[:first]),
            (self.others, density.part(theta, first, count - first), theta[first:]),
        ]

    def begin(self, density: Posterior, theta: Array, key: PRNGKeyArray) -> _Both:
        """See `Kernel`."""
        one, two = (
            kernel.begin(part, place, jax.random.fold_in(key, i))
            for i, (kernel, part, place) in enumerate(self._parts(density, theta))
        )
        return _Both(theta, two.logdensity, (one, two))

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        nowhere = jnp.zeros(density.dim)
        return _joined([k.start(part) for k, part, _ in self._parts(density, nowhere)])

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        theta, after, infos = state.position, [], []
        for i in range(2):
            kernel, part, _ = self._parts(density, theta)[i]
            of_refresh, of_move = jax.random.split(jax.random.fold_in(key, i))
            begun, spent = kernel.refresh(part, state.parts[i], of_refresh)
            moved, info = kernel.transition(part, of_move, begun, tuning.learned[i])
            theta = part.whole(moved.position)
            after.append(moved)
            infos.append(info._replace(gradients=info.gradients + spent))
        one, two = infos
        info = Info(
            two.energy,
            0.5 * (one.acceptance + two.acceptance),
            one.gradients + two.gradients,
            one.divergent | two.divergent,
            (one, two),
        )
        return _Both(theta, after[1].logdensity, (after[0], after[1])), info

    def adapt(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning, info: Info
    ) -> Tuning:
        """See `Kernel`."""
        return _joined(
            [
                kernel.adapt(
                    part,
                    jax.random.fold_in(key, i),
                    state.parts[i],
                    tuning.learned[i],
                    info.seen[i],
                )
                for i, (kernel, part, _) in enumerate(self._parts(density, state.position))
            ]
        )

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`."""
        first = tuning.learned[0].metric.shape[0]
        pieces = slice(None, first), slice(first, None)
        return _joined(
            [
                kernel.renew(own, mean[piece], variance[piece], count)
                for kernel, own, piece in zip(self._kernels, tuning.learned, pieces, strict=True)
            ]
        )

    def settle(self, tuning: Tuning) -> Tuning:
        """See `Kernel`."""
        settled = zip(self._kernels, tuning.learned, strict=True)
        return _joined([kernel.settle(own) for kernel, own in settled])

    @property
    def _kernels(self) -> tuple[Kernel, Kernel]:
        return self.weights, self.others


def _joined(own: list[Tuning]) -> Tuning:
    """Both tunings, and what is told of them."""
    one, two = own
    return Tuning(
        jnp.stack([one.step, two.step]),
        (),
        jnp.stack([one.length, two.length]),
        jnp.concatenate([one.metric, two.metric]),
        (one, two),
    )
