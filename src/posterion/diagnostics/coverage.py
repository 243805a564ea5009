"""Whether predicted intervals hold what they promise, and the correction that makes them."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from posterion.core.errors import SampleError, SettingError, ShapeError
from posterion.core.estimate import Estimate
from posterion.diagnostics._arrays import Floats

__all__ = [
    "conformal_factors",
    "coverage",
    "expected_calibration_error",
    "normal_probability",
    "rows_for_level",
]


def normal_probability(sigmas: float | int) -> float:
    """Probability within so many standard deviations of a normal.

    >>> round(normal_probability(3), 6)
    0.9973
    """
    return math.erf(sigmas / math.sqrt(2))


def coverage(pulls: ArrayLike, factors: Sequence[float | int] = (1, 2, 3)) -> list[Estimate]:
    """Fractions of pulls within each factor, with their binomial errors.

    Args:
        pulls: (truth - prediction) / predicted standard deviation, (n,).
        factors: half widths of the intervals, in predicted standard deviations.

    Returns:
        One fraction for each factor. The error is that of the posterior of the fraction under a
        uniform prior, so that it is not zero where all or none are covered.

    Raises:
        ShapeError: no pulls, or NaN among them.
    """
    absolute = np.abs(_line(pulls))
    n, found = len(absolute), []
    for factor in factors:
        inside = int((absolute <= factor).sum())
        found.append(Estimate(inside / n, float(stats.beta(inside + 1, n - inside + 1).std())))
    return found


def rows_for_level(level: float | int) -> int:
    """Rows that a conformal correction at that level needs at least.

    >>> rows_for_level(0.95), rows_for_level(normal_probability(3))
    (19, 370)
    """
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_factors(pulls: ArrayLike, levels: Sequence[float | int]) -> list[float]:
    """By what predicted standard deviations must be multiplied for intervals of given coverage.

    Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 113 (2018) 1094): the interval
    ``prediction +- factor * sd`` holds the truth of a new row with a probability of at least its
    level, and at most 1 / (n + 1) more where no two pulls are equal, whatever the predictions are
    worth; on average over rows that are exchangeable with those of the pulls, not for each alone.

    Args:
        pulls: (truth - prediction) / predicted standard deviation of rows that the prediction never
            saw, (n,).
        levels: probabilities, such as .683, .954, .997.

    Returns:
        One factor for each level.

    Raises:
        SettingError: a level outside of (0, 1).
        SampleError: too few rows for a level; the message says how many are needed.
        ShapeError: no pulls, or NaN among them.
    """
    absolute = np.sort(np.abs(_line(pulls)))
    n, found = len(absolute), []
    for level in levels:
        if not 0 < level < 1:
            raise SettingError(f"a level lies between 0 and 1, got {level}")
        rank = math.ceil((n + 1) * level - 1e-9)
        if rank > n:
            raise SampleError(
                f"{n} rows are too few to correct intervals of {100 * level:.2f} %: "
                f"{rows_for_level(level)} are needed"
            )
        found.append(float(absolute[rank - 1]))
    return found


def expected_calibration_error(
    probability: ArrayLike, label: ArrayLike, *, bins: int = 15, seed: int = 0
) -> tuple[float, float]:
    """Mean difference between predicted probability and observed frequency, over equal bins.

    Args:
        probability: that the label is 1, (n,).
        label: 0 or 1, (n,).
        bins: of equal width in the probability (Naeini et al., AAAI 2015).
        seed: of the labels that the floor is drawn with.

    Returns:
        The error, and its floor: the mean error of labels drawn with these very probabilities.

    Raises:
        ShapeError: different lengths, or no rows.
        SettingError: probabilities outside of [0, 1], or labels that are not 0 or 1.
    """
    p, y = _line(probability), _line(label)
    if p.shape != y.shape:
        raise ShapeError(f"{p.shape[0]} probabilities, but {y.shape[0]} labels")
    if p.min() < 0 or p.max() > 1 or not np.isin(y, (0, 1)).all():
        raise SettingError("probabilities lie in [0, 1] and labels are 0 or 1")
    place = np.minimum((p * bins).astype(int), bins - 1)
    predicted = np.bincount(place, p, minlength=bins)

    def error(y: ArrayLike) -> float:
        return float(np.abs(np.bincount(place, y, minlength=bins) - predicted).sum() / len(p))

    rng = np.random.default_rng(seed)
    return error(y), float(np.mean([error((rng.random(len(p)) < p) * 1.0) for _ in range(50)]))


def _line(values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or np.isnan(array).any():
        raise ShapeError(f"a row of numbers without NaN is wanted, got the shape {array.shape}")
    return array
