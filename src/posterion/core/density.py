"""Densities of draws on a grid, in one and two dimensions: histograms and kernel estimates.

The kernel is Gaussian; its width is the plug-in one of Botev, Grotowski & Kroese, Ann. Stat. 38
(2010) 2916, which does not oversmooth several peaks. Draws are binned and smoothed in the space of
cosines (reflected at the ends of the grid) or, on a circle, of Fourier modes.

SciPy is imported when used: a result that only draws does not wait for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial, pi, sqrt
from typing import Any

import numpy as np

from posterion.core.columns import Column
from posterion.core.errors import SettingError, ShapeError
from posterion.core.statistics import circular_mean, effective_size, on_circle, quantiles

__all__ = ["Density", "Window", "histogram", "kernel_density", "window"]

_CELLS = {1: 4096, 2: 256}
_TAIL = 5e-4
_PAD = 0.15


@dataclass(frozen=True, eq=False)
class Window:
    """The part of one column that a grid covers.

    Args:
        lower, upper: its ends, in the column's unit.
        period: length of the circle if the window is the whole of it, else None.
        turn: length by which draws are first moved into the window; None on the line.
    """

    lower: float
    upper: float
    period: float | None = None
    turn: float | None = None

    def place(self, x: np.ndarray) -> np.ndarray:
        """Values moved by whole periods so that they lie in the window, if they can."""
        if self.turn is None:
            return x
        return on_circle(x, (self.lower + self.upper - self.turn) / 2, self.turn)


@dataclass(frozen=True, eq=False)
class Density:
    """A density on a regular grid of cells.

    Args:
        windows: what the grid covers, one per dimension.
        axes: centres of the cells, one array per dimension, in the columns' units.
        values: density per unit of each, of the shape that the axes give. Its integral is the
            probability inside the windows.
    """

    windows: tuple[Window, ...]
    axes: tuple[np.ndarray, ...]
    values: np.ndarray

    @property
    def cell(self) -> float:
        """Length or area of a cell."""
        return float(
            np.prod(
                [(w.upper - w.lower) / a.size for w, a in zip(self.windows, self.axes, strict=True)]
            )
        )

    @property
    def edges(self) -> tuple[np.ndarray, ...]:
        """Edges of the cells, one array per dimension."""
        return tuple(
            np.linspace(w.lower, w.upper, a.size + 1)
            for w, a in zip(self.windows, self.axes, strict=True)
        )

    def at(self, points: np.ndarray) -> np.ndarray:
        """The density at points ``(n,)``, or ``(n, d)``; 0 outside the windows."""
        points = np.asarray(points, dtype=np.float64)
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or points.shape[1] != len(self.axes):
            raise ShapeError(f"points of shape {points.shape} for {len(self.axes)} dimensions")
        from scipy.interpolate import RegularGridInterpolator

        columns, inside = [], np.ones(len(points), bool)
        for w, x in zip(self.windows, points.T, strict=True):
            placed = w.place(x)
            inside &= (placed >= w.lower) & (placed <= w.upper)
            columns.append(placed)
        axes, values = closed(self)
        clipped = [np.clip(x, a[0], a[-1]) for x, a in zip(columns, axes, strict=True)]
        found = RegularGridInterpolator(axes, values)(np.stack(clipped, axis=1))
        return np.where(inside, found, 0.0)

    def levels(self, masses: Sequence[float | int]) -> np.ndarray:
        """Densities above which the grid holds each of the ``masses``."""
        order = np.sort(self.values.ravel())[::-1]
        return np.interp(masses, np.cumsum(order) * self.cell, order)


def closed(density: Density) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Axes and values with one cell more on either side of every whole circle."""
    axes, values = [], density.values
    for k, (w, axis) in enumerate(zip(density.windows, density.axes, strict=True)):
        if w.period is not None:
            values = np.concatenate([values.take([-1], k), values, values.take([0], k)], axis=k)
            axis = np.concatenate([[axis[-1] - w.period], axis, [axis[0] + w.period]])
        axes.append(axis)
    return tuple(axes), values


def window(x: np.ndarray, weights: np.ndarray | None, column: Column) -> Window:
    """What a grid should cover of draws ``(n,)``: nearly all of them, and no more than the bounds.

    A circle is covered whole, unless the draws fill less than half of it.
    """
    turn = None
    if column.period is not None and column.lower is not None:
        turn, start = column.period, float(column.lower)
        middle = circular_mean(x, weights, start, turn)
        x = on_circle(x, middle - turn / 2, turn)
        low, high = quantiles(x, [_TAIL, 1 - _TAIL], weights)
        if high - low > turn / 2:
            return Window(start, start + turn, turn, turn)
        bounds = (None, None)
    else:
        low, high = quantiles(x, [_TAIL, 1 - _TAIL], weights)
        bounds = (column.lower, column.upper)
    width = high - low
    if width <= 1e-12 * max(abs(low), abs(high)):  # all draws on a point
        width = 0.1 * max(abs(low), abs(high)) or 1.0
    low, high = low - _PAD * width, high + _PAD * width
    if bounds[0] is not None:
        low = max(low, float(bounds[0]))
    if bounds[1] is not None:
        high = min(high, float(bounds[1]))
    return Window(float(low), float(high), None, turn)


def histogram(
    x: np.ndarray, weights: np.ndarray | None, windows: Sequence[Window], bins: int
) -> Density:
    """The share of draws in each of ``bins`` equal cells per dimension, per unit.

    Args:
        x: ``(n, d)``.
        weights: normalised, or None.
        windows: one per column; draws outside of them are counted as outside.
        bins: cells per dimension.

    Raises:
        SettingError: ``bins`` is not positive.
    """
    if bins < 1:
        raise SettingError(f"a histogram needs at least one bin, not {bins}")
    inside, flat = np.ones(len(x), bool), np.zeros(len(x), np.intp)
    axes = []
    for w, column in zip(windows, x.T, strict=True):
        cell = (w.upper - w.lower) / bins
        place = w.place(column)
        inside &= (place >= w.lower) & (place <= w.upper)
        index = np.clip(np.floor((place - w.lower) / cell), 0, bins - 1)
        flat = flat * bins + index.astype(np.intp)
        axes.append(w.lower + cell * (np.arange(bins) + 0.5))
    share = np.full(len(x), 1 / len(x)) if weights is None else weights
    mass = np.bincount(flat[inside], share[inside], bins ** len(axes))
    empty = Density(tuple(windows), tuple(axes), mass)
    return Density(empty.windows, empty.axes, mass.reshape([bins] * len(axes)) / empty.cell)


def kernel_density(
    x: np.ndarray,
    weights: np.ndarray | None,
    windows: Sequence[Window],
    cells: int | None = None,
    *,
    smoothing: float | int = 1.0,
) -> Density:
    """The smoothed density of draws ``(n, d)`` with d = 1 or 2.

    Args:
        x: ``(n, d)``.
        weights: normalised, or None.
        windows: one per column.
        cells: of the grid per dimension; 4096 or 256 by default.
        smoothing: multiplies the width of the kernel.

    Raises:
        SettingError: another number of dimensions.
    """
    from scipy import fft

    d = len(windows)
    if d not in _CELLS:
        raise SettingError(f"a density on a grid is for one or two columns, not {d}")
    raw = histogram(x, weights, windows, cells or _CELLS[d])
    inside = float(raw.values.sum() * raw.cell)
    if inside == 0:
        return raw
    size = min(effective_size(weights, len(x)), _distinct(x, weights)) * inside
    if size <= 1:
        return raw
    modes: Any = raw.values * (raw.cell / inside)
    frequencies, power = [], np.ones(modes.shape)
    for k, w in enumerate(windows):
        n = modes.shape[k]
        if w.period is None:
            modes = 0.5 * np.asarray(fft.dct(modes, axis=k))
            frequency, multiplicity = pi * np.arange(n), np.where(np.arange(n) > 0, 2.0, 1.0)
        else:
            modes = fft.fft(modes, axis=k)
            frequency, multiplicity = 2 * pi * np.fft.fftfreq(n, 1 / n), np.ones(n)
        frequencies.append(frequency)
        shape = [-1 if j == k else 1 for j in range(d)]
        power = power * multiplicity.reshape(shape)
    power = power * np.square(np.abs(modes))
    squared_width = (_widths_1d if d == 1 else _widths_2d)(power, frequencies, size)
    for k, (w, frequency) in enumerate(zip(windows, frequencies, strict=True)):
        shape = [-1 if j == k else 1 for j in range(d)]
        modes = modes * np.exp(
            -0.5 * smoothing**2 * squared_width[k] * np.square(frequency)
        ).reshape(shape)
        modes = fft.idct(2 * modes, axis=k) if w.period is None else fft.ifft(modes, axis=k)
    values = np.maximum(np.real(modes), 0.0)
    return Density(raw.windows, raw.axes, values * (inside / (values.sum() * raw.cell)))


def _distinct(x: np.ndarray, weights: np.ndarray | None) -> float:
    """The effective number of different draws: a chain repeats those that it stays on.

    Repetitions taken for independent draws would be smoothed too little.
    """
    most = 1.0
    for column in x.T:
        _, place = np.unique(column, return_inverse=True)
        share = np.bincount(place, weights) / (len(x) if weights is None else 1.0)
        most = max(most, float(1 / np.square(share).sum()))
    return most


def _widths_1d(power: np.ndarray, frequencies: list[np.ndarray], size: float) -> list[float]:
    """Squared kernel width on the unit interval, by Botev's equation 31 with seven stages."""
    squared = np.square(frequencies[0])

    def roughness(s: int, t: float) -> float:  # of the s-th derivative, smoothed by t
        return float(np.sum(power * squared**s * np.exp(-squared * t)))

    def proposal(t: float) -> float:
        norm = roughness(7, t)
        for s in range(6, 1, -1):
            odd = factorial(2 * s) / (2**s * factorial(s))  # 1 3 5 ... (2 s - 1)
            constant = (1 + 0.5 ** (s + 0.5)) / 3
            time = (2 * constant * odd / (sqrt(2 * pi) * size * norm)) ** (2 / (3 + 2 * s))
            norm = roughness(s, time)
        return (2 * size * sqrt(pi) * norm) ** -0.4

    return [_fixed_point(proposal, size, power.size)]


def _widths_2d(power: np.ndarray, frequencies: list[np.ndarray], size: float) -> list[float]:
    """Squared widths on the unit square: Botev's two-dimensional form (his section 6)."""
    first, second = (np.square(f) for f in frequencies)

    def roughness(i: int, j: int, t: float) -> float:
        rows = first**i * np.exp(-first * t)
        columns = second**j * np.exp(-second * t)
        return float(rows @ power @ columns)

    def moment(s: int) -> float:
        odd = factorial(2 * s) / (2**s * factorial(s))
        return (-1) ** s * odd / sqrt(2 * pi)

    def functional(i: int, j: int, t: float) -> float:
        if i + j <= 4:
            total = functional(i + 1, j, t) + functional(i, j + 1, t)
            constant = (1 + 0.5 ** (i + j + 1)) / 3
            time = -2 * constant * moment(i) * moment(j) / (size * total)
            t = max(time, 0.0) ** (1 / (2 + i + j))
        return (-1) ** (i + j) * roughness(i, j, t)

    def proposal(t: float) -> float:
        total = functional(0, 2, t) + functional(2, 0, t) + 2 * functional(1, 1, t)
        return (2 * pi * size * total) ** (-1 / 3)

    t = _fixed_point(proposal, size, min(power.shape))
    try:
        p02, p20, p11 = functional(0, 2, t), functional(2, 0, t), functional(1, 1, t)
    except ZeroDivisionError:  # flat
        return [t, t]
    ratio = (p20 / p02) ** 0.75 if p02 > 0 and p20 > 0 else 1.0
    base = 4 * pi * size * (p11 + sqrt(max(p20 * p02, 0.0)))
    if not base > 0:
        return [t, t]
    widths = [(1 / (ratio * base)) ** (1 / 3), (ratio / base) ** (1 / 3)]
    return [float(w) for w in widths]


def _fixed_point(proposal: Callable[[float], float], size: float, cells: int) -> float:
    """The smallest t with proposal(t) = t; the normal rule where there is none."""
    from scipy.optimize import brentq

    grid = np.geomspace((0.1 / cells) ** 2, 0.1, 40)

    def gap_at(t: float) -> float:  # a density without any structure has no finite proposal
        try:
            proposed = proposal(t)
        except ArithmeticError:
            return np.inf
        return proposed - t if isinstance(proposed, float) and np.isfinite(proposed) else np.inf

    with np.errstate(all="ignore"):
        gap = np.array([gap_at(float(t)) for t in grid])
        crossing = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0) & np.isfinite(gap[:-1]))
        if crossing.size:
            k = int(crossing[0])
            root: Any = brentq(gap_at, float(grid[k]), float(grid[k + 1]))
            return float(root)
    return float((0.1 * max(size, 1.0) ** -0.2) ** 2)
