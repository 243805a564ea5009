"""How far two samples are apart, column by column: what `compare_samples` is made of.

The metrics in which learned likelihoods are published (Reyes-Gonzalez and Torre, 2309.09743), and
some beside them. What depends on the reference alone is settled once, in a `Ruler`, so that a
sample and its floor are measured alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.core.columns import Column
from posterion.core.density import Density, Window, kernel_density, window
from posterion.core.statistics import circular_mean, on_circle, quantiles, shortest_interval
from posterion.diagnostics._arrays import Floats, kish, spread

__all__ = [
    "SIGMAS",
    "Ruler",
    "Sample",
    "cut_open",
    "hpd_region",
    "laid_open",
    "measure",
    "ruler_of",
]

SIGMAS = {1: 0.6826894921370859, 2: 0.9544997361036416, 3: 0.9973002039367398}
"""Probabilities within so many standard deviations of a normal distribution."""

_QUANTILES = (0.00135, 0.02275, 0.15866, 0.5, 0.84134, 0.97725, 0.99865)
_DIRECTIONS = 64
_BLOCK = 1 << 21  # numbers sorted at a time
_CELLS = 2048  # of a density
_REGION = ("width", "ends", "relative_ends")
_NARROWER = 0.95  # a union of intervals counts where it is narrower than the shortest interval


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows and what they weigh.

    Args:
        x: ``(n, d)``.
        weights: ``(n,)``, positive with sum 1; None where all are equal.
    """

    x: Floats
    weights: Floats | None = None

    @property
    def effective(self) -> float:
        """Kish's effective number of rows."""
        return float(len(self.x)) if self.weights is None else kish(self.weights)

    @property
    def shares(self) -> Floats:
        """The weights, also where they are equal."""
        n = len(self.x)
        return np.full(n, 1 / n) if self.weights is None else self.weights

    def shuffled(self, rng: np.random.Generator) -> "Sample":
        """The rows in random order."""
        order = rng.permutation(len(self.x))
        return Sample(self.x[order], None if self.weights is None else self.weights[order])

    def resampled(self, size: int, rng: np.random.Generator) -> "Sample":
        """So many rows of equal weight, drawn with replacement."""
        if self.weights is None:
            return Sample(self.x[rng.integers(len(self.x), size=size)])
        return Sample(self.x[rng.choice(len(self.x), size, p=self.weights)])


@dataclass(frozen=True, eq=False)
class Ruler:
    """What the reference settles.

    Args:
        location, scale: mean and standard deviation of its columns.
        windows: what densities are drawn on.
        unions: by sigma, the columns whose region of highest density is a union of intervals.
        directions: of the sliced distance, ``(directions, d)``.
        batches: of the Kolmogorov-Smirnov test.
    """

    location: Floats
    scale: Floats
    windows: tuple[Window, ...]
    unions: dict[int, NDArray[np.bool_]]
    directions: Floats
    batches: int


def ruler_of(reference: Sample, *, batches: int, seed: int) -> Ruler:
    """Settle what is measured, and by what."""
    x, w = reference.x, reference.weights
    columns = x.shape[1]
    windows = tuple(window(x[:, j], w, Column(str(j))) for j in range(columns))
    unions = {sigma: np.zeros(columns, bool) for sigma in SIGMAS}
    for j, shown in enumerate(windows):
        density = kernel_density(x[:, j : j + 1], w, [shown], _CELLS)
        for sigma, mass in SIGMAS.items():
            region = hpd_region(density, mass)
            if len(region) > 1:
                low, high = shortest_interval(x[:, j], mass, w)
                unions[sigma][j] = _width(region) < _NARROWER * (high - low)
    directions = np.random.default_rng([seed, 71]).normal(size=(_DIRECTIONS, columns))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shares = reference.shares
    return Ruler(shares @ x, spread(x, shares), windows, unions, directions, batches)


def measure(
    first: Sample, second: Sample, ruler: Ruler, rng: np.random.Generator
) -> dict[str, Floats]:
    """Every metric by its key, one number a column; of all columns together ``(1,)``.

    Args:
        first: what is judged.
        second: the reference.
        ruler: of the reference.
        rng: shuffles the rows before they are cut into batches.
    """
    a, b = first.shuffled(rng), second.shuffled(rng)
    xa, xb = np.ascontiguousarray(a.x.T), np.ascontiguousarray(b.x.T)
    distance, wasserstein = (
        np.concatenate(parts)
        for parts in zip(
            *(_distances(xa[k], a.shares, xb[k], b.shares) for k in _blocks(len(xa), a, b)),
            strict=True,
        )
    )
    found = {
        "ks_p": _batched_p(xa, a, xb, b, ruler.batches),
        "ks": distance,
        "wasserstein": wasserstein,
        "wasserstein_sd": wasserstein / ruler.scale,
        **_intervals(xa, a.weights, xb, b.weights, ruler),
    }
    if len(xa) > 1:
        found["sliced"] = np.array([_sliced(a, b, ruler)])
        found["frobenius"] = np.array([np.linalg.norm(_correlation(a) - _correlation(b))])
    return found


def _blocks(count: int, a: Sample, b: Sample) -> Iterator[slice]:
    """Rows that are sorted at a time."""
    step = max(1, _BLOCK // (len(a.x) + len(b.x)))
    return (slice(start, start + step) for start in range(0, count, step))


def _sliced(a: Sample, b: Sample, ruler: Ruler) -> float:
    """Mean Wasserstein distance of the projections of standardised rows."""
    parts = []
    directions = ruler.directions / ruler.scale
    for k in _blocks(len(directions), a, b):
        xa, xb = (directions[k] @ s.x.T for s in (a, b))
        if a.weights is None and b.weights is None:
            parts.append(_wasserstein(xa, xb))
        else:
            parts.append(_distances(xa, a.shares, xb, b.shares)[1])
    return float(np.concatenate(parts).mean())


def _wasserstein(xa: Floats, xb: Floats) -> Floats:
    """Of rows of equal weights: the distance of quantile functions, which step at known places."""
    n, m = xa.shape[1], xb.shape[1]
    if n == m:
        return np.abs(np.sort(xa) - np.sort(xb)).mean(axis=1)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / nm
    apart = np.abs(np.sort(xa)[:, (ends - 1) // m] - np.sort(xb)[:, (ends - 1) // n])
    return apart @ (np.diff(ends, prepend=0) / (n * m))


def _distances(xa: Floats, wa: Floats, xb: Floats, wb: Floats) -> tuple[Floats, Floats]:
    """Kolmogorov-Smirnov and Wasserstein distances of rows ``(k, n)`` and ``(k, m)``.

    Weights of sum 1: alike for all rows, or one a number.
    """
    both = np.concatenate([xa, xb], axis=1)
    order = np.argsort(both, axis=1)
    weights = np.concatenate(
        [np.broadcast_to(wa, xa.shape), -np.broadcast_to(wb, xb.shape)], axis=1
    )
    steps = np.diff(np.take_along_axis(both, order, axis=1), axis=1)
    apart = np.abs(np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)[:, :-1])
    distance = np.where(steps > 0, apart, 0.0).max(axis=1)  # between equal values nothing counts
    return distance, (apart * steps).sum(axis=1)


def _batched_p(xa: Floats, a: Sample, xb: Floats, b: Sample, batches: int) -> Floats:
    """The p-value of disjoint batches of either sample, averaged over the batches."""
    from scipy.special import kolmogorov

    (ra, wa), (rb, wb) = (_cut(s.shares, batches) for s in (a, b))
    na, nb = (1 / np.square(w).sum(axis=1) for w in (wa, wb))
    root = np.sqrt(na * nb / (na + nb))
    argument = root + 0.12 + 0.11 / root  # Stephens 1970: good from a handful of rows on
    p = np.empty(len(xa))
    for j in range(len(xa)):
        rows = xa[j, : batches * ra].reshape(batches, ra), xb[j, : batches * rb]
        distance, _ = _distances(rows[0], wa, rows[1].reshape(batches, rb), wb)
        p[j] = kolmogorov(distance * argument).mean()
    return p


def _cut(shares: Floats, batches: int) -> tuple[int, Floats]:
    """Rows of a batch, and the weights of each batch with sum 1."""
    rows = len(shares) // batches
    weights = shares[: batches * rows].reshape(batches, rows)
    return rows, weights / weights.sum(axis=1, keepdims=True)


def _intervals(
    xa: Floats, wa: Floats | None, xb: Floats, wb: Floats | None, ruler: Ruler
) -> dict[str, Floats]:
    """Errors of regions of highest density, and of quantiles."""
    found = {f"{what}_{s}": np.empty(len(xa)) for what in _REGION for s in SIGMAS}
    found["quantile"] = np.empty(len(xa))
    for j, scale in enumerate(ruler.scale):
        a, b = _sorted(xa[j], wa), _sorted(xb[j], wb)
        difference = quantiles(a[0], _QUANTILES, a[1]) - quantiles(b[0], _QUANTILES, b[1])
        found["quantile"][j] = np.abs(difference).max() / scale
        densities: list[Density] = []
        if any(ruler.unions[s][j] for s in SIGMAS):
            shown = [ruler.windows[j]]
            densities = [kernel_density(x[:, None], w, shown, _CELLS) for x, w in (a, b)]
        for s, mass in SIGMAS.items():
            if ruler.unions[s][j]:
                ra, rb = (hpd_region(density, mass) for density in densities)
            else:
                ra, rb = (np.array([shortest_interval(x, mass, w)]) for x, w in (a, b))
            apart = np.abs(ra.reshape(-1, 1) - rb.reshape(1, -1))
            near = apart.min(axis=0)  # each end of the reference's to the nearest
            with np.errstate(divide="ignore"):
                found[f"width_{s}"][j] = abs(_width(ra) / _width(rb) - 1)
                relative = np.where(near > 0, near / np.abs(rb.ravel()), 0.0)
            found[f"relative_ends_{s}"][j] = relative.mean()
            found[f"ends_{s}"][j] = max(near.max(), apart.min(axis=1).max()) / scale
    return found


def _sorted(x: Floats, weights: Floats | None) -> tuple[Floats, Floats | None]:
    if weights is None:
        return np.sort(x), None
    order = np.argsort(x)
    return x[order], weights[order]


def hpd_region(density: Density, mass: float) -> Floats:
    """The region of highest density of one column, as intervals ``(intervals, 2)`` in order.

    Args:
        density: on a grid of one dimension.
        mass: that the region holds.
    """
    (shown,), (axis,), values = density.windows, density.axes, density.values
    level = float(density.levels([mass])[0])
    x = np.concatenate([[shown.lower], axis, [shown.upper]])
    y = np.concatenate([values[:1], values, values[-1:]]) - level
    inside = y >= 0
    turns = np.flatnonzero(inside[1:] != inside[:-1])
    ends = x[turns] - y[turns] * (x[turns + 1] - x[turns]) / (y[turns + 1] - y[turns])
    ends = np.concatenate([x[:1][inside[:1]], ends, x[-1:][inside[-1:]]])
    return ends.reshape(-1, 2)


def _width(region: Floats) -> float:
    return float((region[:, 1] - region[:, 0]).sum())


def _correlation(sample: Sample) -> Floats:
    """Pearson's, of the columns."""
    shares = sample.shares
    centred = sample.x - shares @ sample.x
    covariance = (centred * shares[:, None]).T @ centred
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)


def cut_open(x: Floats, weights: Floats | None, period: float | int) -> float:
    """Where a circle is cut so that its draws lie on a line: opposite to their mean direction."""
    return circular_mean(x, weights, 0.0, float(period)) - period / 2


def laid_open(x: Floats, cut: float, period: float | int) -> Floats:
    """Draws moved by whole periods to above the cut."""
    return on_circle(x, cut, float(period))
