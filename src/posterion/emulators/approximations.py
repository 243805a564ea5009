"""What is quicker than sampling and less exact, in the same interface: vectors of networks.

For comparison with the chains, or where these cost too much. Each begins with networks that Adam
has trained.
"""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.settings import check_positive, check_whole
from posterion.emulators.approximation import Approximation, Table, perceptron_of
from posterion.emulators.density import Data, Joint
from posterion.emulators.dropout import ConcreteDropout
from posterion.emulators.variational import Flipout, MeanField
from posterion.emulators.warming import Vector, minibatch_loss
from posterion.optimisation.loop import Trained, run_segment


@dataclass(frozen=True)
class DeepEnsemble(Approximation):
    """The trained networks themselves, one a chain (Lakshminarayanan et al., 1612.01474)."""

    _cited: ClassVar[tuple[str, ...]] = ("lakshminarayanan2017",)

    def count(self, draws: int) -> int:
        """See `Approximation`: one."""
        return 1

    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """See `Approximation`; one a chain, whatever ``draws`` says."""
        return warmed[:, None]


@dataclass(frozen=True)
class LastLayerLaplace(Approximation):
    """The last layer normal about the trained one, of the covariance of the log-density there.

    The rest of each network stays (Daxberger et al., 2106.14806).
    """

    _cited: ClassVar[tuple[str, ...]] = ("daxberger2021",)

    def check(self, joint: Joint) -> None:
        """See `Approximation`: the network's last layer is known."""
        last_layer(joint)

    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """See `Approximation`.

        Raises:
            SettingError: a network whose last layer is not known.
        """
        places = jnp.asarray(last_layer(joint))
        found = []
        for chain, theta in enumerate(warmed):
            precision = -np.asarray(_curvature(joint, jnp.asarray(theta), places, table[2]))
            values, vectors = np.linalg.eigh(precision.astype(np.float64))
            # Where training has not ended the log-density may curve upwards: no spread there.
            spread = np.where(values > 0, 1 / np.sqrt(np.maximum(values, 1e-12)), 0.0)
            rng = np.random.default_rng([seed, 17, chain])
            shift = (rng.normal(size=(draws, len(values))) * spread) @ vectors.T
            made = np.repeat(theta[None], draws, axis=0)
            made[:, np.asarray(places)] += shift.astype(np.float32)
            found.append(made)
        return np.stack(found)


def last_layer(joint: Joint) -> np.ndarray:
    """Places of the last layer's weights and biases in the vector.

    Raises:
        SettingError: the network is none of `posterion.networks`.
    """
    numbers = jnp.arange(joint.dim)
    weights, _, _ = joint.parts(numbers)
    head = perceptron_of(weights, "the last layer")
    return np.concatenate([np.ravel(head.weights[-1]), np.ravel(head.biases[-1])])


@eqx.filter_jit
def _curvature(joint: Joint, theta: Array, places: Array, data: Data) -> Array:
    """Second derivatives of the log-density by the coordinates at ``places``."""

    def of_prior(part: Array) -> Array:
        return joint.log_prior(theta.at[places].set(part))

    def of_piece(part: Array, piece: Data) -> Array:
        return joint.of_chunk(theta.at[places].set(part), piece)

    def add(total: Array, piece: Data) -> tuple[Array, None]:
        return total + jax.hessian(of_piece)(theta[places], piece), None

    return lax.scan(add, jax.hessian(of_prior)(theta[places]), data)[0]


@dataclass(frozen=True)
class Swag(Approximation):
    """A normal about the mean of Adam's path at a constant rate (Maddox et al., 1902.02476).

    Its covariance is half that of each weight alone and half that of the last networks of the path.
    One for each chain, it is MultiSWAG (Wilson and Izmailov, 2002.08791).

    Args:
        epochs: of the path.
        rate: learning rate.
        rank: networks at its end that the covariance is of.
    """

    _cited: ClassVar[tuple[str, ...]] = ("maddox2019",)

    epochs: int = 60
    rate: float = 1e-3
    rank: int = 20

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, least=1)
        check_whole(rank=self.rank, least=2)
        check_positive(rate=self.rate)

    @property
    def path(self) -> int:
        """See `Approximation`."""
        return 3 * self.epochs  # with the deviations from their mean, and the list they come from

    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """See `Approximation`."""
        found = []
        for chain, theta in enumerate(warmed):
            path = self._path(joint, theta, table, batch, seed + 7919 * chain)
            mean, variance = path.mean(axis=0), path.var(axis=0)
            last = path[-self.rank :] - mean
            rng = np.random.default_rng([seed, 19, chain])
            own = rng.normal(size=(draws, joint.dim)) * np.sqrt(variance / 2)
            shared = rng.normal(size=(draws, len(last))) @ last
            made = mean + own + shared / np.sqrt(2 * max(len(last) - 1, 1))
            found.append(made.astype(np.float32))
        return np.stack(found)

    def _path(
        self, joint: Joint, theta: np.ndarray, table: Table, batch: int, seed: int
    ) -> np.ndarray:
        """The network after each epoch, ``(epochs, dim)``."""
        x, y, _ = table
        inputs = joint, jnp.asarray(x), jnp.asarray(y), jnp.asarray(float(len(x)))
        params, fixed = eqx.partition(Vector(jnp.asarray(theta)), eqx.is_inexact_array)
        state, batch = Trained.start(params), min(batch, len(x))
        each, path = len(x) // batch, []
        for epoch in range(self.epochs):
            order = np.random.default_rng([seed, 14, epoch]).permutation(len(x))[: each * batch]
            schedule = {
                "rate": jnp.full(each, self.rate, jnp.float32),
                "rows": jnp.asarray(order.reshape(each, batch).astype(np.int32)),
            }
            number = jnp.asarray(epoch * each, jnp.int32)
            key = jax.random.key(seed)
            state, _ = run_segment(minibatch_loss, state, fixed, inputs, key, number, schedule)
            path.append(np.asarray(state.params.theta, np.float64))
        return np.stack(path)


APPROXIMATIONS: dict[str, Approximation] = {
    "ensemble": DeepEnsemble(),
    "laplace": LastLayerLaplace(),
    "mean-field": MeanField(),
    "flipout": Flipout(),
    "concrete-dropout": ConcreteDropout(),
    "swag": Swag(),
}
"""The approximations by name."""
