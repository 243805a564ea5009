"""From weighted points to unweighted ones, and the tempering between two densities."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posterion.core.errors import DensityError, SettingError

Floats = NDArray[np.float64]

_REPEATED = 0.02


def systematic(weights: ArrayLike, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of ``n`` equally weighted points by systematic resampling.

    Point ``i`` is taken ``floor(n w_i)`` or ``ceil(n w_i)`` times, ``n w_i`` on average (Kitagawa,
    J. Comput. Graph. Stat. 5 (1996) 1).

    Args:
        weights: (m,), not negative, with a positive sum.
        n: how many.
        rng: source of the one random number.

    Raises:
        DensityError: weights negative, not finite, or all zero.

    >>> systematic([0.5, 0.0, 0.5], 4, np.random.default_rng(0)).tolist()
    [0, 0, 2, 2]
    """
    cumulative = np.cumsum(_checked(weights))
    grid = (np.arange(n) + rng.uniform()) / n * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, grid, side="right"), cumulative.size - 1)


def next_beta(log_ratio: ArrayLike, beta: float | int, share: float | int) -> float:
    """The largest inverse temperature up to 1 that keeps ``share`` of the points effective.

    Args:
        log_ratio: (n,), log p - log p0 at equally weighted points of ``p0^(1-beta) p^beta``; -inf
            where p vanishes. The share counts among the points where it does not.
        beta: the present inverse temperature.
        share: of the effective number of points, in (0, 1).

    Raises:
        DensityError: -inf at every point.
    """
    if not 0 < share < 1:
        raise SettingError(f"share: must lie in (0, 1), got {share}")
    x = np.asarray(log_ratio, np.float64)
    x = x[x > -np.inf]
    if x.size == 0:
        raise DensityError("the density vanishes at every point: there is nothing to anneal to")
    x = x - x.max()

    def effective(step: float) -> float:
        w = np.exp(step * x)
        return float(w.sum() ** 2 / np.square(w).sum() / x.size)

    rest = 1.0 - float(beta)
    if effective(rest) >= share:
        return 1.0
    low, high = min(np.log(rest), np.log(1e-3 / -x.min())), np.log(rest)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(np.exp(middle)) > share else (low, middle)
    return float(beta) + float(np.exp(low))


def _checked(weights: ArrayLike) -> Floats:
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise DensityError(
            "resampling needs weights (m,) that are finite, not negative and not all zero"
        )
    return w


def as_probable(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows, each as probable as its weight, of which at most one in fifty is a repetition.

    A comparison of samples takes repeated rows for independent ones, and would be alarmed.
    """
    low, high = 0.0, float(weights.max())
    for _ in range(50):
        unit = 0.5 * (low + high)
        repeated = np.maximum(weights - unit, 0.0).sum() > _REPEATED * weights.sum()
        low, high = (unit, high) if repeated else (low, unit)
    times = np.floor(weights / high + rng.uniform(size=len(weights))).astype(np.intp)
    return np.repeat(np.arange(len(weights)), times)
