"""Independent normals of all weights by variational inference, with shared draws or flipout."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.settings import check_positive, check_whole
from posterion.emulators.approximation import (
    Approximation,
    Table,
    perceptron_of,
    through_dense,
)
from posterion.emulators.density import Data, Joint
from posterion.emulators.warming import Vector, minibatch_loss
from posterion.optimisation.epochs import train_epochs

Loss = Callable[[Any, Any, Array, dict[str, Array]], tuple[Array, Array]]


class Learned(Approximation):
    """A family of distributions of vectors, of which one is learned by its lower bound."""

    epochs: int
    rate: float | int

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """Minus the evidence's lower bound, a row, as the rows of a batch tell."""

    @abstractmethod
    def begin(self, joint: Joint, theta: np.ndarray) -> Any:
        """The distribution about a trained vector, as a model."""

    @abstractmethod
    def bound(self, joint: Joint, model: Any, data: Data, key: Array) -> Array:
        """The lower bound up to a constant, from a few draws."""

    @abstractmethod
    def sample(self, joint: Joint, model: Any, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Vectors ``(draws, dim)``."""

    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """See `Approximation`.

        Raises:
            SettingError: a network whose layers are not known, where they must be.
        """
        x, y, data = table
        inputs = joint, jnp.asarray(x), jnp.asarray(y), jnp.asarray(float(len(x)))
        found = []
        for chain, theta in enumerate(warmed):
            own, key = seed + 7919 * chain, jax.random.key(seed + chain)

            def score(model: Any, key: Array = key) -> float:
                return -float(self.bound(joint, model, data, key)) / len(x)

            settings = {"epochs": self.epochs, "batch": batch, "rate": self.rate}
            settings |= {"patience": self.epochs, "seed": own}
            begun = self.begin(joint, theta)
            model, _ = train_epochs(self.loss, begun, inputs, len(x), score, **settings)
            rng = np.random.default_rng([seed, 18, chain])
            found.append(self.sample(joint, model, rng, draws).astype(np.float32))
        return np.stack(found)


class _Field(eqx.Module):
    mean: Array
    log_sigma: Array


def _shared(model: _Field, inputs: Any, key: Array, row: dict[str, Array]) -> tuple[Array, Array]:
    sigma = jnp.exp(model.log_sigma)
    theta = model.mean + sigma * jax.random.normal(key, model.mean.shape, model.mean.dtype)
    value, _ = minibatch_loss(Vector(theta), inputs, key, row)
    value = value - jnp.sum(model.log_sigma) / inputs[3]
    return value, value


def _decorrelated(
    model: _Field, inputs: Any, key: Array, row: dict[str, Array]
) -> tuple[Array, Array]:
    joint, x, y, count = inputs
    rows, of_signs = row["rows"], jax.random.fold_in(key, 1)
    sigma = jnp.exp(model.log_sigma)
    change = sigma * jax.random.normal(key, model.mean.shape, model.mean.dtype)
    theta = model.mean + change
    outputs = flipped(joint, model.mean, change, of_signs, x[rows])
    value = -jnp.mean(joint.likelihood.log_prob(outputs, y[rows], joint.parts(theta)[2]))
    value = value - (joint.log_prior(theta) + jnp.sum(model.log_sigma)) / count
    return value, value


def flipped(joint: Joint, mean: Array, change: Array, key: Array, x: Array) -> Array:
    """Outputs ``(rows, outputs)``, each row by weights ``mean + change * r s^T`` of its own signs.

    A draw ``change`` that is symmetric about zero and independent in each weight stays so under
    signs, which are independent from row to row (Wen et al., 1803.04386). What is in no
    dense layer (kernels, numbers of an activation) has the same change in all rows.

    Args:
        joint: with a network of `posterion.networks`.
        mean: vector ``(dim,)``.
        change: vector.
        key: of the signs.
        x: rows.
    """
    centre, away = (perceptron_of(joint.network(v), "flipout") for v in (mean, change))

    def affine(layer: int, values: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, layer))
        seen = jax.random.rademacher(keys[0], values.shape, values.dtype)
        moved = away.affine(layer, seen * values)
        return centre.affine(layer, values) + moved * jax.random.rademacher(
            keys[1], moved.shape, moved.dtype
        )

    return through_dense(joint.network(mean + change), affine, x)


@eqx.filter_jit
def _bound(joint: Joint, model: _Field, data: Data, key: Array) -> Array:
    def one(key: Array) -> Array:
        z = jax.random.normal(key, model.mean.shape, model.mean.dtype)
        return joint.log_prob(model.mean + jnp.exp(model.log_sigma) * z, data)

    return jnp.mean(lax.map(one, jax.random.split(key, 8))) + jnp.sum(model.log_sigma)


@dataclass(frozen=True)
class _Normals(Learned):
    epochs: int = 200
    rate: float | int = 1e-3
    start: float | int = 0.01

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, least=1)
        check_positive(rate=self.rate, start=self.start)

    def begin(self, joint: Joint, theta: np.ndarray) -> _Field:
        return _Field(jnp.asarray(theta), jnp.full(joint.dim, np.log(self.start)))

    def bound(self, joint: Joint, model: _Field, data: Data, key: Array) -> Array:
        return _bound(joint, model, data, key)

    def sample(
        self, joint: Joint, model: _Field, rng: np.random.Generator, draws: int
    ) -> np.ndarray:
        z = rng.normal(size=(draws, joint.dim))
        return np.asarray(model.mean) + np.exp(np.asarray(model.log_sigma)) * z


@dataclass(frozen=True)
class MeanField(_Normals):
    """Independent normals of all weights, by variational inference (Blundell et al., 1505.05424).

    Args:
        epochs: passes over the rows.
        rate: learning rate at the start.
        start: spread of the weights at the start.
    """

    _cited: ClassVar[tuple[str, ...]] = ("blundell2015",)

    @property
    def loss(self) -> Loss:
        """See `Learned`: one draw of the weights for all rows of a batch."""
        return _shared


@dataclass(frozen=True)
class Flipout(_Normals):
    """As `MeanField`, learned with a draw of its own for each row (Wen et al., 1803.04386).

    The gradient is the same on average and less noisy: rows do not share their perturbation. A step
    costs twice as many products. For networks of `posterion.networks`.

    Args:
        epochs: passes over the rows.
        rate: learning rate at the start.
        start: spread of the weights at the start.
    """

    _cited: ClassVar[tuple[str, ...]] = ("blundell2015", "wen2018")

    def check(self, joint: Joint) -> None:
        """See `Approximation`: the network's dense layers are known."""
        perceptron_of(joint.still, "flipout")

    @property
    def loss(self) -> Loss:
        """See `Learned`: signs of its own in each row."""
        return _decorrelated
