"""The probability integral transform of a conditional distribution, also in bins of its condition.

``u_i = F(x_i | x_1, ..., x_{i-1}, context)`` is uniform and independent of all else where the
distribution is right (Rosenblatt, Ann. Math. Stat. 23 (1952) 470): of a flow to normals these are
the normal probabilities of its latent coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import ShapeError
from posterion.diagnostics._arrays import Floats, points
from posterion.diagnostics.bands import least_uniform
from posterion.diagnostics.divergence import kolmogorov_smirnov

__all__ = ["BINS", "FAR", "SURE", "Transforms", "bins_of", "transforms_of"]

BINS = 4
"""Of each condition."""
FAR = 0.05
"""Difference from the uniform distribution up to which a fit may be used."""
SURE = 1e-4
"""P-value, times their number, of transforms that are not uniform by chance."""
_FEWEST = 50  # rows of a bin


@dataclass(frozen=True)
class Transforms:
    """How uniform probability integral transforms are.

    Attributes:
        distance: the largest difference of an empirical distribution from the uniform one, of the
            worst: of those that are surely far off, if there are any, otherwise of all.
        p_value: of the worst by `uniform_p_value`, times their number (Bonferroni).
        where: the worst, in words.
        looked_at: how many distributions: coordinates, each whole and in bins.
        rows: that they are of.
    """

    distance: float
    p_value: float
    where: str
    looked_at: int
    rows: int


def transforms_of(
    u: ArrayLike,
    context: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    chained: bool = True,
    limit: float | int = 0.0,
) -> Transforms:
    """Tests of uniformity of transforms: of each coordinate, and in bins of each condition.

    Bins hold a quarter of the rows each; a condition of few values has them as bins. The other
    coordinates are conditions too, if ``chained``: that transforms do not depend on each other is
    part of it.

    Args:
        u: transforms within [0, 1], ``(n, d)``.
        context: ``(n, width)``.
        names: of the coordinates.
        conditions: of the context's columns.
        chained: whether each is given the coordinates before, as in Rosenblatt's; without, as of
            ranks among draws, coordinates may depend on each other.
        limit: difference that makes one far off; many rows find harmless ones too.

    Raises:
        ShapeError: not finite, not within [0, 1], or of different numbers of rows.
    """
    found = points(u, "u")
    n, d = found.shape
    if found.min() < 0 or found.max() > 1:
        raise ShapeError("transforms lie within [0, 1]")
    beside = np.zeros((n, 0)) if context is None else points(context, "context")
    if len(beside) != n:
        raise ShapeError(f"there are {n} transforms and {len(beside)} conditions")
    labels = [f"x[{i}]" for i in range(d)] if names is None else list(names)
    width = beside.shape[1]
    given = [f"context[{i}]" for i in range(width)] if conditions is None else list(conditions)
    bins = [bins_of(column) for column in np.hstack([beside, found]).T]
    samples, where = [], []
    for i, label in enumerate(labels):
        groups = [("", np.ones(n, bool))]
        for j, name in enumerate([*given, *(labels if chained else ())]):
            if j != width + i:
                groups += [(f", {name} in bin {k + 1}", bins[j] == k) for k in range(BINS)]
        for said, rows in groups:
            if rows.sum() >= _FEWEST:
                samples.append(found[rows, i])
                where.append(label + said)
    if not where:
        raise ShapeError(f"{n} rows are too few, at least {_FEWEST} are needed")
    distances = [float(kolmogorov_smirnov(one, lambda x: x).distance) for one in samples]
    worst, p = least_uniform(samples)
    far = [i for i, distance in enumerate(distances) if distance > limit]
    if far and distances[worst] <= limit:
        one, least = least_uniform([samples[i] for i in far])
        worst, p = (far[one], least) if least * len(where) < SURE else (worst, p)
    return Transforms(distances[worst], min(1.0, p * len(where)), where[worst], len(where), n)


def bins_of(column: Floats) -> np.ndarray:
    """The quarter that each value lies in, 0 to 3; of few values each has its own."""
    values = np.unique(column)
    if len(values) <= BINS:
        return np.searchsorted(values, column)
    edges = np.quantile(column, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, column, side="right")
