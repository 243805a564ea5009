"""The energy distance of two samples, calibrated for draws of a chain.

Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013) 1249.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.diagnostics._arrays import Floats, embed, points, spread

__all__ = ["EnergyDistance", "energy_distance"]


@register("energy_distance")
@dataclass(frozen=True)
class EnergyDistance:
    """The energy distance of two samples, and how much it exceeds chance.

    Args:
        distance: 2 E|X - Y| - E|X - X'| - E|Y - Y'| without the diagonal, in standard deviations;
            zero on average for equal distributions.
        z: its significance as a Gaussian one-sided z: above 3 by chance in 0.13 % of cases.
        points: draws of each sample that were compared.
    """

    distance: float
    z: float
    points: tuple[int, int]


def energy_distance(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int,
    n_effective: tuple[float | int, float | int] | None = None,
    periods: Sequence[float | int | None] | None = None,
    limit: int = 1000,
    permutations: int = 300,
    paired: bool = False,
) -> EnergyDistance:
    """Compare two samples by their energy distance, with a permutation test.

    From a chain evenly spaced draws are taken, at most half its effective number, so that what is
    permuted is independent. The permutations' mean, spread and skewness give a gamma law, and this
    the significance.

    Args:
        a: (n, d) independent draws, or (chains, n, d) of a chain.
        b: likewise.
        seed: of the permutations.
        n_effective: independent draws that each is worth; by default all of them.
        periods: per parameter, its period or None.
        limit: points of each sample compared at most.
        permutations: of the labels.
        paired: whether row by row the two share what they were drawn under, such as a condition:
            labels are then exchanged within pairs, and a difference that the spread of conditions
            would hide is seen.

    Raises:
        ShapeError: the samples have different dimensions, or fewer than 8 independent draws.
    """
    if limit < 8 or permutations < 50:
        raise SettingError("energy_distance: needs limit >= 8 and permutations >= 50")
    worth = n_effective or (None, None)
    x, y = _thin(a, "a", worth[0], limit), _thin(b, "b", worth[1], limit)
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"a and b: {x.shape[1]} and {y.shape[1]} parameters")
    n, m = x.shape[0], y.shape[0]
    if paired and np.shape(a)[0] != np.shape(b)[0]:
        raise ShapeError(f"pairs take as many rows, got {np.shape(a)[0]} and {np.shape(b)[0]}")
    both = np.concatenate([x, y])
    both = embed(both, periods, spread(both, np.full(n + m, 1 / (n + m)), periods))
    distances = _distances(both)
    labels = np.zeros((n + m, permutations + 1))
    labels[:n, 0] = 1
    rng = np.random.default_rng(seed)
    for j in range(1, permutations + 1):
        first = rng.permutation(n + m)[:n]
        if paired:
            first = np.arange(n) + n * rng.integers(2, size=n)
        labels[first, j] = 1
    statistic = _statistics(distances, labels, n, m)
    return EnergyDistance(float(statistic[0]), _significance(statistic[0], statistic[1:]), (n, m))


def _statistics(distances: Floats, labels: Floats, n: int, m: int) -> Floats:
    """The distance for each column of labels (1: first sample)."""
    to_first = distances @ labels
    within_first = (labels * to_first).sum(axis=0)
    total = distances.sum()
    across = to_first.sum(axis=0) - within_first
    within_second = total - within_first - 2 * across
    apart = 2 * across / (n * m)
    within = within_first / (n * (n - 1)) + within_second / (m * (m - 1))
    return apart - within


def _significance(value: float, null: Floats) -> float:
    from scipy.stats import norm, pearson3, skew

    sd = null.std(ddof=1)
    if not sd > 0:  # every point the same
        return 0.0
    skewness = max(float(skew(null)), 1e-3)
    log_tail = pearson3.logsf((value - null.mean()) / sd, skewness)
    if np.isneginf(log_tail):
        return float(np.inf)
    if log_tail > -30:
        return float(norm.isf(min(np.exp(log_tail), 1 - 0.5 / null.size)))
    return float(np.sqrt(-2 * log_tail - np.log(-4 * np.pi * log_tail)))  # far tail of the normal


def _distances(x: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, x), dtype=np.float64)


def _thin(x: ArrayLike, name: str, n_effective: float | int | None, limit: int) -> Floats:
    array = np.asarray(x, dtype=np.float64)
    chains = 1
    if array.ndim == 3:
        chains = array.shape[0]
        array = array.reshape(-1, array.shape[2])
    array = points(array, name)
    size = array.shape[0]
    wanted = size
    if n_effective is not None and n_effective < size:
        wanted = int(n_effective / 2)
    wanted = min(wanted, limit, size)
    if wanted < 8:
        raise ShapeError(
            f"{name}: worth fewer than 8 independent draws, too few to compare; run longer chains"
        )
    length = size // chains
    each = -(-wanted // chains)  # the same number of each chain, at its end
    steps = (length - 1 - np.arange(each) * (length / each)).astype(int)[::-1]
    index = (np.arange(chains)[:, None] * length + steps).ravel()
    return array[index]
