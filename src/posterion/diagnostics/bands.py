"""Whether numbers are uniform: a band that holds the whole empirical distribution function.

The number of values below a point is binomial at each point of a grid; the band is drawn at one
level for all points, chosen so that a uniform sample stays inside of it everywhere with the wanted
probability (Säilynoja, Bürkner and Vehtari, Stat. Comput. 32, 32 (2022), 2103.10522). That
probability is computed, not simulated: between points a Poisson process has independent increments,
and the sample is one that was seen to count ``n`` (Moscovich and Nadler, Stat. Probab. Lett. 123,
177 (2017), 1503.04363).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, poisson

from posterion.core.errors import SettingError, ShapeError
from posterion.diagnostics._arrays import Floats, finite_series

__all__ = ["UniformBand", "uniform_band", "uniform_p_value"]

_CELLS = 100
_GRID = np.arange(1, _CELLS) / _CELLS
_TINY = 1e-50
_SURE = 1e-10  # below it a difference from one is rounding

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class UniformBand:
    """The band of an empirical distribution function of uniform numbers.

    Attributes:
        at: where it is drawn, ``(m,)``.
        lower, upper: the band at each, as fractions, ``(m,)``.
        alpha: probability that a uniform sample leaves it somewhere, at the most.
    """

    at: Floats
    lower: Floats
    upper: Floats
    alpha: float

    def left_by(self, u: ArrayLike) -> bool:
        """Whether the sample ``(n,)`` leaves it."""
        found = _below(finite_series(u, "u")) / np.size(u)
        return bool(((found < self.lower - 1e-12) | (found > self.upper + 1e-12)).any())


@lru_cache(maxsize=32)
def uniform_band(n: int, alpha: float = 0.01) -> UniformBand:
    """The simultaneous band for ``n`` numbers with the false-alarm rate ``alpha``.

    Raises:
        SettingError: ``n`` is below 1, or ``alpha`` is not between 0 and 1.
    """
    if n < 1 or not 0 < alpha < 1:
        raise SettingError(f"a band needs n >= 1 and 0 < alpha < 1, got n = {n}, alpha = {alpha}")
    low, high = _accepted(n, _level(n, alpha))
    return UniformBand(_GRID, low / n, high / n, alpha)


def uniform_p_value(u: ArrayLike) -> float:
    """Probability that uniform numbers leave some band as narrow as that which these just leave.

    It rejects at ``alpha`` exactly when the sample leaves the band of that rate.

    Args:
        u: ``(n,)``, each in [0, 1].

    Raises:
        ShapeError: numbers that are not finite or outside of [0, 1].
    """
    u = finite_series(u, "u")
    if u.min() < 0 or u.max() > 1:
        raise ShapeError(f"u: from {u.min():g} to {u.max():g}; it must lie in [0, 1]")
    return _rejected(u.size, _pointwise(u))


def least_uniform(samples: Sequence[Floats]) -> tuple[int, float]:
    """Which sample is the least uniform, and its `uniform_p_value`.

    Args:
        samples: of numbers in [0, 1], ``(n,)`` each.
    """
    levels = np.array([_pointwise(u) for u in samples])
    worst, least = 0, np.inf
    for i in map(int, np.argsort(levels, kind="stable")):
        if levels[i] > least:  # nor can its p-value be smaller
            break
        if (p := _rejected(len(samples[i]), float(levels[i]))) < least:
            worst, least = i, p
    return worst, least


def _pointwise(u: Floats) -> float:
    """The least two-sided binomial p-value of all points of the grid."""
    n, below = u.size, _below(u)
    tails = np.minimum(binom.cdf(below, n, _GRID), binom.cdf(n - below, n, 1 - _GRID))
    return float(np.minimum(1.0, 2 * tails).min())


def _below(u: Floats) -> Counts:
    return np.searchsorted(np.sort(u), _GRID, side="right").astype(np.int64)


def _accepted(n: int, level: float) -> tuple[Counts, Counts]:
    """Counts at each point whose two-sided binomial p-value is above ``level``: first and last."""
    tail = 0.5 * level * (1 + 1e-9)
    low = binom.ppf(tail, n, _GRID)
    high = n - binom.ppf(tail, n, 1 - _GRID)
    return low.astype(np.int64), high.astype(np.int64)


def _rejected(n: int, level: float) -> float:
    """Probability that the p-value of a uniform sample is at most ``level`` somewhere."""
    if level >= 1:
        return 1.0
    if level < _TINY:  # too small for SciPy's quantiles: Bonferroni's bound, as good as exact
        return level * len(_GRID)
    low, high = _accepted(n, level)
    if (low > high).any():
        return 1.0
    largest = int(max(high[0], (high[1:] - low[:-1]).max(), n - low[-1]))
    jump = poisson.pmf(np.arange(largest + 1), n / _CELLS)
    before, first = np.ones(1), 0
    for start, stop in zip(low, high, strict=True):
        after = np.convolve(before, jump)
        reach = np.arange(start, stop + 1) - first
        inside = (reach >= 0) & (reach < len(after))
        before = np.where(inside, after[np.clip(reach, 0, len(after) - 1)], 0.0)
        first = int(start)
    left = n - first - np.arange(len(before))
    last = np.where(left >= 0, jump[np.clip(left, 0, largest)], 0.0)
    inside = float(before @ last / poisson.pmf(n, n))
    outside = 1 - inside
    most = min(1.0, len(_GRID) * level)  # by Boole's inequality
    return most if outside < _SURE else min(outside, most)


@lru_cache(maxsize=32)
def _level(n: int, alpha: float) -> float:
    """The largest pointwise level that leaves at most ``alpha`` to the outside."""
    low, high = np.log(alpha / (2 * len(_GRID))), np.log(alpha)
    for _ in range(24):
        middle = 0.5 * (low + high)
        if _rejected(n, float(np.exp(middle))) <= alpha:
            low = middle
        else:
            high = middle
    return float(np.exp(low))
