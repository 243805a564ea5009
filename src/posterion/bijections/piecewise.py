"""Maps whose slope is a density of bins: constant in each bin, or linear from knot to knot.

On [0, 1] the map is the integral of the density (Müller et al., 1808.03856). In a bin of width
``w`` and height ``h``, with end slopes ``d0`` and ``d1`` and the position ``u = 1 - v`` within it,

    y = y0 + w u (d0 + dy/dx) / 2,   dy/dx = d0 v + d1 u,

and ``d0 = d1 = h/w`` where it is constant. With ``q = (y - y0)/h = 1 - p`` the square of the slope
is linear in ``y``, so that the inverse is a sum of positive terms: nothing cancels at any slope,

    (dy/dx)^2 = p d0^2 + q d1^2,   u = q (d0 + d1) / (d0 + dy/dx).
"""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from posterion.bijections.elementwise import PI, TURN, Transformer, wrap
from posterion.bijections.splines import _Bin, _fraction
from posterion.core.errors import SettingError
from posterion.core.registry import register


class _Density(NamedTuple):
    """Of ``n`` coordinates on [0, 1]: its bins, ``(n, bins)``; where it is linear its values at the
    knots, ``(n, bins + 1)``, and beyond both ends, ``(n, 2)``.
    """

    widths: Array
    heights: Array
    slopes: Array | None = None
    outer: Array | None = None


def _lowered(raw: Array) -> Array:
    return raw - lax.stop_gradient(jnp.max(raw, axis=1, keepdims=True))


def _shares(raw: Array, smallest: float) -> Array:
    weights = jnp.exp(_lowered(raw))
    share = (1 - raw.shape[1] * smallest) / jnp.sum(weights, axis=1, keepdims=True)
    return smallest + share * weights


def _steps(raw: Array, min_bin: float) -> _Density:
    """Constant in bins of equal widths."""
    heights = _shares(raw, min_bin)
    return _Density(jnp.full_like(heights, 1 / raw.shape[1]), heights)


def _lines(raw_widths: Array, raw_slopes: Array, min_bin: float, min_slope: float) -> _Density:
    """Linear between knots; the share ``min_slope`` of it is uniform."""
    widths, raw = _shares(raw_widths, min_bin), _lowered(raw_slopes)
    slopes = jnp.exp(raw)
    area = jnp.sum(widths * (slopes[:, :-1] + slopes[:, 1:]) / 2, axis=1, keepdims=True)
    slopes = min_slope + (1 - min_slope) / area * slopes
    heights = widths * (slopes[:, :-1] + slopes[:, 1:]) / 2
    # Not divided by the area: at 1e30 the gradient of a division overflows.
    ends = jnp.exp(raw[:, :: raw.shape[1] - 1] - jnp.log(area))
    outer = min_slope + (1 - min_slope) * ends
    return _Density(widths, heights, slopes, outer)


def _find(t: Array, density: _Density, by: int) -> _Bin:
    """The bin in which ``t`` falls by its widths (``by = 0``, forward) or heights (``by = 1``).

    By sums under a mask, for the reason given with the splines.
    """
    widths, heights, slopes, _ = density
    knots = jnp.cumsum(lax.stop_gradient((widths, heights)[by]), axis=1)[:, :-1]
    found = jnp.sum(t[:, None] >= knots, axis=1, keepdims=True, dtype=jnp.int32)
    number = jnp.arange(widths.shape[1], dtype=jnp.int32).reshape(-1, *(1 for _ in t.shape[1:]))

    def total(where: Array, values: Array) -> Array:
        return jnp.sum(jnp.where(where, values, 0), axis=1)

    below, here = number < found, number == found
    left, bottom = total(below, widths), total(below, heights)
    width, height = total(here, widths), total(here, heights)
    if slopes is None:
        first = last = height / width
    else:
        first, last = total(here, slopes[:, :-1]), total(here, slopes[:, 1:])
    return _Bin(left, width, bottom, height, first, last)


def _integral(t: Array, density: _Density) -> tuple[Array, Array]:
    """``(y, dy/dt)`` at ``t`` in [0, 1]."""
    bin = _find(t, density, by=0)
    u = _fraction(t, bin.left, bin.width)
    slope = bin.slope_left * (1 - u) + bin.slope_right * u
    return bin.bottom + bin.width * u * (bin.slope_left + slope) / 2, slope


def _inverse_integral(y: Array, density: _Density) -> tuple[Array, Array]:
    """``(t, dt/dy)`` at ``y`` in [0, 1]."""
    bin = _find(y, density, by=1)
    q = _fraction(y, bin.bottom, bin.height)
    slope = jnp.sqrt((1 - q) * bin.slope_left**2 + q * bin.slope_right**2)
    u = q * (bin.slope_left + bin.slope_right) / (bin.slope_left + slope)
    return bin.left + bin.width * u, 1 / slope


def _check(bins: int, min_bin: float, min_slope: float = 0.5) -> None:
    if bins < 1 or not 0 < min_bin * bins < 1 or not 0 < min_slope < 1:
        raise SettingError(
            f"a piecewise map needs bins >= 1, 0 < min_bin < 1/bins and 0 < min_slope < 1, got "
            f"{bins}, {min_bin} and {min_slope}"
        )


class _OnLine(Transformer):
    """Integrates a density on an interval; identity-like outside."""

    interval: eqx.AbstractVar[tuple[float, float]]

    @abstractmethod
    def _density(self, parameters: Array) -> _Density: ...

    def __check_init__(self):
        if not self.interval[0] < self.interval[1]:
            raise SettingError(f"the interval {self.interval} of the piecewise map is empty")

    def _apply(self, function, x: Array, parameters: Array, power: int) -> tuple[Array, Array]:
        lower, upper = self.interval
        density = self._density(parameters)
        inside = jnp.where(x < lower, lower, jnp.where(x > upper, upper, x))
        y, slope = function((inside - lower) / (upper - lower), density)
        tail = x - inside
        if density.outer is None:
            slope = jnp.where(x == inside, slope, 1)
        else:
            tail *= jnp.where(x < lower, density.outer[:, 0], density.outer[:, 1]) ** power
        return lower + (upper - lower) * y + tail, jnp.log(slope)

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_integral, z, parameters, 1)

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_inverse_integral, x, parameters, -1)


class _OnCircle(Transformer):
    """Integrates a density on the circle, then rotates by the last parameter."""

    @abstractmethod
    def _density(self, parameters: Array) -> _Density: ...

    def circles(self, n: int) -> tuple[bool, ...]:
        return (True,) * n

    def _apply(self, function, angle: Array, parameters: Array) -> tuple[Array, Array]:
        t, slope = function((angle + PI) / TURN, self._density(parameters[:, :-1]))
        return TURN * t - PI, jnp.log(slope)

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        x, log_slope = self._apply(_integral, wrap(z), parameters)
        return wrap(x + parameters[:, -1]), log_slope

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        angle = wrap(x - parameters[:, -1])
        z, log_slope = self._apply(_inverse_integral, angle, parameters)
        return wrap(z), log_slope


@register("piecewise_linear")
class PiecewiseLinear(_OnLine):
    """A piecewise linear map of ``interval`` to itself, the identity outside.

    The bins are of equal width, their heights are learned; the slope jumps at the knots and at the
    ends. Müller et al., 1808.03856.

    Args:
        bins: number of bins; as many parameters for each coordinate.
        interval: where the bins lie, in both spaces.
        min_bin: smallest height, as a fraction of the interval.

    >>> import jax.numpy as jnp
    >>> heights = jnp.log(jnp.array([[1.0, 3.0]]))
    >>> PiecewiseLinear(bins=2).forward(jnp.array([2.0]), heights)[0].round(2)  # near -2 + 6/2
    Array([1.], dtype=float32)
    """

    bins: int = eqx.field(static=True, default=8)
    interval: tuple[float, float] = eqx.field(static=True, default=(-4.0, 4.0))
    min_bin: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        _check(self.bins, self.min_bin)

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, self.bins)

    def _density(self, parameters: Array) -> _Density:
        return _steps(parameters, self.min_bin)


@register("piecewise_quadratic")
class PiecewiseQuadratic(_OnLine):
    """A piecewise quadratic map of ``interval`` to itself, continued by straight lines.

    Its slope is linear between knots, where it is learned, and the lines have the slopes of the
    outer knots: the map is C1 on the whole line. Müller et al., 1808.03856; Durkan et al.,
    1906.02145.

    Args:
        bins: number of bins; ``2 bins + 1`` parameters for each coordinate (widths, and slopes at
            the knots).
        interval: where the bins lie, in both spaces.
        min_bin: smallest width, as a fraction of the interval; no slope is above ``2/min_bin``.
        min_slope: smallest slope.

    >>> import jax.numpy as jnp
    >>> quadratic = PiecewiseQuadratic(bins=1, interval=(0.0, 1.0), min_slope=1e-6)
    >>> x, log_slope = quadratic.forward(jnp.array([0.5]), jnp.array([[0.0, -50.0, 0.0]]))
    >>> x.round(3), jnp.exp(log_slope).round(3)  # x^2 and 2 x
    (Array([0.25], dtype=float32), Array([1.], dtype=float32))
    """

    bins: int = eqx.field(static=True, default=8)
    interval: tuple[float, float] = eqx.field(static=True, default=(-4.0, 4.0))
    min_bin: float = eqx.field(static=True, default=1e-3)
    min_slope: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        _check(self.bins, self.min_bin, self.min_slope)

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 2 * self.bins + 1)

    def _density(self, parameters: Array) -> _Density:
        widths, slopes = parameters[:, : self.bins], parameters[:, self.bins :]
        return _lines(widths, slopes, self.min_bin, self.min_slope)


@register("circular_piecewise_linear")
class CircularPiecewiseLinear(_OnCircle):
    """A piecewise linear map of the circle ``[-pi, pi)``, followed by a rotation.

    Args:
        bins: number of bins; ``bins + 1`` parameters for each coordinate (heights, the angle of the
            rotation).
        min_bin: smallest height, as a fraction of the turn.

    Source: Müller et al., 1808.03856, closed as in Rezende et al., 2002.02428.
    """

    bins: int = eqx.field(static=True, default=8)
    min_bin: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        _check(self.bins, self.min_bin)

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, self.bins + 1)

    def _density(self, parameters: Array) -> _Density:
        return _steps(parameters, self.min_bin)


@register("circular_piecewise_quadratic")
class CircularPiecewiseQuadratic(_OnCircle):
    """A piecewise quadratic map of the circle ``[-pi, pi)``, followed by a rotation.

    The slopes at ``-pi`` and ``pi`` are one parameter, so the map is C1 on the circle.

    Args:
        bins: number of bins; ``2 bins + 1`` parameters for each coordinate (widths, slopes at the
            knots, the angle of the rotation).
        min_bin: smallest width, as a fraction of the turn; no slope is above ``2/min_bin``.
        min_slope: smallest slope.

    Source: Müller et al., 1808.03856, closed as in Rezende et al., 2002.02428.
    """

    bins: int = eqx.field(static=True, default=8)
    min_bin: float = eqx.field(static=True, default=1e-3)
    min_slope: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        _check(self.bins, self.min_bin, self.min_slope)

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 2 * self.bins + 1)

    def _density(self, parameters: Array) -> _Density:
        widths, slopes = parameters[:, : self.bins], parameters[:, self.bins :]
        closed = jnp.concatenate([slopes, slopes[:, :1]], axis=1)
        return _lines(widths, closed, self.min_bin, self.min_slope)
