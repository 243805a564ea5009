"""The area under the curve of a classifier: how well two samples can be told apart."""

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.estimate import Estimate
from posterion.diagnostics._arrays import finite_series

__all__ = ["area_under_curve"]


def area_under_curve(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights_first: ArrayLike | None = None,
    weights_second: ArrayLike | None = None,
) -> Estimate:
    """The probability that a draw of ``first`` scores above one of ``second``, ties counted half.

    0.5 where nothing can be told. The error is DeLong's (Biometrics 44 (1988) 837): from the spread
    of each draw's rank among the others.

    Args:
        first: scores of the one sample, ``(n,)``.
        second: of the other, ``(m,)``.
        weights_first: of the first, ``(n,)``.
        weights_second: of the second, ``(m,)``.

    Raises:
        ShapeError: not one-dimensional, empty or not finite.

    >>> print(area_under_curve([1.0, 2.0, 3.0], [0.0, 0.5, 1.5]))
    0.89 ± 0.16
    """
    a, b = finite_series(first, "first"), finite_series(second, "second")
    wa, wb = _weights(weights_first, a), _weights(weights_second, b)
    above = _share_below(a, b, wb)
    below = 1 - _share_below(b, a, wa)
    value = float(wa @ above)
    variance = _variance(above, wa, value) + _variance(below, wb, value)
    return Estimate(value, float(np.sqrt(variance)))


def _weights(weights: ArrayLike | None, of: np.ndarray) -> np.ndarray:
    w = np.ones(len(of)) if weights is None else finite_series(weights, "weights")
    return w / w.sum()


def _share_below(points: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight of the others below each point, ties half."""
    order = np.argsort(others, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(weights[order])])
    left, right = (np.searchsorted(others[order], points, side) for side in ("left", "right"))
    return 0.5 * (summed[left] + summed[right])


def _variance(values: np.ndarray, weights: np.ndarray, mean: float) -> float:
    n = 1 / np.square(weights).sum()
    spread = float(weights @ np.square(values - mean))
    return spread / max(n - 1, 1.0)
