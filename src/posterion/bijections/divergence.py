"""A velocity with its divergence, ``sum_i dv_i / dz_i``: exactly, or in expectation by probes.

Every array may have a batch along one more, last axis.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.base import across, constant
from posterion.networks.perceptron import MLP, activation_of
from posterion.networks.products import product

Velocity = Callable[[Array], Array]


def by_columns(velocity: Velocity, z: Array, coordinates: np.ndarray) -> tuple[Array, Array]:
    """The velocity at ``z``, and the part of its divergence that is due to ``coordinates``.

    One forward derivative for each of them, one after the other.
    """
    value, push = jax.linearize(velocity, z)

    def add(total: Array, i: Array) -> tuple[Array, None]:
        return total + push(jnp.zeros_like(z).at[i].set(1))[i], None

    start = jnp.zeros(z.shape[1:], z.dtype)
    return value, lax.scan(add, start, jnp.asarray(coordinates, jnp.int32))[0]


def by_probes(velocity: Velocity, z: Array, probes: Array) -> tuple[Array, Array]:
    """The velocity at ``z``, and the mean of ``e . (dv/dz) e`` over ``probes``, ``(n, dim)``.

    The divergence in expectation where the probes' entries are independent signs (Hutchinson 1990;
    Grathwohl et al., 1810.01367, section 3.1).
    """
    value, push = jax.linearize(velocity, z)

    def add(total: Array, probe: Array) -> tuple[Array, None]:
        probe = jnp.broadcast_to(across(probe, z), z.shape)
        return total + jnp.sum(probe * push(probe), axis=0), None

    start = jnp.zeros(z.shape[1:], z.dtype)
    total, _ = lax.scan(add, start, probes.astype(z.dtype))
    return value, total / probes.shape[0]


def has_kernel(network: MLP) -> bool:
    """Whether `by_kernel` can be used: up to two hidden layers, one after the other."""
    return len(network.weights) <= 3 and not network.residual


def kernel(network: MLP, coordinates: np.ndarray) -> Array:
    """What the weights contribute to the part of the divergence due to ``coordinates``.

    With ``s`` and ``r`` the slopes of two hidden layers that trace is
    ``tr(W3 diag(r) W2 diag(s) W1) = r . (W2 * (W1 W3)^T) s``: once the matrix in the middle is
    known, it costs no more than a layer of the network, whatever the number of coordinates.

    Args:
        network: of which output ``i`` is the velocity of coordinate ``i``, its input ``i``.
        coordinates: their numbers.

    Returns:
        A number, a vector or a matrix, by the number of hidden layers: none, one or two.
    """
    first, last = network.weights[0][:, coordinates], network.weights[-1][coordinates]
    match network.weights:
        case (_,):
            return jnp.trace(last[:, coordinates])
        case (_, _):
            return jnp.sum(first.T * last, axis=0)
        case (_, middle, _):
            return middle * product(first, last).T
    raise NotImplementedError(f"{len(network.weights) - 1} hidden layers")


def by_kernel(network: MLP, inputs: Array, matrix: Array) -> tuple[Array, Array]:
    """The network's output at ``inputs``, and its divergence by the `kernel` ``matrix``."""
    function, values, slopes = activation_of(network.activation), inputs, []
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        before = product(weight, values) + across(bias, values)
        values, slope = jax.jvp(function, (before,), (jnp.ones_like(before),))
        slopes.append(slope)
    value = product(network.weights[-1], values) + across(network.biases[-1], values)
    match slopes:
        case []:
            return value, constant(matrix, value)
        case [slope]:
            return value, product(matrix, slope)
        case [slope, last]:
            return value, jnp.sum(last * (product(matrix, slope)), axis=0)
    raise NotImplementedError(f"{len(slopes)} hidden layers")
