"""The multilayer perceptron that conditions couplings and regresses."""

from collections.abc import Callable
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.core.settings import widths_of
from posterion.networks.products import product

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
}
"""The activations by name."""


LEARNED: dict[str, tuple[Callable[[Array, Array], Array], float]] = {
    "prelu": (lambda x, a: jnp.where(x > 0, x, a * x), 0.25),
    "swish": (lambda x, a: x * jax.nn.sigmoid(a * x), 1.0),
    "scaled_tanh": (lambda x, a: jnp.tanh(a * x), 1.0),
}
"""Activations with a number for each unit that is learned with the weights, and its start."""


def activation_of(name: str) -> Callable[[Array], Array]:
    """The activation of that name.

    Raises:
        SettingError: there is none.
    """
    if name not in ACTIVATIONS:
        raise SettingError(f"unknown activation {name!r}; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def check_residual(residual: bool, hidden: tuple[int, ...]) -> None:
    """Makes sure that the hidden layers of a residual network can be added.

    Raises:
        SettingError: their widths differ.
    """
    if residual and len(set(hidden)) != 1:
        raise SettingError(f"a residual network needs hidden layers of one width, got {hidden}")


KINKED = ("relu", "leaky_relu")
"""The activations with a kink at zero."""


def initial_layer(
    key: PRNGKeyArray, rows: int, columns: int, *, small: bool
) -> tuple[Array, Array]:
    """Weights and biases to begin with.

    LeCun's weights, which keep the variance, and zero biases; or ``small``: both uniform within one
    over the root of the inputs. Of flows trained on the same rows, kinked activations fit better
    small, with their kinks in different places, smooth ones not: they stay nearly linear for long.
    """
    bound = ((1 if small else 3) / max(columns, 1)) ** 0.5
    weight = jax.random.uniform(key, (rows, columns), minval=-bound, maxval=bound)
    if not small:
        return weight, jnp.zeros(rows)
    key = jax.random.fold_in(key, rows)
    return weight, jax.random.uniform(key, (rows,), minval=-bound, maxval=bound)


@register("mlp")
class MLP(eqx.Module):
    """A multilayer perceptron, ``(in_size,)`` to ``(out_size,)``.

    Args:
        in_size: width of the input.
        out_size: width of the output.
        hidden: widths of the hidden layers; empty for a linear map.
        activation: name of the activation between layers, of `ACTIVATIONS` or `LEARNED`.
        key: random key of the initial weights (`initial_layer`).
        zero_output: start with the last layer at zero, so that the output is zero.
        residual: hidden layers after the first add to the one before (He et al., 1512.03385).

    Raises:
        SettingError: an activation that is in neither, a width below 1, or a residual
            network of different widths.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: str = eqx.field(static=True)
    residual: bool = eqx.field(static=True, default=False)
    shapes: tuple[Array, ...] = ()

    def __init__(
        self,
        in_size: int,
        out_size: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        key: PRNGKeyArray,
        zero_output: bool = False,
        residual: bool = False,
    ):
        hidden = widths_of("hidden", hidden)
        sizes = (in_size, *hidden, out_size)
        if in_size < 0 or min(sizes[1:]) < 1:
            raise SettingError(f"a network's widths must be positive, got {sizes}")
        learned = LEARNED.get(activation)
        if learned is None:
            activation_of(activation)
        check_residual(residual, hidden)
        layers = [
            initial_layer(jax.random.fold_in(key, i), rows, columns, small=activation in KINKED)
            for i, (columns, rows) in enumerate(pairwise(sizes))
        ]
        if zero_output:
            layers[-1] = (jnp.zeros(sizes[:-3:-1]), jnp.zeros(out_size))
        self.weights, self.biases = (tuple(part) for part in zip(*layers, strict=True))
        self.activation = activation
        self.residual = residual
        self.shapes = () if learned is None else tuple(jnp.full(n, learned[1]) for n in hidden)

    def __call__(self, x: Float[Array, "in_size ..."]) -> Float[Array, "out_size ..."]:
        """The network's output at one input, or at a batch of them along a last axis."""
        return self.through(self.affine, x)

    def affine(self, layer: int, x: Array) -> Array:
        """Weights times values plus biases: what a layer's activation acts on."""
        bias = self.biases[layer]
        return product(self.weights[layer], x) + (bias if x.ndim == 1 else bias[:, None])

    def through(self, affine: Callable[[int, Array], Array], x: Array) -> Array:
        """The output with another ``affine(layer, values)`` in place of the network's own."""
        last = len(self.weights) - 1
        for i in range(last):
            moved = self._active(i, affine(i, x))
            x = x + moved if self.residual and i else moved
        return affine(last, x)

    def _active(self, layer: int, x: Array) -> Array:
        if self.activation not in LEARNED:
            return activation_of(self.activation)(x)
        shape = self.shapes[layer]
        return LEARNED[self.activation][0](x, shape if x.ndim == 1 else shape[:, None])
