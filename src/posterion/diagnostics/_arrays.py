"""What the metrics share: checked float64 arrays on the host, and sums of exponentials."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posterion.core.errors import SettingError, ShapeError

Floats = NDArray[np.float64]


def series(x: ArrayLike, name: str) -> Floats:
    """A float64 array of shape (n,) with n >= 1."""
    array = np.asarray(x, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"{name}: expected the shape (n,) with n >= 1, got {array.shape}")
    return array


def finite_series(x: ArrayLike, name: str) -> Floats:
    """A float64 array of shape (n,), all of it finite."""
    array = series(x, name)
    _require_finite(array, name)
    return array


def points(x: ArrayLike, name: str) -> Floats:
    """A finite float64 array of shape (n, d); (n,) is taken as (n, 1)."""
    array = np.asarray(x, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(f"{name}: expected the shape (n, d) with n, d >= 1, got {array.shape}")
    _require_finite(array, name)
    return array


def _require_finite(array: Floats, name: str) -> None:
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ShapeError(
            f"{name}: {bad} of {array.size} values are not finite; count and remove them"
        )


def shares(weights: ArrayLike | None, n: int, name: str = "weights") -> Floats:
    """Non-negative weights of shape (n,), normalised to a sum of one; equal shares for None."""
    if weights is None:
        return np.full(n, 1.0 / n)
    array = finite_series(weights, name)
    if array.size != n:
        raise ShapeError(f"{name}: {array.size} weights for {n} points")
    total = array.sum()
    if array.min() < 0 or total <= 0:
        raise ShapeError(f"{name}: must be non-negative with a positive sum")
    return array / total


def totals(label: NDArray[np.intp], share: Floats, size: int) -> Floats:
    """The sum of the shares under each label: (size,)."""
    return np.bincount(label, weights=share, minlength=size).astype(np.float64)


def kish(share: Floats) -> float:
    """The effective number of points of normalised weights."""
    return float(1.0 / np.square(share).sum())


def log_sum_exp(x: Floats) -> float:
    """The log of sum exp(x), without overflow; -inf where every term is zero."""
    top = float(x.max())
    if not np.isfinite(top):
        return top
    return top + float(np.log(np.exp(x - top).sum()))


def embed(x: Floats, periods: Sequence[float | int | None] | None, scale: Floats) -> Floats:
    """Points divided by ``scale``, with each periodic column put on a circle (two columns).

    The circle has the column's period as its circumference, so that short distances are kept.
    """
    if periods is None:
        return x / scale
    if len(periods) != x.shape[1]:
        raise SettingError(f"periods: {len(periods)} entries for {x.shape[1]} parameters")
    columns = []
    for j, period in enumerate(periods):
        if period is None:
            columns.append(x[:, j] / scale[j])
            continue
        if not period > 0:
            raise SettingError(f"periods[{j}]: must be positive or None, got {period}")
        angle = 2 * np.pi * x[:, j] / period
        radius = period / (2 * np.pi * scale[j])
        columns += [radius * np.cos(angle), radius * np.sin(angle)]
    return np.stack(columns, axis=1)


def spread(x: Floats, share: Floats, periods: Sequence[float | int | None] | None = None) -> Floats:
    """The standard deviation of each column (a periodic column: at most its period / 2 pi)."""
    mean = share @ x
    sd = np.sqrt(share @ np.square(x - mean))
    if periods is not None:
        limit = np.array([np.inf if p is None else p / (2 * np.pi) for p in periods])
        sd = np.minimum(sd, limit)
    return np.where(sd > 0, sd, 1.0)
