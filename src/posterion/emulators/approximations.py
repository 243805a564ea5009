"""What is quicker than sampling and less exact, in the same interface: vectors of networks.

For comparison with the chains, or where these cost too much. Each begins with networks that Adam
has trained.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.emulators.density import Data, Joint
from posterion.emulators.priors import check_positive
from posterion.emulators.warming import Vector, minibatch_loss
from posterion.networks import MLP, Convolutional
from posterion.optimisation.epochs import train_epochs
from posterion.optimisation.loop import Trained, run_segment

Table = tuple[np.ndarray, np.ndarray, Data]


class Approximation(ABC):
    """A way to networks that is no chain."""

    @abstractmethod
    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """Vectors ``(chains, draws, dim)``.

        Args:
            joint: the density of a vector.
            warmed: trained vectors, (chains, dim).
            table: rows (n, inputs), their targets (n, targets), and both in chunks.
            draws: networks of each trained one.
            batch: rows of a step.
            seed: integer seed.
        """


@dataclass(frozen=True)
class DeepEnsemble(Approximation):
    """The trained networks themselves, one a chain (Lakshminarayanan et al., 1612.01474)."""

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
    head = weights.head if isinstance(weights, Convolutional) else weights
    if not isinstance(head, MLP):
        raise SettingError(
            f"the last layer of {type(head).__name__} is not known: take a network of "
            "posterion.networks"
        )
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


class _Field(eqx.Module):
    mean: Array
    log_sigma: Array


def _elbo(model: _Field, inputs: Any, key: Array, row: dict[str, Array]) -> tuple[Array, Array]:
    """Minus the evidence's lower bound, a row."""
    sigma = jnp.exp(model.log_sigma)
    theta = model.mean + sigma * jax.random.normal(key, model.mean.shape, model.mean.dtype)
    value, _ = minibatch_loss(Vector(theta), inputs, key, row)
    value = value - jnp.sum(model.log_sigma) / inputs[3]
    return value, value


@eqx.filter_jit
def _bound(joint: Joint, model: _Field, data: Data, key: Array) -> Array:
    """The lower bound from eight draws, up to a constant."""

    def one(key: Array) -> Array:
        z = jax.random.normal(key, model.mean.shape, model.mean.dtype)
        return joint.log_prob(model.mean + jnp.exp(model.log_sigma) * z, data)

    return jnp.mean(lax.map(one, jax.random.split(key, 8))) + jnp.sum(model.log_sigma)


@dataclass(frozen=True)
class MeanField(Approximation):
    """Independent normals of all weights, by variational inference (Blundell et al., 1505.05424).

    Args:
        epochs: passes over the rows.
        rate: learning rate at the start.
        start: spread of the weights at the start.
    """

    epochs: int = 200
    rate: float = 1e-3
    start: float = 0.01

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, rate=self.rate, start=self.start)

    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """See `Approximation`."""
        x, y, data = table
        inputs = joint, jnp.asarray(x), jnp.asarray(y), jnp.asarray(float(len(x)))
        found = []
        for chain, theta in enumerate(warmed):
            own, key = seed + 7919 * chain, jax.random.key(seed + chain)
            model = _Field(jnp.asarray(theta), jnp.full(joint.dim, np.log(self.start)))

            def score(model: _Field, key: Array = key) -> float:
                return -float(_bound(joint, model, data, key)) / len(x)

            settings = {"epochs": self.epochs, "batch": batch, "rate": self.rate}
            settings |= {"patience": self.epochs, "seed": own}
            model, _ = train_epochs(_elbo, model, inputs, len(x), score, **settings)
            z = np.random.default_rng([seed, 18, chain]).normal(size=(draws, joint.dim))
            made = np.asarray(model.mean) + np.exp(np.asarray(model.log_sigma)) * z
            found.append(made.astype(np.float32))
        return np.stack(found)


@dataclass(frozen=True)
class Swag(Approximation):
    """A normal about the mean of Adam's path at a constant rate (Maddox et al., 1902.02476).

    Its covariance is half that of each weight alone and half that of the last networks of the path.

    Args:
        epochs: of the path.
        rate: learning rate.
        rank: networks at its end that the covariance is of.
    """

    epochs: int = 60
    rate: float = 1e-3
    rank: int = 20

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, rate=self.rate, rank=self.rank - 1)

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
    "swag": Swag(),
}
"""The approximations by name."""
