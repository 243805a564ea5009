"""The posterior of a network: prior, likelihood and data as one density of a flat vector."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from posterion.emulators.likelihoods import Likelihood
from posterion.emulators.priors import WeightPrior
from posterion.emulators.sharding import divided, over_devices
from posterion.networks import on_rows

CHUNK = 2048
"""Rows whose activations are held at once."""


class Data(eqx.Module):
    """Rows in chunks of one size, what fills the last ones with weight zero.

    Attributes:
        x: (chunks, rows, inputs).
        y: (chunks, rows, targets).
        weight: (chunks, rows), of each row's log-likelihood; None where all are one.
        mesh: the devices that the chunks are divided over; None where they are not.
    """

    x: Array
    y: Array
    weight: Array | None
    mesh: Mesh | None = eqx.field(static=True, default=None)

    @property
    def rows(self) -> "Data":
        """All in one chunk, without its axis."""
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), self)


def data_of(x: np.ndarray, y: np.ndarray, *, chunk: int = CHUNK, mesh: Mesh | None = None) -> Data:
    """Rows ``(n, inputs)`` and ``(n, targets)`` in chunks of about equal size, float32.

    With a mesh each device has as many chunks, which follow one another.
    """
    n, devices = len(x), 1 if mesh is None else mesh.size
    each = -(-n // devices)
    count = -(-each // min(chunk, each))
    rows = -(-each // count)
    count = count * devices

    def cut(a: np.ndarray) -> Array:
        whole = np.zeros((count * rows, *a.shape[1:]), np.float32)
        whole[:n] = a
        return divided(mesh, whole.reshape(count, rows, *a.shape[1:]))

    weight = cut(np.ones(n)) if count * rows > n else None
    return Data(cut(x), cut(y), weight, mesh)


class Layout(NamedTuple):
    """How a tree of arrays lies in a vector; hashable."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tree: PyTree) -> "Layout":
        """That of the tree."""
        leaves, structure = jax.tree.flatten(tree)
        return cls(structure, tuple(np.shape(leaf) for leaf in leaves))

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def tree(self, vector: Array) -> PyTree:
        """The tree of a vector."""
        # One split, whose gradient is one concatenation.
        pieces = lax.split(vector, [int(np.prod(shape)) for shape in self.shapes])
        leaves = [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


def flat(tree: PyTree) -> Array:
    """The vector of a tree, see `Layout`."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


class Joint(eqx.Module):
    """The density of weights, hyperparameters and noise together, given data.

    Attributes:
        still: the network without its weights.
        prior: of the weights.
        likelihood: of the targets.
        layout: of the three in the vector.
    """

    still: PyTree
    prior: WeightPrior
    likelihood: Likelihood
    layout: Layout = eqx.field(static=True)

    @classmethod
    def of(
        cls, network: eqx.Module, prior: WeightPrior, likelihood: Likelihood, targets: int
    ) -> tuple["Joint", Array]:
        """The density, and the vector of the network as it is.

        Args:
            network: from inputs to ``likelihood.outputs(targets)`` outputs; its inexact arrays are
                the weights.
            prior: of them.
            likelihood: of the targets.
            targets: number of them.
        """
        weights, still = eqx.partition(network, eqx.is_inexact_array)
        parts = (weights, prior.hyper(weights), likelihood.noise(targets))
        return cls(still, prior, likelihood, Layout.of(parts)), flat(parts)

    @property
    def dim(self) -> int:
        """Length of the vector."""
        return self.layout.size

    @property
    def weights(self) -> int:
        """How many numbers of the vector, the first ones, are the network's."""
        leaves = self.layout.structure.children()[0].num_leaves
        return sum(int(np.prod(shape)) for shape in self.layout.shapes[:leaves])

    def parts(self, theta: Array) -> tuple[PyTree, PyTree, PyTree]:
        """Weights, hyperparameters and noise of a vector ``(dim,)``."""
        return self.layout.tree(theta)

    def network(self, theta: Array) -> eqx.Module:
        """The network of a vector."""
        return eqx.combine(self.parts(theta)[0], self.still)

    def outputs(self, theta: Array, x: Array) -> Array:
        """The network's outputs ``(rows, outputs)`` at rows ``(rows, inputs)``."""
        return on_rows(self.network(theta), x)

    def log_prior(self, theta: Array) -> Array:
        """Of all that the vector holds."""
        weights, hyper, noise = self.parts(theta)
        return self.prior.log_prob(weights, hyper) + self.likelihood.log_prior(noise)

    def of_chunk(self, theta: Array, piece: Data) -> Array:
        """The log-likelihood of the rows of one chunk, ``Data`` without its first axis."""
        found = self.likelihood.log_prob(
            self.outputs(theta, piece.x), piece.y, self.parts(theta)[2]
        )
        if piece.weight is None:
            return jnp.sum(found)
        return jnp.sum(jnp.where(piece.weight > 0, piece.weight * found, 0.0))

    def log_likelihood(self, theta: Array, data: Data) -> Array:
        """Of all rows, chunk by chunk: memory holds the activations of one chunk only.

        With several chunks the gradient is summed on the way, so that nothing is computed twice;
        second derivatives then need the rows in one chunk.
        """
        return over_devices(data.mesh, self.of_rows, theta, data)

    def of_rows(self, theta: Array, data: Data) -> Array:
        """The same, of the rows that one device has."""
        if data.x.shape[0] == 1:
            return self.of_chunk(theta, jax.tree.map(lambda a: a[0], data))
        return _summed(self.of_chunk, theta, data)

    def log_prob(self, theta: Array, data: Data) -> Array:
        """Prior and likelihood together."""
        return self.log_prior(theta) + self.log_likelihood(theta, data)


def _summed(function: Any, theta: Array, data: Data) -> Array:
    @jax.custom_vjp
    def total(theta: Array, data: Data) -> Array:
        def add(value: Array, piece: Data) -> tuple[Array, None]:
            return value + function(theta, piece), None

        return lax.scan(add, jnp.zeros_like(theta, shape=()), data)[0]

    def forward(theta: Array, data: Data) -> tuple[Array, Array]:
        def add(carry: tuple[Array, Array], piece: Data) -> tuple[tuple[Array, Array], None]:
            value, slope = jax.value_and_grad(function)(theta, piece)
            return (carry[0] + value, carry[1] + slope), None

        return lax.scan(add, (jnp.zeros_like(theta, shape=()), jnp.zeros_like(theta)), data)[0]

    def backward(slope: Array, change: Array) -> tuple[Array, None]:
        return change * slope, None

    total.defvjp(forward, backward)
    return total(theta, data)


class Posterior(eqx.Module):
    """The density given rows: of the whole vector, or of neighbouring coordinates given the others.

    Called with a vector ``(dim,)`` it gives `Joint.log_prob`.

    Attributes:
        joint: of the whole vector.
        data: the rows.
        around: the whole vector, whose other coordinates are given; None where there are none.
        first: of the coordinates.
        size: how many there are.
    """

    joint: Joint
    data: Data
    around: Array | None
    first: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @classmethod
    def of(cls, joint: Joint, data: Data) -> "Posterior":
        """That of the whole vector."""
        return cls(joint, data, None, 0, joint.dim)

    def part(self, around: Array, first: int, size: int) -> "Posterior":
        """That of ``size`` coordinates from ``first`` on, given the others of ``around``."""
        return Posterior(self.joint, self.data, around, first, size)

    @property
    def dim(self) -> int:
        """How many coordinates there are."""
        return self.size

    def whole(self, theta: Array) -> Array:
        """The whole vector ``(joint.dim,)``."""
        if self.around is None:
            return theta
        return lax.dynamic_update_slice(self.around, theta, (self.first,))

    def __call__(self, theta: Array) -> Array:
        """The log-density at ``(dim,)``."""
        return self.joint.log_prob(self.whole(theta), self.data)

    def log_prior(self, theta: Array) -> Array:
        """The prior's part of it."""
        return self.joint.log_prior(self.whole(theta))

    def of_batch(self, theta: Array, number: Array, batches: int) -> Array:
        """An unbiased estimate from every ``batches``-th row of each device, from ``number`` on.

        Its mean over the ``batches`` numbers is the log-density.
        """

        def own(theta: Array, data: Data, number: Array) -> Array:
            rows = data.rows
            count = rows.x.shape[0]
            taken = number + batches * jnp.arange(-(-count // batches))
            weight = jnp.ones(()) if rows.weight is None else rows.weight[taken]
            weight = jnp.where(taken < count, weight, 0.0)
            piece = Data(rows.x[taken], rows.y[taken], weight)  # beyond the end: the last row
            return batches * self.joint.of_chunk(theta, piece)

        theta, data = self.whole(theta), self.data
        value = over_devices(data.mesh, own, theta, data, number)
        return self.joint.log_prior(theta) + value
