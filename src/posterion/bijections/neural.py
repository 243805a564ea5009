"""A monotone network of one coordinate: the deep sigmoidal flow (Huang et al., 1804.00779).

    D(x) = logit sum_j w_j sigma(s_j),   s_j = a_j (x - c_j),   sum_j w_j = 1,   a_j > 0.

With ``e = exp(-|s_j|)``, ``sigma(|s_j|) = 1 / (1 + e)``, and in both the sum and its complement the
largest exponential is taken out, as in a logsumexp: no power is above 1, at any ``x``.
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.elementwise import Transformer
from posterion.core.errors import SettingError
from posterion.core.registry import register

_FULL = lax.Precision.HIGHEST


class _Units(NamedTuple):
    """Of ``n`` coordinates: weights up to a factor, steepness and centres, ``(n, units)`` each."""

    w: Array
    a: Array
    c: Array


class _Sums(NamedTuple):
    """What value and slope are made of: by unit ``(n, units)``, and over the units ``(n,)``."""

    s: Array
    rate: Array
    """``sigma (1 - sigma)``, over the largest of the units."""
    above: Array
    """``sigma`` and its complement ``below``, of which one is over its largest (see ``shift``)."""
    below: Array
    all_above: Array
    all_below: Array
    all_rates: Array
    weight: Array
    shift: Array
    """The ``s`` nearest to zero where all have one sign, else 0."""
    nearest: Array


def _sums(x: Array, units: _Units) -> _Sums:
    w, a, c = units
    s = a * (x[:, None] - c)
    size = jnp.where(s < 0, -s, s)
    # What is taken out cancels in the end, so that no gradient flows through it.
    fixed = lax.stop_gradient(s)
    nearest = jnp.min(jnp.abs(fixed), axis=1)
    low, high = jnp.min(fixed, axis=1), jnp.max(fixed, axis=1)
    shift = jnp.maximum(low, 0) + jnp.minimum(high, 0)

    scaled = jnp.exp(nearest[:, None] - size)
    e = jnp.exp(-nearest)[:, None] * scaled
    rare = jnp.where(shift[:, None] == 0, e, scaled)
    part = 1 / (1 + e)
    above, below = part * jnp.where(s < 0, rare, 1), part * jnp.where(s < 0, 1, rare)
    rate = scaled * part * part
    totals = _summed(w * above), _summed(w * below), _summed(w * a * rate), _summed(w)
    return _Sums(s, rate, above, below, *totals, shift, nearest)


def _summed(terms: Array) -> Array:
    """Over the units: as a product, which XLA's CPU compiler does not make a loop of scalars."""
    ones = jnp.ones((terms.shape[0], 1, terms.shape[1]), terms.dtype)
    flat = terms.reshape(*terms.shape[:2], -1)
    total = lax.dot_general(ones, flat, (((2,), (1,)), ((0,), (0,))), precision=_FULL)
    return total.reshape(terms.shape[:1] + terms.shape[2:])


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _forward(x: Array, units: _Units, share: float) -> tuple[Array, Array]:
    """``D + share (x - D)`` and the logarithm of its slope."""
    return _value(x, _sums(x, units), share)


def _value(x: Array, t: _Sums, share: float) -> tuple[Array, Array]:
    y = t.shift + jnp.log(t.all_above / t.all_below)
    slope = _scale(t) * t.all_rates
    return y + share * (x - y), jnp.log(slope + share * (1 - slope))


def _scale(t: _Sums) -> Array:
    """``sum w / (sum w sigma  sum w (1 - sigma))``, times what was taken out of the rates."""
    return t.weight / (t.all_above * t.all_below) * jnp.exp(jnp.abs(t.shift) - t.nearest)


@_forward.defjvp
def _(share, primals, tangents):
    """By hand, unit by unit: XLA's own transpose takes several times as long."""
    (x, (w, a, c)), (dx, (dw, da, dc)) = primals, tangents
    t = _sums(*primals)
    ds = da * (x[:, None] - c) + a * (dx[:, None] - dc)
    up, down = t.above / t.all_above[:, None], t.below / t.all_below[:, None]
    scale, rate = _scale(t), w * t.rate
    dy = jnp.sum((up - down) * dw + scale[:, None] * rate * ds, axis=1)

    # log D' = log sum w a rate + log sum w - log sum w sigma - log sum w (1 - sigma)
    taken = jnp.exp(-t.nearest)
    bend = jnp.where(t.shift > 0, 1, taken) / t.all_below
    bend = bend - jnp.where(t.shift < 0, 1, taken) / t.all_above
    e = jnp.exp(-jnp.abs(t.s))
    turn = jnp.where(t.s < 0, 1 - e, e - 1) / (1 + e)  # 1 - 2 sigma
    inner = a * turn / t.all_rates[:, None] + bend[:, None]
    by_w = t.rate * a / t.all_rates[:, None] + (1 / t.weight)[:, None] - up - down
    d_log = by_w * dw + rate / t.all_rates[:, None] * da + rate * inner * ds
    slope = scale * t.all_rates
    part = (1 - share) * slope / (slope + share * (1 - slope))
    return _value(x, t, share), (dy + share * (dx - dy), part * jnp.sum(d_log, axis=1))


def _solve(y: Array, units: _Units, share: float) -> Array:
    """The root by Newton steps, halving the bracket where they leave it or do not shrink."""
    w, a, c = units
    small, most = float(jnp.finfo(y.dtype).eps), 2 * jnp.finfo(y.dtype).nmant
    # Where every s_j >= y, D >= y too, and so is the map where also x >= y; likewise below.
    ends = c + y[:, None] / a
    lower = jnp.minimum(jnp.min(ends, axis=1), y)
    upper = jnp.maximum(jnp.max(ends, axis=1), y)
    start = jnp.clip(jnp.sum(w * ends, axis=1) / jnp.sum(w, axis=1), lower, upper)
    steepest = jnp.max(a, axis=1)

    def improve(state):
        x, lower, upper, last, going, count = state
        value, log_slope = _forward(x, units, share)
        excess = value - y
        step = excess * jnp.exp(-log_slope)
        lower = jnp.where(going & (excess <= 0), x, lower)
        upper = jnp.where(going & (excess >= 0), x, upper)
        newton = (x - step >= lower) & (x - step <= upper) & (2 * jnp.abs(step) <= last)
        new = jnp.where(newton, x - step, lower + (upper - lower) / 2)
        moved = jnp.abs(new - x)
        # One more step makes an error of moved * steepest its square; NaN ends at once.
        going_on = going & (moved * steepest > small**0.5)
        going_on &= jnp.abs(excess) > 4 * small * (1 + jnp.abs(y))
        x, last = jnp.where(going, new, x), jnp.where(going, moved, last)
        return x, lower, upper, last, going_on, count + 1

    state = start, lower, upper, jnp.full_like(y, jnp.inf), jnp.isfinite(y), jnp.int32(0)
    state = lax.while_loop(lambda s: jnp.any(s[4]) & (s[5] < most), improve, state)
    x, lower, upper, *_ = state
    value, log_slope = _forward(x, units, share)
    return jnp.clip(x - (value - y) * jnp.exp(-log_slope), lower, upper)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _root(y: Array, units: _Units, share: float) -> Array:
    return _solve(y, units, share)


@_root.defjvp
def _(share, primals, tangents):
    y, units = primals
    x = _root(y, units, share)
    (_, log_slope), (moved, _) = jax.jvp(
        lambda units: _forward(x, units, share), (units,), (tangents[1],)
    )
    return x, (tangents[0] - moved) * jnp.exp(-log_slope)


def _gains(units: int) -> np.ndarray:
    """What multiplies the raw parameters, ``(3, units)``: no two units have the same."""
    rising = 0.5 + (np.arange(units) + 0.5) / units
    signs = np.where(np.arange(units) % 2, -1.0, 1.0)
    return np.stack([np.ones(units), rising[::-1], signs * rising])


@register("neural_transformer")
class NeuralTransformer(Transformer):
    """A monotone network with one layer of sigmoids, on the whole line (Huang et al., 1804.00779).

    Equal units, as zero parameters make them, are the identity and would have equal gradients:
    each unit's parameters are multiplied by fixed numbers of its own, so that training tells them
    apart. To ``D``, the map of the paper, a share ``min_slope`` of the identity is added, ``x =
    D(z) + min_slope (z - D(z))``, without which the slope vanishes between steep units.

    Forward is a formula; the inverse is iterated, at several times the cost, and differentiated as
    an implicit function. Within `Swapped` it is the density that is the formula.

    Args:
        units: number of sigmoids; ``3 units`` parameters for each coordinate (weights, steepness,
            centres).
        limit: bound of ``|log a_j|``, and of ``|log w_j|`` before the weights are normalised.
        reach: bound of the centres, ``|c_j|``.
        min_slope: smallest slope.

    >>> import jax.numpy as jnp
    >>> neural = NeuralTransformer(units=4)
    >>> neural.forward(jnp.array([0.5, -1e20]), jnp.zeros(neural.parameter_shape(2)))[0]
    Array([ 5.e-01, -1.e+20], dtype=float32)
    """

    units: int = eqx.field(static=True, default=8)
    limit: float = eqx.field(static=True, default=5.0)
    reach: float = eqx.field(static=True, default=10.0)
    min_slope: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        if self.units < 1 or min(self.limit, self.reach) <= 0 or not 0 < self.min_slope < 1:
            raise SettingError(
                "a neural transformer needs units >= 1, limit > 0, reach > 0 and 0 < min_slope < "
                f"1, got {self.units}, {self.limit}, {self.reach} and {self.min_slope}"
            )

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 3 * self.units)

    def _units(self, parameters: Array) -> _Units:
        batch = parameters.shape[2:]
        raw = parameters.reshape(-1, 3, self.units, *batch)
        bounds = np.array([self.limit, self.limit, self.reach]).reshape(3, 1, *(1 for _ in batch))
        gains = _gains(self.units).reshape(3, self.units, *(1 for _ in batch)) / bounds
        bounded = jnp.asarray(bounds, raw.dtype) * jnp.tanh(jnp.asarray(gains, raw.dtype) * raw)
        return _Units(jnp.exp(bounded[:, 0]), jnp.exp(bounded[:, 1]), bounded[:, 2])

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        return _forward(z, self._units(parameters), self.min_slope)

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        units = self._units(parameters)
        z = _root(x, units, self.min_slope)
        return z, -_forward(z, units, self.min_slope)[1]
