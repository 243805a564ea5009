"""Distances between draws and exact marginals, and between two samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SettingError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics._arrays import Floats, finite_series, kish, series, shares

__all__ = [
    "KolmogorovSmirnov",
    "jensen_shannon",
    "jensen_shannon_floor",
    "jensen_shannon_floor_simulated",
    "jensen_shannon_of_histograms",
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_two",
    "wasserstein",
]

Cdf = Callable[[Floats], ArrayLike]


def jensen_shannon(
    draws: ArrayLike,
    *,
    cdf: Cdf | None = None,
    edges: ArrayLike | None = None,
    bins: int = 50,
    weights: ArrayLike | None = None,
) -> float:
    """Jensen-Shannon divergence (nats) of draws to an exact marginal, in equally probable bins.

    Give either the exact distribution function or the edges of bins that each hold the same exact
    probability. Draws beyond the first or last edge fall in a bin of probability zero.

    Args:
        draws: (n,).
        cdf: maps (n,) to exact cumulative probabilities (n,).
        edges: (bins + 1,), ascending; may start and end with infinities.
        bins: their number, with ``cdf``.
        weights: (n,), where the draws carry weights.

    Returns:
        Between 0 and log 2; `jensen_shannon_floor` is what perfect draws give.

    Raises:
        SettingError: not exactly one of ``cdf`` and ``edges``, or fewer than two bins.
        ShapeError: edges not ascending, or values not finite.
    """
    x = finite_series(draws, "draws")
    if (cdf is None) == (edges is None):
        raise SettingError("jensen_shannon: give either cdf or edges")
    if cdf is not None:
        x = finite_series(cdf(x), "cdf(draws)")
        if x.min() < -1e-9 or x.max() > 1 + 1e-9:
            raise ShapeError(f"cdf(draws): outside [0, 1], from {x.min():g} to {x.max():g}")
        grid = np.linspace(0.0, 1.0, bins + 1)
        grid[[0, -1]] = -1e-9, 1 + 1e-9
    else:
        grid = series(() if edges is None else edges, "edges")
        bins = grid.size - 1
        if np.isnan(grid).any() or not (np.diff(grid) > 0).all():
            raise ShapeError("edges: must be ascending")
    if bins < 2:
        raise SettingError(f"jensen_shannon: needs two bins at least, got {bins}")
    place = np.searchsorted(grid, x, side="right")  # 0 below the first edge
    place[x == grid[-1]] = bins
    found = np.bincount(place, weights=shares(weights, x.size), minlength=bins + 2)
    exact = np.concatenate([[0.0], np.full(bins, 1 / bins), [0.0]])
    return jensen_shannon_of_histograms(found, exact)


def jensen_shannon_of_histograms(p: ArrayLike, q: ArrayLike) -> float:
    """Jensen-Shannon divergence (nats) of two histograms over the same bins, each normalised here.

    Args:
        p: (bins,), counts or probabilities.
        q: (bins,).

    >>> round(jensen_shannon_of_histograms([1, 0], [0, 1]), 4), round(np.log(2), 4)
    (0.6931, np.float64(0.6931))
    """
    a = shares(p, series(p, "p").size, "p")
    b = shares(q, a.size, "q")
    middle = (a + b) / 2
    return float((_entropy_terms(a, middle) + _entropy_terms(b, middle)).sum() / 2)


def jensen_shannon_floor(bins: int, n: float | int, m: float | int | None = None) -> float:
    """The expected divergence of perfect draws: (bins - 1) / 8 (1 / n + 1 / m).

    To leading order the divergence is chi-squared / 8.

    Args:
        bins: their number.
        n: effective number of independent draws.
        m: that of the sample they are compared with; None for an exact marginal (1 / m = 0).

    >>> jensen_shannon_floor(51, 100_000), jensen_shannon_floor(51, 100_000, 100_000)
    (6.25e-05, 0.000125)
    """
    if bins < 2 or not n > 0 or (m is not None and not m > 0):
        raise SettingError(f"the floor needs bins >= 2 and positive sizes, got {bins}, {n}, {m}")
    return (bins - 1) / 8 * (1 / n + (0.0 if m is None else 1 / m))


def jensen_shannon_floor_simulated(
    bins: int, n: int, *, seed: int, parameters: int = 1, repeats: int = 200
) -> Estimate:
    """The largest divergence over ``parameters`` exact marginals that n perfect draws give.

    Args:
        bins: of equal probability.
        n: draws.
        seed: of the simulation.
        parameters: how many independent marginals the largest is taken of.
        repeats: simulated samples.

    Returns:
        Its mean, and its standard deviation from one sample to the next as the error.
    """
    if bins < 2 or n < 1 or parameters < 1 or repeats < 2:
        raise SettingError("the floor needs bins >= 2, n >= 1, parameters >= 1, repeats >= 2")
    exact = np.full(bins, 1 / bins)
    counts = np.random.default_rng(seed).multinomial(n, exact, size=(repeats, parameters)) / n
    middle = (counts + exact) / 2
    terms = _entropy_terms(counts, middle) + _entropy_terms(
        np.broadcast_to(exact, counts.shape), middle
    )
    largest = (terms.sum(axis=-1) / 2).max(axis=1)
    return Estimate(largest.mean(), largest.std(ddof=1))


@register("kolmogorov_smirnov")
@dataclass(frozen=True)
class KolmogorovSmirnov:
    """The largest distance of two distribution functions, and how probable a larger one is."""

    distance: float
    p_value: float


def kolmogorov_smirnov(
    draws: ArrayLike,
    cdf: Cdf,
    *,
    weights: ArrayLike | None = None,
    n_effective: float | int | None = None,
) -> KolmogorovSmirnov:
    """The Kolmogorov-Smirnov test of draws against an exact distribution function.

    Args:
        draws: (n,).
        cdf: maps (n,) to (n,).
        weights: (n,), where the draws carry weights.
        n_effective: independent draws that they are worth; by default Kish's number.

    Returns:
        The distance, and its asymptotic p-value (conservative for weighted draws).
    """
    x = finite_series(draws, "draws")
    order = np.argsort(x)
    share = shares(weights, x.size)[order]
    exact = finite_series(cdf(x[order]), "cdf(draws)")
    above = np.cumsum(share)
    distance = float(max((above - exact).max(), (exact - above + share).max()))
    return KolmogorovSmirnov(distance, _ks_p_value(distance, n_effective or kish(share)))


def kolmogorov_smirnov_two(
    a: ArrayLike, b: ArrayLike, *, n_effective: tuple[float | int, float | int] | None = None
) -> KolmogorovSmirnov:
    """The two-sample Kolmogorov-Smirnov test.

    Args:
        a: (n,).
        b: (m,).
        n_effective: independent draws that each is worth, where they come from chains.
    """
    x, y = np.sort(finite_series(a, "a")), np.sort(finite_series(b, "b"))
    both = np.concatenate([x, y])
    below_x = np.searchsorted(x, both, side="right") / x.size
    below_y = np.searchsorted(y, both, side="right") / y.size
    distance = float(np.abs(below_x - below_y).max())
    n, m = n_effective or (x.size, y.size)
    return KolmogorovSmirnov(distance, _ks_p_value(distance, n * m / (n + m)))


def wasserstein(
    a: ArrayLike,
    b: ArrayLike,
    *,
    weights_a: ArrayLike | None = None,
    weights_b: ArrayLike | None = None,
) -> float:
    """The 1-Wasserstein distance of two samples, integral |F - G| dx, in the unit of the draws.

    Args:
        a: (n,).
        b: (m,).
        weights_a: (n,), where the draws carry weights.
        weights_b: (m,).

    >>> wasserstein([0.0, 1.0], [2.0, 3.0])
    2.0
    """
    x, y = finite_series(a, "a"), finite_series(b, "b")
    both = np.concatenate([x, y])
    order = np.argsort(both)
    step = np.concatenate(
        [shares(weights_a, x.size, "weights_a"), -shares(weights_b, y.size, "weights_b")]
    )
    difference = np.cumsum(step[order])[:-1]
    return float(np.abs(difference) @ np.diff(both[order]))


def _entropy_terms(p: Floats, reference: Floats) -> Floats:
    """The terms p log(p / reference), zero where p is."""
    safe = np.where(p > 0, p, 1.0)
    return np.where(p > 0, p * np.log(safe / np.where(p > 0, reference, 1.0)), 0.0)


def _ks_p_value(distance: float, n: float | int) -> float:
    from scipy.special import kolmogorov

    root = np.sqrt(n)
    # Stephens (1970): the asymptotic law holds from a handful of draws on with this argument.
    return float(kolmogorov(distance * (root + 0.12 + 0.11 / root)))
