"""Autoregressive layers: each coordinate is moved by amounts that depend on those before it."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray

from posterion.bijections.base import Bijection, Direction
from posterion.bijections.elementwise import Transformer
from posterion.bijections.splines import MixedTransformer
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.networks.made import MADE
from posterion.networks.perceptron import activation_of


@register("autoregressive")
class Autoregressive(Bijection):
    """Masked autoregressive layer: ``z_i`` is ``x_i`` moved as ``x_1, ..., x_{i-1}`` say.

    Its inverse, data to base, costs one pass of the network (Papamakarios et al., 1705.07057).
    Forward it goes from coordinate to coordinate, ``dim`` steps, but evaluates each hidden unit
    once: about the arithmetic of one pass too. Within ``Invert`` it is an inverse autoregressive
    layer (Kingma et al., 1606.04934). Both directions are differentiable, in either mode: the
    derivative of the sequential one solves a triangular system, by the same steps.

    Args:
        order: ``(dim,)``, a permutation: which coordinate comes first, second, ...
        transformer: the element-wise map.
        hidden: widths of the conditioner's hidden layers.
        activation: name of its activation.
        context_size: width of the context, 0 for none.
        residual: whether its hidden layers add to the ones before.
        key: random key; the conditioner's last layer starts at zero, the layer as the identity.

    Raises:
        ShapeError: the order is no permutation.
        SettingError: as of the conditioner.
    """

    order: Array
    conditioner: MADE
    transformer: Transformer
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        order: Int[Array, " dim"],
        transformer: Transformer,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        context_size: int = 0,
        residual: bool = False,
        key: PRNGKeyArray,
    ):
        dim = order.shape[-1]
        if not np.array_equal(np.sort(order), np.arange(dim)):
            raise ShapeError(f"the order is no permutation of 0 to {dim - 1}: {order}")
        self.order = order
        self.transformer = transformer
        self.conditioner = MADE(
            dim,
            max(int(np.prod(part.parameter_shape(1))) for part in _parts(transformer)),
            hidden,
            activation,
            angles=any(transformer.circles(dim)),
            context_size=context_size,
            residual=residual,
            key=key,
        )
        self.event_shape = (dim,)
        self.context_shape = (context_size,) if context_size else None

    @property
    def fast(self) -> Direction:
        return "inverse"

    @property
    def batch_last(self) -> bool:
        return True

    def inverse_and_log_slopes(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """``z`` and the logarithms of ``dz_i/dx_i``, both of the shape of ``x``."""
        z, log_slopes = self._ordered_inverse(x, context)
        return self._back(z), self._back(log_slopes)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        z, log_slopes = self._ordered_inverse(x, context)
        return self._back(z), jnp.sum(log_slopes, axis=0)

    def _ordered_inverse(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        x, circle = _take(x, self.order), self._circle()
        return self._move("inverse", x, self.conditioner(x, context, circle), circle)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return _solve(self, z, context)

    def given(self, z: Array, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Several ``z`` moved as the coordinates ``x`` before each say, and the slopes' logarithms.

        Forward in one pass, for ``x`` that are known; ``z`` and what is given have the shape
        ``(several, *x.shape)``. One after the other: the gradients of the parameters add up in
        place, where XLA's sum over all at once would take several times as long.
        """
        circle = self._circle()
        parameters = self.conditioner(_take(x, self.order), context, circle)

        def moved(z: Array) -> tuple[Array, Array]:
            value, log_slopes = self._move("forward", _take(z, self.order), parameters, circle)
            return self._back(value), self._back(log_slopes)

        return lax.map(moved, z)

    def inverse_and_score(
        self, x: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        fixed, x_fixed, context_fixed = lax.stop_gradient((self, x, context))
        _, pull = jax.vjp(lambda x: fixed.inverse_and_log_det(x, context_fixed)[1], x_fixed)
        (bend,) = pull(jnp.ones(x.shape[1:], x.dtype))
        slopes = _linearised(fixed, x_fixed, context_fixed)
        solve = jax.linear_transpose(lambda right: _linear_steps(fixed, slopes, right), x_fixed)
        z, log_det = self.inverse_and_log_det(x, context)
        # log q(z(x)) = log q(x) - log|det dz/dx|, and d/dz of it is J^-T d/dx.
        (score,) = solve(lax.stop_gradient(score) - bend)
        return z, log_det, lax.stop_gradient(score)

    def _circle(self) -> Array | None:
        """Which of the coordinates, in order, are angles; ``None`` where none is."""
        circles = self.transformer.circles(self.event_shape[0])
        return jnp.asarray(circles)[self.order] if any(circles) else None

    def _back(self, ordered: Array) -> Array:
        return _take(ordered, jnp.argsort(self.order))

    def _move(
        self,
        method: Literal["forward", "inverse"],
        values: Array,
        parameters: Array,
        circle: Array | None,
    ) -> tuple[Array, Array]:
        """The transformer at some coordinates, with ``circle`` of these."""
        n, batch = values.shape[0], values.shape[1:]

        def moved(part: Transformer, values: Array) -> tuple[Array, Array]:
            shape = part.parameter_shape(n)
            own = parameters[:, : int(np.prod(shape[1:]))]
            return getattr(part, method)(values, own.reshape(*shape, *batch))

        if not isinstance(self.transformer, MixedTransformer) or circle is None:
            return moved(self.transformer, values)
        circle = circle if values.ndim == 1 else circle[:, None]
        line = moved(self.transformer.real, jnp.where(circle, 0, values))
        turn = moved(self.transformer.circular, jnp.where(circle, values, 0))
        return jnp.where(circle, turn[0], line[0]), jnp.where(circle, turn[1], line[1])


def _parts(transformer: Transformer) -> tuple[Transformer, ...]:
    if isinstance(transformer, MixedTransformer):
        return transformer.real, transformer.circular
    return (transformer,)


def _take(rows: Array, index: Array) -> Array:
    return rows.at[index].get(mode="promise_in_bounds")


# The sequential direction -----------------------------------------------------------------------


@eqx.filter_custom_jvp
def _solve(layer: Autoregressive, z: Array, context: Array | None) -> tuple[Array, Array]:
    """``x`` and the log-determinant, coordinate by coordinate."""
    net = layer.conditioner
    weights = net.masked()
    biases = [net.first_biases(context), *net.biases[1:-1]]
    function = activation_of(net.activation)

    def activate(i: int, sums: Array, start: Array, size: int) -> Array:
        bias = lax.dynamic_slice_in_dim(biases[i], start, size)
        return function(sums + (bias if bias.ndim == sums.ndim else bias[:, None]))

    def step(carry, row):
        known, log_det = carry
        number, starts, circle, value, bias = row
        known, parameters = net.advance(known, weights, starts, number, activate)
        parameters = parameters + (bias if z.ndim == 1 else bias[:, None])
        flag = None if circle is None else circle[None]
        x, log_slope = layer._move("forward", value[None], parameters[None], flag)
        first, second = x[0], None
        if circle is not None:
            first, second = net.features(x, flag)
        return (net.put(known, number, first, second), log_det + log_slope[0]), x[0]

    batch = z.shape[1:]
    start = net.begin(batch, z.dtype), jnp.zeros(batch, z.dtype)
    last = net.biases[-1].reshape(net.dim, net.width)
    rows = (*_rows(layer), _take(z, layer.order), last)
    (_, log_det), x = lax.scan(step, start, rows)
    return layer._back(x), log_det


def _rows(layer: Autoregressive) -> tuple[Any, ...]:
    """What differs from step to step: its number, where units begin, whether it is an angle."""
    net = layer.conditioner
    numbers = jnp.arange(net.dim, dtype=jnp.int32)
    return numbers, [jnp.asarray(starts) for starts, _ in net.windows()], layer._circle()


@_solve.def_jvp
def _(primals, tangents):
    layer, z, context = primals
    x, log_det = _solve(layer, z, context)
    slopes = _linearised(layer, x, context)

    def to_base(layer, x, context):
        return layer.inverse_and_log_det(x, context)

    _, (moved, _) = eqx.filter_jvp(
        lambda layer, context: to_base(layer, x, context),
        (layer, context),
        (tangents[0], tangents[2]),
    )
    right = jnp.zeros_like(z) if tangents[1] is None else tangents[1]
    x_dot = _linear_steps(layer, slopes, right if moved is None else right - moved)
    _, (_, log_dot) = eqx.filter_jvp(
        to_base, (layer, x, context), (tangents[0], x_dot, tangents[2])
    )
    return (x, log_det), (x_dot, None if log_dot is None else -log_dot)


def _linearised(layer: Autoregressive, x: Array, context: Array | None) -> tuple[Any, ...]:
    """Derivatives at ``x``: of activations, of features, of the map by parameters and by ``x``."""
    net, circle = layer.conditioner, layer._circle()
    x = _take(x, layer.order)
    parameters, sums = net.with_sums(x, context, circle)
    function = activation_of(net.activation)
    units = [jax.jvp(function, (a,), (jnp.ones_like(a),))[1] for a in sums]
    moved, pull = jax.vjp(lambda x, p: layer._move("inverse", x, p, circle)[0], x, parameters)
    by_x, by_parameters = pull(jnp.ones_like(moved))
    angles = None if circle is None else (-jnp.sin(x), jnp.cos(x))
    return units, angles, by_parameters, by_x


def _linear_steps(layer: Autoregressive, slopes: tuple[Any, ...], right: Array) -> Array:
    """Solves ``(dz/dx) x_dot = right``, lower triangular, coordinate by coordinate."""
    net = layer.conditioner
    weights = net.masked()
    units, angles, by_parameters, by_x = slopes

    def activate(i: int, sums: Array, start: Array, size: int) -> Array:
        return sums * lax.dynamic_slice_in_dim(units[i], start, size)

    def step(known, row):
        number, starts, circle, value, angle, by_parameters, by_x = row
        known, parameters = net.advance(known, weights, starts, number, activate)
        x = (value - jnp.sum(by_parameters * parameters, axis=0)) / by_x
        first, second = x, None
        if circle is not None:
            first = jnp.where(circle, angle[0] * x, x)
            second = jnp.where(circle, angle[1] * x, 0)
        return net.put(known, number, first, second), x

    rows = (*_rows(layer), _take(right, layer.order), angles, by_parameters, by_x)
    _, x = lax.scan(step, net.begin(right.shape[1:], right.dtype), rows)
    return layer._back(x)
