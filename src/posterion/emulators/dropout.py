"""Concrete dropout: each dense layer's inputs fall out at a rate that is learned.

Gal, Hron and Kendall, 1705.07832. The posterior is approximated by ``W = M diag(z)`` in each dense
layer, with ``z`` one where an input is kept and zero, with the layer's rate ``p``, where it is not;
while it is learned, a concrete variable stands for ``z``.
"""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.core.settings import check_positive, check_whole, is_number
from posterion.emulators.approximation import perceptron_of, through_dense
from posterion.emulators.density import Data, Joint, flat
from posterion.emulators.variational import Learned, Loss

_TEMPERATURE = 0.1  # of the relaxation, as in the paper
_WANTED = "dropout"


class Masked(eqx.Module):
    """What is learned.

    Attributes:
        theta: the vector of which inputs fall out.
        logit: of each dense layer, log(p / (1 - p)) of the rate p at which they do.
    """

    theta: Array
    logit: Array


def relaxed_mask(key: Array, logit: Array, shape: tuple[int, ...]) -> Array:
    """Near one where an input is kept, near zero where it falls out."""
    u = jax.random.uniform(key, shape, minval=1e-7, maxval=1 - 1e-7)
    return jax.nn.sigmoid(-(logit + jnp.log(u) - jnp.log1p(-u)) / _TEMPERATURE)


def masked(joint: Joint, theta: Array, masks: list[Array]) -> Array:
    """The vector with the columns of each dense layer's weights times its mask, ``(inputs,)``."""
    weights, hyper, noise = joint.parts(theta)
    layers = perceptron_of(weights, _WANTED).weights
    left = tuple(layer * mask for layer, mask in zip(layers, masks, strict=True))
    weights = eqx.tree_at(lambda tree: perceptron_of(tree, _WANTED).weights, weights, left)
    return flat((weights, hyper, noise))


def regulariser(joint: Joint, model: Masked) -> Array:
    """KL of the masks' distribution and the prior: ``-E log prior - sum K H(p)``.

    K is the number of a layer's inputs, H the entropy of a mask. Where weights are independent
    given the hyperparameters the expectation is a sum over layers: what the prior is with the layer
    and without it, by the rate; of a normal prior of scale s it is the paper's
    ``(1 - p) |M|^2 / (2 s^2)`` and a constant.
    """
    rates = jax.nn.sigmoid(model.logit)
    whole = joint.log_prior(model.theta)
    layers = perceptron_of(joint.parts(model.theta)[0], _WANTED).weights
    sizes = [layer.shape[1] for layer in layers]
    total = -whole
    for i, (rate, logit) in enumerate(zip(rates, model.logit, strict=True)):
        masks = [jnp.full(size, 1.0 - (i == j)) for j, size in enumerate(sizes)]
        total = total - rate * (joint.log_prior(masked(joint, model.theta, masks)) - whole)
        entropy = rate * jax.nn.softplus(-logit) + (1 - rate) * jax.nn.softplus(logit)
        total = total - sizes[i] * entropy
    return total


def _loss(model: Masked, inputs: tuple, key: Array, row: dict[str, Array]) -> tuple[Array, Array]:
    joint, x, y, count = inputs
    network, rows = joint.network(model.theta), row["rows"]
    head = perceptron_of(network, _WANTED)

    def affine(layer: int, values: Array) -> Array:
        own = jax.random.fold_in(key, layer)
        return head.affine(layer, values * relaxed_mask(own, model.logit[layer], values.shape))

    outputs = through_dense(network, affine, x[rows])
    noise = joint.parts(model.theta)[2]
    value = -jnp.mean(joint.likelihood.log_prob(outputs, y[rows], noise))
    value = value + regulariser(joint, model) / count
    return value, value


@eqx.filter_jit
def _draws(joint: Joint, model: Masked, keys: Array) -> Array:
    sizes = [w.shape[1] for w in perceptron_of(joint.parts(model.theta)[0], _WANTED).weights]
    keep = jax.nn.sigmoid(-model.logit)

    def one(key: Array) -> Array:
        masks = [
            jax.random.bernoulli(jax.random.fold_in(key, i), keep[i], (size,)).astype(jnp.float32)
            for i, size in enumerate(sizes)
        ]
        return masked(joint, model.theta, masks)

    return lax.map(one, keys)


@eqx.filter_jit
def _bound(joint: Joint, model: Masked, data: Data, key: Array) -> Array:
    vectors = _draws(joint, model, jax.random.split(key, 8))
    each = lax.map(lambda theta: joint.log_likelihood(theta, data), vectors)
    return jnp.mean(each) - regulariser(joint, model)


@dataclass(frozen=True)
class ConcreteDropout(Learned):
    """Networks whose inputs of each dense layer fall out at learned rates (1705.07832).

    Noise and hyperparameters are those of the best vector. For networks of `posterion.networks`.

    Args:
        epochs: passes over the rows.
        rate: learning rate at the start.
        start: rate at which inputs fall out at the start, between 0 and 1.
    """

    _cited: ClassVar[tuple[str, ...]] = ("gal2017",)

    epochs: int = 200
    rate: float | int = 1e-3
    start: float | int = 0.1

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, least=1)
        check_positive(rate=self.rate)
        if not (is_number(self.start) and 0 < self.start < 1):
            raise SettingError(f"start is a rate between 0 and 1, got {self.start!r}")

    def check(self, joint: Joint) -> None:
        """See `Approximation`: the network's dense layers are known."""
        perceptron_of(joint.still, _WANTED)

    @property
    def loss(self) -> Loss:
        """See `Learned`."""
        return _loss

    def begin(self, joint: Joint, theta: np.ndarray) -> Masked:
        """See `Learned`."""
        vector = jnp.asarray(theta)
        layers = len(perceptron_of(joint.parts(vector)[0], _WANTED).weights)
        return Masked(vector, jnp.full(layers, np.log(self.start / (1 - self.start))))

    def bound(self, joint: Joint, model: Masked, data: Data, key: Array) -> Array:
        """See `Learned`."""
        return _bound(joint, model, data, key)

    def sample(
        self, joint: Joint, model: Masked, rng: np.random.Generator, draws: int
    ) -> np.ndarray:
        """See `Learned`."""
        key = jax.random.key(int(rng.integers(2**31)))
        return np.asarray(_draws(joint, model, jax.random.split(key, draws)))
