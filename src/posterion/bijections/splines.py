"""Rational-quadratic splines: on the line, on the circle, and mixed with other maps.

In a bin of width ``w`` and height ``h``, with ``s = h/w``, end slopes ``d0`` and ``d1`` and the
position ``u = 1 - v`` within the bin, the map and its slope are (Durkan et al. 1906.04032,
equations 4 and 5; Gregory and Delbourgo 1982)

    y = y0 + h (s u^2 + d0 u v) / D,   dy/dx = s^2 (d1 u^2 + 2 s u v + d0 v^2) / D^2,
    D = s (u^2 + v^2) + (d0 + d1) u v.

All terms are positive, here and in the inverse: with ``q = (y - y0)/h = 1 - p`` the ratio ``u/v``
solves ``p s (u/v)^2 + b (u/v) - q s = 0``, ``b = p d0 - q d1``, whose discriminant is a sum of
squares. Nothing cancels, so float32 is accurate at any slope.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.elementwise import PI, TURN, Transformer, wrap
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register


class _Bin(NamedTuple):
    """The bin that holds a coordinate, in units of the interval; each of the coordinates' shape."""

    left: Array
    width: Array
    bottom: Array
    height: Array
    slope_left: Array
    slope_right: Array


def _log_slope(raw: Array, smallest: float) -> Array:
    limit = -float(np.log(smallest))
    return limit * jnp.tanh(raw / limit)


def _find(t: Array, parameters: Array, bins: int, smallest: tuple[float, float], by: int) -> _Bin:
    """The bin in which ``t`` falls by its widths (``by = 0``, forward) or heights (``by = 1``).

    Sums under a mask rather than indexing, widths and heights in one array: on a CPU with the batch
    last these, and above all their gradients, are the fastest.
    """
    smallest_bin, smallest_slope = smallest
    batch = t.shape[1:]
    raw = parameters[:, : 2 * bins].reshape(t.shape[0], 2, bins, *batch)
    weights = jnp.exp(raw - lax.stop_gradient(jnp.max(raw, axis=2, keepdims=True)))
    share = (1 - bins * smallest_bin) / jnp.sum(weights, axis=2)

    sizes = smallest_bin + weights[:, by] * share[:, by, None]
    knots = jnp.cumsum(lax.stop_gradient(sizes), axis=1)[:, :-1]
    found = jnp.sum(t[:, None] >= knots, axis=1, keepdims=True, dtype=jnp.int32)
    number = jnp.arange(bins, dtype=jnp.int32).reshape(-1, *(1 for _ in batch))
    here = (number == found)[:, None]

    def total(where: Array, values: Array) -> Array:
        return jnp.sum(jnp.where(where, values, 0), axis=2)

    start = smallest_bin * found.astype(t.dtype) + share * total((number < found)[:, None], weights)
    size = smallest_bin + share * total(here, weights)
    slopes = parameters[:, 2 * bins :]
    slope = total(here, jnp.stack([slopes[:, :-1], slopes[:, 1:]], axis=1))
    slope = jnp.exp(_log_slope(slope, smallest_slope))
    return _Bin(start[:, 0], size[:, 0], start[:, 1], size[:, 1], slope[:, 0], slope[:, 1])


def _fraction(t: Array, start: Array, size: Array) -> Array:
    """Where ``t`` is within its bin, rounding errors removed, the upper end exactly 1: there the
    slope is that of the tail.
    """
    fraction = (t - start) / size
    exact = jnp.where(t < 1, jnp.clip(fraction, 0, 1), 1)
    return fraction + lax.stop_gradient(exact - fraction)


def _map(u: Array, bin: _Bin) -> tuple[Array, Array]:
    """Position in the interval and log-slope at the position ``u`` in the bin."""
    v, s = 1 - u, bin.height / bin.width
    both = bin.slope_left + bin.slope_right
    denominator = s * (u * u + v * v) + both * u * v
    slope = bin.slope_right * u * u + 2 * s * u * v + bin.slope_left * v * v
    y = bin.bottom + bin.height * (s * u * u + bin.slope_left * u * v) / denominator
    return y, 2 * jnp.log(s / denominator) + jnp.log(slope)


def _solve(q: Array, bin: _Bin) -> Array:
    """The position in the bin at which the map has come to the fraction ``q`` of its height."""
    p, s = 1 - q, bin.height / bin.width
    b = p * bin.slope_left - q * bin.slope_right
    root = jnp.sqrt(b * b + 4 * p * q * s * s)
    rising = b >= 0
    u = jnp.where(rising, 2 * q * s, root - b)
    v = jnp.where(rising, root + b, 2 * p * s)
    return u / (u + v)


def _spline(t: Array, parameters: Array, bins: int, smallest: tuple[float, float]):
    """``(y, log dy/dt)`` at ``t`` in [0, 1]."""
    bin = _find(t, parameters, bins, smallest, by=0)
    return _map(_fraction(t, bin.left, bin.width), bin)


def _inverse_spline(y: Array, parameters: Array, bins: int, smallest: tuple[float, float]):
    """``(t, log dt/dy)`` at ``y`` in [0, 1]."""
    bin = _find(y, parameters, bins, smallest, by=1)
    u = _solve(_fraction(y, bin.bottom, bin.height), bin)
    return bin.left + u * bin.width, -_map(u, bin)[1]


def _check(bins: int, min_bin: float, min_slope: float) -> None:
    if bins < 1 or not 0 < min_bin * bins < 1 or not 0 < min_slope < 1:
        raise SettingError(
            f"a spline needs bins >= 1, 0 < min_bin < 1/bins and 0 < min_slope < 1, got {bins}, "
            f"{min_bin} and {min_slope}"
        )


@register("rational_quadratic_spline")
class RationalQuadraticSpline(Transformer):
    """A monotone rational-quadratic spline on ``interval``, continued by straight lines.

    The lines have the slopes of the outer knots, which are learned: the map is C1 on the whole
    line (in the paper the tails are the identity). Durkan et al., 1906.04032. The logarithms of the
    slopes are kept within bounds by a tanh, so that the inverse is as good as the map.

    Args:
        bins: number of bins; ``3 bins + 1`` parameters for each coordinate (widths, heights, and
            slopes at the knots).
        interval: where the bins lie, in both spaces.
        min_bin: smallest width and height, as a fraction of the interval.
        min_slope: smallest slope at a knot; the largest is its inverse.

    >>> import jax.numpy as jnp
    >>> spline = RationalQuadraticSpline(bins=4)
    >>> x, log_slope = spline.forward(jnp.array([0.5, -9.0]), jnp.zeros(spline.parameter_shape(2)))
    >>> x.round(4), log_slope.round(4) + 0.0
    (Array([ 0.5, -9. ], dtype=float32), Array([0., 0.], dtype=float32))
    """

    bins: int = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    min_bin: float = eqx.field(static=True)
    min_slope: float = eqx.field(static=True)

    def __init__(
        self,
        bins: int = 8,
        interval: tuple[float, float] = (-4.0, 4.0),
        min_bin: float = 1e-3,
        min_slope: float = 1e-3,
    ):
        _check(bins, min_bin, min_slope)
        if not interval[0] < interval[1]:
            raise SettingError(f"the spline's interval {interval} is empty")
        self.bins = bins
        self.interval = (float(interval[0]), float(interval[1]))
        self.min_bin = min_bin
        self.min_slope = min_slope

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 3 * self.bins + 1)

    def _apply(self, function, x: Array, parameters: Array, sign: int) -> tuple[Array, Array]:
        lower, upper = self.interval
        inside = jnp.where(x < lower, lower, jnp.where(x > upper, upper, x))
        t = (inside - lower) / (upper - lower)
        y, log_slope = function(t, parameters, self.bins, (self.min_bin, self.min_slope))
        outer = jnp.where(x < lower, parameters[:, 2 * self.bins], parameters[:, 3 * self.bins])
        tail = (x - inside) * jnp.exp(sign * _log_slope(outer, self.min_slope))
        return lower + (upper - lower) * y + tail, log_slope

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_spline, z, parameters, 1)

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_inverse_spline, x, parameters, -1)


@register("circular_spline")
class CircularSpline(Transformer):
    """A rational-quadratic spline of the circle ``[-pi, pi)``, followed by a rotation.

    The slopes at ``-pi`` and ``pi`` are equal, so the map is C1 on the circle; the rotation moves
    the point that the spline leaves in place. Rezende et al., 2002.02428.

    Args:
        bins: number of bins; ``3 bins + 1`` parameters for each coordinate (widths, heights, slopes
            at the knots, the angle of the rotation).
        min_bin: smallest width and height, as a fraction of the turn.
        min_slope: smallest slope at a knot; the largest is its inverse.

    >>> import jax.numpy as jnp
    >>> spline = CircularSpline(bins=4)
    >>> quarter = jnp.zeros(spline.parameter_shape(1)).at[:, -1].set(jnp.pi / 2)
    >>> spline.forward(jnp.array([3.0]), quarter)[0].round(4)  # 3 + pi/2 - 2 pi
    Array([-1.7124], dtype=float32)
    """

    bins: int = eqx.field(static=True)
    min_bin: float = eqx.field(static=True)
    min_slope: float = eqx.field(static=True)

    def __init__(self, bins: int = 8, min_bin: float = 1e-3, min_slope: float = 1e-3):
        _check(bins, min_bin, min_slope)
        self.bins = bins
        self.min_bin = min_bin
        self.min_slope = min_slope

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 3 * self.bins + 1)

    def circles(self, n: int) -> tuple[bool, ...]:
        return (True,) * n

    def _apply(self, function, angle: Array, parameters: Array) -> tuple[Array, Array]:
        first = parameters[:, 2 * self.bins : 2 * self.bins + 1]
        closed = jnp.concatenate([parameters[:, :-1], first], axis=1)
        t = (angle + PI) / TURN
        t, log_slope = function(t, closed, self.bins, (self.min_bin, self.min_slope))
        return TURN * t - PI, log_slope

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        x, log_slope = self._apply(_spline, wrap(z), parameters)
        return wrap(x + parameters[:, -1]), log_slope

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        z, log_slope = self._apply(_inverse_spline, wrap(x - parameters[:, -1]), parameters)
        return wrap(z), log_slope


@register("mixed_transformer")
class MixedTransformer(Transformer):
    """One map for the real coordinates and one for the angles of the same event.

    The parameters are one vector, those of the real coordinates first.

    Args:
        periodic: for each coordinate, whether it is an angle on ``[-pi, pi)``.
        real: moves the others.
        circular: moves the angles.
    """

    periodic: tuple[bool, ...] = eqx.field(static=True)
    real: Transformer
    circular: Transformer

    def __init__(self, periodic: tuple[bool, ...], real: Transformer, circular: Transformer):
        if any(real.circles(1)) or not all(circular.circles(1)):
            raise SettingError(
                f"real = {type(real).__name__} must move lines and circular = "
                f"{type(circular).__name__} circles"
            )
        self.periodic = tuple(bool(p) for p in periodic)
        self.real = real
        self.circular = circular

    @property
    def uniform(self) -> bool:
        return False

    def circles(self, n: int) -> tuple[bool, ...]:
        if n != len(self.periodic):
            raise ShapeError(f"periodic is of length {len(self.periodic)}, the event of {n}")
        return self.periodic

    def _parts(self):
        flags = np.array(self.periodic)
        parts = ((self.real, np.flatnonzero(~flags)), (self.circular, np.flatnonzero(flags)))
        return [(part, index) for part, index in parts if index.size]

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        self.circles(n)
        shapes = [part.parameter_shape(len(index)) for part, index in self._parts()]
        return (sum(int(np.prod(shape)) for shape in shapes),)

    def _apply(self, method: str, x: Array, parameters: Array) -> tuple[Array, Array]:
        moved, start = [], 0
        for part, index in self._parts():
            shape = part.parameter_shape(len(index))
            stop = start + int(np.prod(shape))
            own = parameters[start:stop].reshape(*shape, *parameters.shape[1:])
            moved.append(getattr(part, method)(x[index], own))
            start = stop
        back = np.argsort(np.concatenate([index for _, index in self._parts()]))
        return tuple(jnp.concatenate(arrays)[back] for arrays in zip(*moved, strict=True))  # type: ignore

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply("forward", z, parameters)

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply("inverse", x, parameters)
