"""Quantile networks: each coordinate is a quantile, given those before it and the context.

    x_i = f(tau_i; context, x_1, ..., x_{i-1}),   tau_i = Phi(z_i),

so that uniform ``tau``, or normal ``z``, make draws (implicit quantile networks: Dabney et al.,
1806.06923; of several outputs by the chain rule: Kronheim et al., 2111.11415). The density is
``1 / (df/dtau)``.
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection, Direction
from posterion.bijections.elementwise import Transformer
from posterion.core.registry import register
from posterion.networks.perceptron import MLP

_REACH = 6.0
_HALVINGS = 26
_LEAST = 1e-6


class Quantiles(Bijection):
    """A bijection from normal numbers whose coordinates are quantiles, as `fit` learns them."""

    @abstractmethod
    def quantiles_at(self, z: Array, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Of each coordinate the quantiles at ``z``, given ``x`` of those before; and the slopes.

        Args:
            z: levels as normal numbers, ``(levels, *x.shape)``.
            x: the coordinates, ``(dim,)``, or ``(dim, batch)``.
            context: ``(width,)`` or ``(width, batch)``.

        Returns:
            Values and their slopes by the level that the network sees, of ``z``'s shape.
        """

    @property
    @abstractmethod
    def rises(self) -> bool:
        """Whether quantiles rise with their level by construction."""


@register("masked_quantiles")
class MaskedQuantiles(Quantiles):
    """Quantiles by monotone maps whose parameters come from one masked network.

    Args:
        layer: forward, from ``z`` to coordinates, it is the quantiles.
    """

    layer: Autoregressive
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, layer: Autoregressive):
        self.layer = layer
        self.event_shape = layer.event_shape
        self.context_shape = layer.context_shape

    @property
    def fast(self) -> Direction:
        return "inverse"

    @property
    def batch_last(self) -> bool:
        return True

    @property
    def rises(self) -> bool:
        return True

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.layer.forward_and_log_det(z, context)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.layer.inverse_and_log_det(x, context)

    def quantiles_at(self, z: Array, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        values, log_slopes = self.layer.given(z, x, context)
        return values, jnp.exp(log_slopes)


@register("quantile_map")
class QuantileMap(Quantiles):
    """Quantiles of one coordinate after the other, by a perceptron.

    The perceptron sees the context, the coordinates before (zero in place of the others), which
    coordinate is asked for (one-hot), and the level: ``6 tau - 3``, as published, or ``z``. With a
    ``transformer`` it does not see the level, but gives the parameters of a monotone map of ``z``:
    quantiles that never cross.

    Without one nothing makes the quantiles rise with the level; where they fall, the inverse is one
    of several, and the density is that of the slope's size.

    Args:
        dim: number of coordinates.
        hidden: widths of the hidden layers.
        activation: between them.
        transformer: the monotone map; ``None`` for the published kind.
        separate: a network for each coordinate, instead of one for all.
        normal_level: whether the network sees ``z`` instead of ``6 tau - 3``.
        context_size: width of the context.
        key: of the initial weights.

    Raises:
        SettingError: as of the perceptron.
    """

    network: MLP
    transformer: Transformer | None
    separate: bool = eqx.field(static=True)
    normal_level: bool = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...] = (50,) * 5,
        activation: str = "leaky_relu",
        *,
        transformer: Transformer | None = None,
        separate: bool = False,
        normal_level: bool = False,
        context_size: int = 0,
        key: PRNGKeyArray,
    ):
        self.event_shape = (dim,)
        self.context_shape = (context_size,) if context_size else None
        self.transformer = transformer
        self.separate, self.normal_level = separate, normal_level
        one_hot = 0 if separate or dim == 1 else dim
        inputs = context_size + one_hot + (dim - 1) + (transformer is None)
        outputs = 1
        if transformer is not None:
            outputs = int(jnp.prod(jnp.array(transformer.parameter_shape(1))))
        start = transformer is not None

        def made(key: PRNGKeyArray) -> MLP:
            return MLP(inputs, outputs, hidden, activation, key=key, zero_output=start)

        if separate:
            self.network = eqx.filter_vmap(made)(jax.random.split(key, dim))
        else:
            self.network = made(key)

    @property
    def fast(self) -> Direction:
        return "inverse" if self.transformer is not None else "both"

    @property
    def batch_last(self) -> bool:
        return True

    @property
    def rises(self) -> bool:
        return self.transformer is not None

    def level(self, z: Array) -> Array:
        """What the network sees of a level."""
        return z if self.normal_level else 6 * ndtr(z) - 3

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        dim, batch = self.event_shape[0], z.shape[1:]
        context = self._context(context, batch)

        def step(carry: tuple[Array, Array], row: Any) -> tuple[Any, None]:
            x, log_det = carry
            number, network, level = row
            network = self.network if network is None else network
            inputs = self._inputs(number, x[: dim - 1], context)
            value, slope = self._value(network, inputs, level)
            x = lax.dynamic_update_slice_in_dim(x, value[None], number, 0)
            return (x, log_det + jnp.log(_size(slope))), None

        start = jnp.zeros((dim, *batch), z.dtype), jnp.zeros(batch, z.dtype)
        rows = jnp.arange(dim), self.network if self.separate else None, z
        (x, log_det), _ = lax.scan(step, start, rows)
        return x, log_det

    def quantiles_at(self, z: Array, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        given = self._prepared(x, context)
        if self.transformer is not None:
            return lax.map(lambda z: self._at(z, given), z)
        return jax.vmap(lambda z: self._at(z, given))(z)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        given = self._prepared(x, context)
        if self.transformer is not None:
            flat = x.reshape(1, -1)
            z, log_slope = self.transformer.inverse(flat, given)
            return z.reshape(x.shape), jnp.sum(log_slope.reshape(x.shape), axis=0)
        fixed, held = lax.stop_gradient((self, given))
        z = fixed._bisected(lax.stop_gradient(x), held)
        value, slope = self._at_z(z, given)
        # One Newton step: the derivatives of the implicit function, and its last digits.
        size = lax.stop_gradient(slope)
        near = jnp.abs(value - x) < 0.1 * jnp.abs(size)
        z = z - jnp.where(near, (value - x) / jnp.where(near, size, 1), 0)
        return z, -jnp.sum(jnp.log(_size(self._at_z(z, given)[1])), axis=0)

    def _bisected(self, x: Array, given: Array) -> Array:
        def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * (low + high)
            below = self._at(middle, given)[0] < x
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        ends = jnp.full_like(x, -_REACH), jnp.full_like(x, _REACH)
        low, high = lax.fori_loop(0, _HALVINGS, halve, ends)
        return 0.5 * (low + high)

    # What the network sees --------------------------------------------------------------------

    def _context(self, context: Array | None, batch: tuple[int, ...]) -> Array | None:
        if context is None or context.ndim > len(batch):
            return context
        return jnp.broadcast_to(context[:, None], (context.shape[0], *batch))

    def _inputs(self, number: Array, x: Array, context: Array | None) -> Array:
        """Of one coordinate, without the level; ``x`` are those that may come before it."""
        dim, batch = self.event_shape[0], x.shape[1:]
        before = (jnp.arange(dim - 1) < number).reshape(-1, *(1 for _ in batch))
        parts = [] if context is None else [context]
        parts.append(jnp.where(before, x, 0))
        if not self.separate and dim > 1:
            hot = (jnp.arange(dim) == number).astype(x.dtype)
            parts.append(jnp.broadcast_to(hot.reshape(-1, *(1 for _ in batch)), (dim, *batch)))
        return jnp.concatenate(parts)

    def _prepared(self, x: Array, context: Array | None) -> Array:
        """Inputs of all coordinates ``(dim, inputs, ...)``, or what the transformer takes."""
        dim, batch = self.event_shape[0], x.shape[1:]
        context = self._context(context, batch)
        numbers = jnp.arange(dim)
        inputs = jax.vmap(lambda i: self._inputs(i, x[: dim - 1], context))(numbers)
        if self.transformer is None:
            return inputs
        out = self._through(inputs)
        shape = self.transformer.parameter_shape(1)[1:]
        return jnp.moveaxis(out, 0, 1).reshape(1, *shape, -1)

    def _through(self, inputs: Array) -> Array:
        """The network at ``(dim, inputs, ...)``: ``(dim, outputs, ...)``."""
        if self.separate:
            return eqx.filter_vmap(lambda network, rows: network(rows))(self.network, inputs)
        flat = jnp.moveaxis(inputs, 0, -1).reshape(inputs.shape[1], -1)
        out = self.network(flat)
        batch = inputs.shape[2:]
        return jnp.moveaxis(out.reshape(out.shape[0], *batch, inputs.shape[0]), -1, 0)

    def _at(self, z: Array, given: Array) -> tuple[Array, Array]:
        """Values and slopes by the level."""
        if self.transformer is not None:
            value, log_slope = self.transformer.forward(z.reshape(1, -1), given)
            return value.reshape(z.shape), jnp.exp(log_slope).reshape(z.shape)

        def at(level: Array) -> Array:
            return self._through(jnp.concatenate([given, level[:, None]], axis=1))[:, 0]

        level = self.level(z)
        return jax.jvp(at, (level,), (jnp.ones_like(level),))

    def _at_z(self, z: Array, given: Array) -> tuple[Array, Array]:
        value, slope = self._at(z, given)
        if self.transformer is not None:
            return value, slope
        return value, slope * jax.jvp(self.level, (z,), (jnp.ones_like(z),))[1]

    def _value(self, network: MLP, inputs: Array, z: Array) -> tuple[Array, Array]:
        """Of one coordinate: the value and its slope by ``z``."""
        if self.transformer is not None:
            out = network(inputs)
            shape = self.transformer.parameter_shape(1)
            parameters = out.reshape(*shape, *z.shape)
            value, log_slope = self.transformer.forward(z[None], parameters)
            return value[0], jnp.exp(log_slope[0])

        def at(z: Array) -> Array:
            return network(jnp.concatenate([inputs, self.level(z)[None]]))[0]

        return jax.jvp(at, (z,), (jnp.ones_like(z),))


def _size(slope: Array) -> Array:
    return jnp.maximum(jnp.abs(slope), _LEAST)
