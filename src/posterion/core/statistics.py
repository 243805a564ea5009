"""Means, spreads and intervals of weighted draws, on the line and on the circle.

On a circle the mean is the direction of the mean resultant (Mardia & Jupp, Directional Statistics,
2000, eq. 2.2.4). The circle is then cut opposite to it, and what follows (spread, quantiles,
covariance) is that of the line: deviations are the signed arcs from the mean direction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posterion.core.columns import Column
from posterion.core.errors import SettingError, ShapeError

__all__ = [
    "circular_mean",
    "effective_size",
    "normalised_weights",
    "on_circle",
    "quantiles",
    "shortest_interval",
    "unwrapped",
]


def normalised_weights(weights: Any, n: int) -> np.ndarray | None:
    """Weights ``(n,)`` with sum 1; None stays None, for equal ones.

    Raises:
        ShapeError: not ``(n,)``, negative, not finite, or all zero.
    """
    if weights is None:
        return None
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,):
        raise ShapeError(f"weights of shape {array.shape} for {n} draws")
    total = array.sum()
    if not np.isfinite(total) or array.min() < 0 or total <= 0:
        raise ShapeError("weights must be finite, not negative, and not all zero")
    return array / total


def effective_size(weights: np.ndarray | None, n: int) -> float:
    """Kish's effective number of ``n`` draws with normalised weights."""
    return float(n) if weights is None else float(1.0 / np.square(weights).sum())


def on_circle(x: np.ndarray, lower: float, period: float) -> np.ndarray:
    """``x`` moved by whole periods into ``[lower, lower + period)``."""
    turned = x - period * np.floor((x - lower) / period)
    return np.where(turned >= lower + period, lower, turned)


def circular_mean(x: np.ndarray, weights: np.ndarray | None, lower: float, period: float) -> float:
    """The direction of the mean resultant, in ``[lower, lower + period)``.

    >>> round(circular_mean(np.array([170.0, -160.0]), None, -180.0, 360.0), 9)
    -175.0
    """
    angle = (x - lower) * (2 * np.pi / period)
    sine, cosine = (np.average(f(angle), weights=weights) for f in (np.sin, np.cos))
    middle = lower + period * np.arctan2(sine, cosine) / (2 * np.pi)
    return float(on_circle(np.asarray(middle), lower, period))


def unwrapped(x: np.ndarray, weights: np.ndarray | None, column: Column) -> np.ndarray:
    """Draws ``(n,)`` of a column on the line: a circle is cut opposite to its mean direction.

    Values may then lie outside the bounds by up to half a period.
    """
    period, lower = column.period, column.lower
    if period is None or lower is None:
        return x
    middle = circular_mean(x, weights, float(lower), period)
    return on_circle(x, middle - period / 2, period)


def quantiles(x: np.ndarray, p: Sequence[float], weights: np.ndarray | None) -> np.ndarray:
    """Values below which the probability is ``p``; a draw counts half below itself."""
    if weights is None:
        return np.quantile(x, p)
    order = np.argsort(x, kind="stable")
    share = weights[order]
    below = np.cumsum(share) - share / 2
    kept = share > 0
    return np.interp(p, below[kept], x[order][kept])


def shortest_interval(
    x: np.ndarray, mass: float, weights: np.ndarray | None, period: float | None = None
) -> tuple[float, float]:
    """The shortest interval (arc, with ``period``) that holds ``mass`` of the draws.

    For a density of one peak it is the region of highest density; of several peaks it is the
    shortest single interval all the same.

    Args:
        x: ``(n,)``; with a period, unwrapped.
        mass: between 0 and 1.
        weights: normalised, or None.
        period: length of the circle; an arc may then end beyond the cut.

    Raises:
        SettingError: ``mass`` is not between 0 and 1.
    """
    if not 0 < mass < 1:
        raise SettingError(f"the probability of an interval lies between 0 and 1, not {mass}")
    order = np.argsort(x, kind="stable")
    share = np.full(x.size, 1 / x.size) if weights is None else weights[order]
    order, share = order[share > 0], share[share > 0]
    values, starts = x[order], len(order)
    if period is not None:
        values, share = np.concatenate([values, values + period]), np.tile(share, 2)
    above = np.cumsum(share)
    first = np.arange(starts)
    # the interval from draw i holds mass when the sum up to its end exceeds that before i by mass
    last = np.searchsorted(above, above[first] - share[first] + mass - 1e-12)
    fits = last < values.size
    width = np.where(fits, values[np.minimum(last, values.size - 1)] - values[first], np.inf)
    best = int(np.argmin(width))
    return float(values[best]), float(values[min(int(last[best]), values.size - 1)])
