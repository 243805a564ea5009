"""The masked network that conditions autoregressive layers, whole or one degree at a time.

Inputs have the degrees 1 to ``dim``, the context 0, and hidden units degrees in between, in
ascending order within a layer. A unit sees what has at most its own degree, the parameters of
coordinate ``i`` what has a smaller one than ``i + 1`` (Germain et al., 1502.03509).

Because units are sorted, those of one degree are neighbours: an inverse that goes from coordinate
to coordinate computes each unit once, when its degree has come, and all steps together cost about
one pass of the network instead of ``dim``.
"""

from collections.abc import Callable
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.core.settings import widths_of
from posterion.networks.perceptron import activation_of, check_residual, initial_layer
from posterion.networks.products import product

Known = tuple[Array, ...]


@register("made")
class MADE(eqx.Module):
    """Parameters of each of ``dim`` coordinates from the coordinates before it and a context.

    Args:
        dim: number of coordinates, taken in their order.
        width: parameters of each coordinate.
        hidden: widths of the hidden layers.
        activation: name of the activation.
        angles: whether there are angles: each coordinate then has two inputs, of an angle the
            cosine and the sine.
        context_size: width of the context, 0 for none.
        residual: hidden layers after the first add to the one before; all of one width.
        key: of the initial weights; the last layer starts at zero.

    Raises:
        SettingError: no hidden layer, a width below 1, unequal widths of a residual network.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    from_context: Array | None
    activation: str = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    angles: bool = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        angles: bool = False,
        context_size: int = 0,
        residual: bool = False,
        key: PRNGKeyArray,
    ):
        hidden = widths_of("hidden", hidden)
        if not hidden or min(dim, width) < 1:
            raise SettingError(f"a masked network needs hidden layers of positive widths: {hidden}")
        activation_of(activation)
        check_residual(residual, hidden)
        self.activation = activation
        self.dim, self.angles, self.residual = dim, angles, residual
        inputs = len(self._inputs())
        sizes = (inputs + context_size, *hidden)
        layers = [
            initial_layer(jax.random.fold_in(key, i), rows, columns, small=True)
            for i, (columns, rows) in enumerate(pairwise(sizes))
        ]
        first = layers[0][0]
        weights = [first[:, :inputs], *(weight for weight, _ in layers[1:])]
        self.weights = (*weights, jnp.zeros((dim * width, sizes[-1])))
        self.biases = (*(bias for _, bias in layers), jnp.zeros(dim * width))
        self.from_context = first[:, inputs:] if context_size else None

    @property
    def width(self) -> int:
        """Parameters of each coordinate."""
        return self.biases[-1].shape[-1] // self.dim

    def _inputs(self) -> np.ndarray:
        return np.tile(np.arange(1, self.dim + 1), 1 + self.angles)

    def _degrees(self) -> list[np.ndarray]:
        lowest = 1 if self.from_context is None else 0
        hidden = [unit_degrees(b.shape[-1], self.dim, lowest) for b in self.biases[:-1]]
        return [self._inputs(), *hidden, np.repeat(np.arange(self.dim), self.width)]

    def masked(self) -> list[Array]:
        """The weights, zero where a unit must not see."""
        degrees = [jnp.asarray(d, jnp.int32) for d in self._degrees()]
        return [
            jnp.where(rows[:, None] >= columns, weight, 0)
            for weight, columns, rows in zip(self.weights, degrees[:-1], degrees[1:], strict=True)
        ]

    def features(self, x: Array, circle: Array | None) -> Array:
        """What the first layer sees of the coordinates ``x``, those on a ``circle`` by two."""
        if circle is None:
            return x
        circle = circle if x.ndim == 1 else circle[:, None]
        first, second = jnp.where(circle, jnp.cos(x), x), jnp.where(circle, jnp.sin(x), 0)
        return jnp.concatenate([first, second])

    def first_biases(self, context: Array | None) -> Array:
        """Biases of the first layer with what the context adds, a batch along the last axis."""
        if self.from_context is None or context is None:
            return self.biases[0]
        added = product(self.from_context, context)
        return added + (self.biases[0] if added.ndim == 1 else self.biases[0][:, None])

    def __call__(
        self, x: Array, context: Array | None = None, circle: Array | None = None
    ) -> Array:
        """Parameters ``(dim, width, ...)`` of all coordinates ``(dim, ...)``."""
        return self.with_sums(x, context, circle)[0]

    def with_sums(
        self, x: Array, context: Array | None, circle: Array | None
    ) -> tuple[Array, list[Array]]:
        """The parameters, and of each hidden layer the values before its activation."""
        function = activation_of(self.activation)
        biases = [self.first_biases(context), *self.biases[1:]]
        *weights, last = self.masked()
        values, before = self.features(x, circle), []
        for i, (weight, bias) in enumerate(zip(weights, biases[:-1], strict=True)):
            before.append(_plus(product(weight, values), bias))
            moved = function(before[-1])
            values = values + moved if self.residual and i else moved
        out = _plus(product(last, values), biases[-1])
        return out.reshape(self.dim, self.width, *x.shape[1:]), before

    # One degree at a time -------------------------------------------------------------------

    def windows(self) -> list[tuple[np.ndarray, int]]:
        """Of each hidden layer: where the units of each degree begin, and how many to compute.

        As many as the most frequent degree has: what a window holds beyond its own degree is
        computed again when its turn comes, and not seen before that.
        """
        found = []
        for degrees in self._degrees()[1:-1]:
            starts = np.searchsorted(degrees, np.arange(self.dim))
            size = int(np.bincount(degrees, minlength=1).max())
            found.append((np.minimum(starts, len(degrees) - size).astype(np.int32), size))
        return found

    def begin(self, shape: tuple[int, ...], dtype: jnp.dtype) -> Known:
        """Nothing known yet, for a batch of ``shape``."""
        rows = [self.weights[0].shape[1], *(bias.shape[-1] for bias in self.biases[:-1])]
        return tuple(jnp.zeros((n, *shape), dtype) for n in rows)

    def advance(
        self,
        known: Known,
        weights: list[Array],
        starts: list[Array],
        number: Array,
        activate: Callable[[int, Array, Array, int], Array],
    ) -> tuple[Known, Array]:
        """Computes the units of degree ``number``, then the parameters of that coordinate.

        ``activate(layer, values, start, size)`` turns sums into values of the units
        ``start, ..., start + size - 1`` of a layer.
        """
        features, *hidden = known
        values = features
        for i, (_, size) in enumerate(self.windows()):
            rows = lax.dynamic_slice_in_dim(weights[i], starts[i], size)
            moved = activate(i, product(rows, values), starts[i], size)
            if self.residual and i:
                moved = moved + lax.dynamic_slice_in_dim(hidden[i - 1], starts[i], size)
            hidden[i] = lax.dynamic_update_slice_in_dim(hidden[i], moved, starts[i], 0)
            values = hidden[i]
        rows = lax.dynamic_slice_in_dim(weights[-1], number * self.width, self.width)
        return (features, *hidden), product(rows, values)

    def put(self, known: Known, number: Array, first: Array, second: Array | None) -> Known:
        """Notes the inputs of coordinate ``number``."""
        features = lax.dynamic_update_slice_in_dim(known[0], first[None], number, 0)
        if second is not None:
            place = number + self.dim
            features = lax.dynamic_update_slice_in_dim(features, second[None], place, 0)
        return (features, *known[1:])


def unit_degrees(units: int, dim: int, lowest: int) -> np.ndarray:
    """Degrees of a hidden layer from ``lowest`` to ``dim - 1``, evenly, in ascending order."""
    count = max(dim - lowest, 1)
    if units < count:  # both ends are there: no coordinate is left unseen by all later ones
        return lowest + np.round(np.linspace(0, count - 1, units)).astype(int)
    return lowest + np.arange(units) * count // units


def _plus(values: Array, bias: Array) -> Array:
    return values + (bias if bias.ndim == values.ndim else bias[:, None])
