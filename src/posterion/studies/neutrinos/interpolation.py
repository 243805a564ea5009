"""Cubic splines of a table: tensor products of B-splines, natural or periodic along each axis.

The spline passes through every node, is twice continuously differentiable and need not have
uniform axes. A value is a sum over the 4^d coefficients around the point (de Boor, A Practical
Guide to Splines, ch. IX and XVII); its gradient is the same sum with one basis differentiated, so
both cost one gather and nothing is scattered back.

Beyond the edge of an axis that is not periodic the spline is continued by its value at the edge
plus ``steepness * (d + d**2)``, where d is the distance from the edge in lengths of the axis and
``steepness`` the spread of the table: continuous, with a finite gradient that points back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import linalg
from scipy.interpolate import BSpline

from posterion.core.errors import ShapeError

_LOOKUP_LIMIT = 4096
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a spline with m intervals and m + 3 basis functions.

    Fields: `breaks`, the m + 1 ends of the intervals; `period` or None; `basis`, of shape
    (m, 4, 4): the polynomials of the four basis functions that live on each interval, by ascending
    power of u in [0, 1], the position inside it (of shape (1, 4, 4) if all intervals have the
    same); `lookup`, the interval in which each of equally wide bins begins; `steps`, the largest
    number of breaks inside one bin.
    """

    breaks: np.ndarray
    period: float | None
    basis: np.ndarray
    lookup: np.ndarray
    steps: int

    @property
    def intervals(self) -> int:
        """The number m of intervals."""
        return len(self.breaks) - 1

    @property
    def length(self) -> float:
        """From the first to the last break, in the unit of the axis."""
        return float(self.breaks[-1] - self.breaks[0])


def _axis(nodes: np.ndarray, period: float | None) -> tuple[Axis, np.ndarray]:
    """The axis and the matrix (m + 3, n) that turns values at its n nodes into coefficients."""
    n = len(nodes)
    if nodes.ndim != 1 or n < 4 or not (np.diff(nodes) > 0).all():
        raise ShapeError(f"An axis needs at least 4 ascending nodes, got {nodes!r}.")
    if period is None:
        breaks = nodes
        start, stop = nodes[1] - nodes[0], nodes[-1] - nodes[-2]
        before, after = nodes[0] - start * np.arange(3, 0, -1), nodes[-1] + stop * np.arange(1, 4)
    else:
        if nodes[-1] - nodes[0] >= period:
            raise ShapeError(f"The nodes of a periodic axis must not repeat after {period}.")
        breaks = np.append(nodes, nodes[0] + period)
        before, after = nodes[-3:] - period, nodes[1:4] + period
    knots = np.concatenate([before, breaks, after])
    m = len(breaks) - 1
    spline = BSpline(knots, np.eye(m + 3), 3)
    values = spline(nodes)
    if period is None:
        curvature = spline(nodes[[0, -1]], nu=2) * np.min(np.diff(nodes)) ** 2
        matrix = linalg.solve(np.vstack([values, curvature]), np.eye(m + 3))[:, :n]
    else:
        values[:, :3] += values[:, m:]
        inverse = linalg.inv(values[:, :m])
        matrix = np.vstack([inverse, inverse[:3]])
    width = np.diff(breaks)
    pick = np.arange(m)[:, None] + np.arange(4)
    basis = np.stack(
        [
            np.take_along_axis(spline(breaks[:-1], nu=power), pick, axis=1)
            * (width**power / math.factorial(power))[:, None]
            for power in range(4)
        ],
        axis=-1,
    )
    if np.allclose(width, width[0], rtol=1e-9, atol=0):
        lookup, steps = np.arange(m), 0
        basis = basis[m // 2 : m // 2 + 1]
    else:
        bins = int(min(_LOOKUP_LIMIT, np.ceil((breaks[-1] - breaks[0]) / width.min())))
        edges = np.linspace(breaks[0], breaks[-1], bins + 1)
        first = np.searchsorted(breaks, edges, side="right") - 1
        lookup, steps = np.minimum(first[:-1], m - 1), int(np.diff(first).max())
    return Axis(breaks, period, basis, lookup.astype(np.int32), steps), matrix


@dataclass(frozen=True, eq=False)
class Spline:
    """A tensor-product cubic spline over d axes; built by `Spline.through`.

    Called with d arrays of one shape it returns an array of that shape and of their dtype, in JAX;
    any batch shape, `jax.grad`, `jax.hessian`, `jax.jit` and `jax.vmap` work. `value` and
    `value_and_gradient` are the same in plain NumPy for NumPy arrays.

    >>> import numpy as np
    >>> x = np.linspace(0, 360, 37)[:-1]
    >>> circle = Spline.through([x], np.cos(np.deg2rad(x)), [360.0])
    >>> bool(abs(circle.value(-300.5) - np.cos(np.deg2rad(59.5))) < 1e-5)
    True
    """

    axes: tuple[Axis, ...]
    coefficients: np.ndarray
    steepness: float

    @classmethod
    def through(
        cls,
        nodes: Sequence[np.ndarray],
        values: np.ndarray,
        periods: Sequence[float | None] | None = None,
    ) -> Spline:
        """The spline through `values`, of shape ``tuple(map(len, nodes))``, at ascending `nodes`.

        `periods` gives the period of each axis, or None for one with natural ends (second
        derivative zero). Nodes of a periodic axis do not repeat the first. Raises ShapeError.
        """
        coefficients = np.asarray(values, dtype=np.float64)
        if coefficients.shape != tuple(map(len, nodes)):
            raise ShapeError(
                f"Values of shape {coefficients.shape} do not fit axes of "
                f"{tuple(map(len, nodes))} nodes."
            )
        axes = []
        for k, node in enumerate(nodes):
            period = None if periods is None else periods[k]
            axis, matrix = _axis(np.asarray(node, dtype=np.float64), period)
            axes.append(axis)
            coefficients = np.moveaxis(np.tensordot(matrix, coefficients, axes=(1, k)), 0, k)
        spread = float(np.ptp(values)) or 1.0
        return cls(tuple(axes), np.ascontiguousarray(coefficients), spread)

    def __call__(self, *x: Any) -> jax.Array:
        """The value at the points `x`, one array per axis."""
        return _call(self, tuple(jnp.broadcast_arrays(*x)))

    def value(self, *x: np.ndarray | float) -> np.ndarray:
        """The value in float64, by NumPy, at the points `x`."""
        return np.asarray(self._by_blocks(x, gradient=False)[0])

    def value_and_gradient(
        self, *x: np.ndarray | float
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The value and the derivative along each axis, float64, by NumPy."""
        value, *gradient = self._by_blocks(x, gradient=True)
        return value, tuple(gradient)

    def _by_blocks(self, x: Sequence[np.ndarray | float], gradient: bool) -> np.ndarray:
        points = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in x))
        flat = [a.reshape(-1) for a in points]
        result = np.empty((1 + len(flat) * gradient, len(flat[0])))
        for start in range(0, len(flat[0]), _BLOCK):
            part = slice(start, start + _BLOCK)
            value, slopes = self._evaluate(np, tuple(a[part] for a in flat), gradient)
            result[:, part] = np.stack([value, *slopes])
        return result.reshape(len(result), *points[0].shape)

    def _evaluate(
        self, xp: Any, x: tuple[Any, ...], with_gradient: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        """Value and gradient (or nothing) at points (n,) per axis, in the dtype of `x`."""
        located = [_locate(xp, axis, a) for axis, a in zip(self.axes, x, strict=True)]
        index = [place.index for place in located]
        value, gradient = _window(xp, self.coefficients, index, x[0].dtype), []
        for place in reversed(located):
            if with_gradient:
                gradient = [_summed(xp, g, place.basis) for g in gradient]
                gradient.insert(0, _summed(xp, value, place.slope))
            value = _summed(xp, value, place.basis)
        for k, (axis, place) in enumerate(zip(self.axes, located, strict=True)):
            if place.outside is not None:
                d = abs(place.outside)
                value = value + self.steepness * (d + d * d)
                if with_gradient:
                    back = self.steepness * xp.sign(place.outside) * (1 + 2 * d) / axis.length
                    gradient[k] = xp.where(d == 0, gradient[k], back)
        return value, tuple(gradient)

    def on_grid(self, *points: np.ndarray) -> np.ndarray:
        """Values (float64, NumPy) at every combination of `points`, one 1-D array per axis.

        Much faster than point by point: one axis is summed at a time. Points must lie inside the
        axes that are not periodic.
        """
        result = self.coefficients
        for k, (axis, x) in enumerate(zip(self.axes, points, strict=True)):
            place = _locate(np, axis, np.asarray(x, dtype=np.float64))
            if place.outside is not None and np.any(place.outside):
                raise ShapeError(f"Points of axis {k} lie outside its edges.")
            first, last = int(place.index.min()), int(place.index.max()) + 4
            matrix = np.zeros((len(place.index), last - first))
            columns = place.index[:, None] - first + np.arange(4)
            np.put_along_axis(matrix, columns, place.basis, axis=1)
            part = np.take(result, range(first, last), axis=k)
            result = np.moveaxis(np.tensordot(matrix, part, axes=(1, k)), 0, k)
        return result


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(spline: Spline, x: tuple[jax.Array, ...]) -> jax.Array:
    return _value_and_gradient(spline, x)[0]


@_call.defjvp
def _(spline: Spline, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    value, gradient = _value_and_gradient(spline, *primals)
    return value, jnp.sum(jnp.stack([g * d for g, d in zip(gradient, *tangents, strict=True)]), 0)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _value_and_gradient(
    spline: Spline, x: tuple[jax.Array, ...]
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    dtype, shape = jnp.result_type(float, *x), x[0].shape
    value, gradient = spline._evaluate(jnp, tuple(a.reshape(-1).astype(dtype) for a in x))
    return value.reshape(shape), tuple(g.reshape(shape) for g in gradient)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where points lie on an axis: the interval, the four basis values and derivatives, (n, 4),
    and the signed distance outside in lengths of the axis (None on a periodic one).
    """

    index: Any
    basis: Any
    slope: Any
    outside: Any


def _summed(xp: Any, window: Any, basis: Any) -> Any:
    return xp.einsum("n...k,nk->n...", window, basis)


def _locate(xp: Any, axis: Axis, x: Any) -> _Place:
    start, length, m = float(axis.breaks[0]), axis.length, axis.intervals
    if axis.period is None:
        inside = xp.clip(x, start, start + length)
        outside = (x - inside) / length
    else:
        inside, outside = x - length * xp.floor((x - start) / length), None
    bins = len(axis.lookup)
    with np.errstate(invalid="ignore"):  # a NaN finds some interval and stays NaN in the value
        position = xp.floor((inside - start) * (bins / length)).astype(np.int32)
    index = xp.clip(position, 0, bins - 1)
    if axis.steps:
        breaks = xp.asarray(axis.breaks, dtype=x.dtype)
        index = xp.asarray(axis.lookup)[index]
        for _ in range(axis.steps):
            index = xp.clip(index + (inside >= breaks[index + 1]).astype(np.int32), 0, m - 1)
        left = breaks[index]
        scale = xp.asarray(1.0 / np.diff(axis.breaks), dtype=x.dtype)[index]
        u, scale = ((inside - left) * scale)[:, None], scale[:, None]
    else:
        scale = bins / length
        left = start + index.astype(x.dtype) * (length / bins)
        u = ((inside - left) * scale)[:, None]
    table = xp.asarray(axis.basis, dtype=x.dtype)
    c = table[index] if len(axis.basis) > 1 else table
    basis = c[..., 0] + u * (c[..., 1] + u * (c[..., 2] + u * c[..., 3]))
    slope = (c[..., 1] + u * (2 * c[..., 2] + u * (3 * c[..., 3]))) * scale
    return _Place(index, basis, slope, outside)


def _window(xp: Any, table: np.ndarray, index: list[Any], dtype: Any) -> Any:
    """The 4^d entries of `table` that start at each of n indices: (n, 4, ..., 4)."""
    d = table.ndim
    if xp is np:
        return np.lib.stride_tricks.sliding_window_view(table, (4,) * d)[tuple(index)]
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(1, d + 1)), collapsed_slice_dims=(), start_index_map=tuple(range(d))
    )
    return lax.gather(
        jnp.asarray(table.astype(dtype)),
        jnp.stack(index, axis=-1),
        dimensions,
        (4,) * d,
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )
