"""Modes of a sample, and whether two samples put the same probability into them.

This is the witness against a lost mode: particles from elsewhere define the modes, and the flow's
draws are counted in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.diagnostics._arrays import (
    Floats,
    embed,
    finite_series,
    points,
    shares,
    spread,
    totals,
)
from posterion.diagnostics._neighbours import ascend, merge_shallow, nearest, neighbour_edges

__all__ = ["ModeComparison", "Modes", "compare_modes", "find_modes", "mode_fractions"]

Periods = Sequence[float | int | None]


def mode_fractions(
    draws: ArrayLike,
    centres: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    scales: ArrayLike | None = None,
    periods: Periods | None = None,
) -> Floats:
    """The fraction of draws whose nearest centre is each of those given.

    Args:
        draws: (n, d).
        centres: (m, d).
        weights: (n,), where the draws carry weights.
        scales: (d,), the unit of distance in each parameter; one by default.
        periods: per parameter, its period or None.

    Returns:
        (m,), summing to one.

    >>> mode_fractions([[0.1], [0.2], [0.9], [-0.1]], [[0.0], [1.0]])
    array([0.75, 0.25])
    """
    x, c = points(draws, "draws"), points(centres, "centres")
    if x.shape[1] != c.shape[1]:
        raise ShapeError(f"centres: {c.shape[1]} parameters, the draws have {x.shape[1]}")
    scale = np.ones(x.shape[1]) if scales is None else finite_series(scales, "scales")
    if scale.shape != (x.shape[1],) or not (scale > 0).all():
        raise ShapeError(f"scales: expected {x.shape[1]} positive numbers")
    label = nearest(embed(x, periods, scale), embed(c, periods, scale))
    return totals(label, shares(weights, x.shape[0]), c.shape[0])


@dataclass(frozen=True)
class Modes:
    """The modes of a sample, heaviest first.

    Args:
        centres: (m, d), the densest point of each.
        fractions: (m,), the share of the sample in each.
        reference: (r, d), points that stand for the modes: a draw belongs to the mode of its
            nearest one, so that rings and bananas are followed.
        labels: (r,), the mode of each reference point.
        scale: (d,), the unit of distance in each parameter.
        periods: per parameter, its period or None.
    """

    centres: Floats
    fractions: Floats
    reference: Floats
    labels: NDArray[np.intp]
    scale: Floats
    periods: Periods | None = None

    @property
    def count(self) -> int:
        """How many modes there are."""
        return self.centres.shape[0]

    def assign(self, draws: ArrayLike) -> NDArray[np.intp]:
        """The mode of each draw: (n, d) to (n,)."""
        x = points(draws, "draws")
        if x.shape[1] != self.centres.shape[1]:
            raise ShapeError(f"draws: {x.shape[1]} parameters, not {self.centres.shape[1]}")
        if self.count == 1:
            return np.zeros(x.shape[0], dtype=np.intp)
        at = nearest(
            embed(x, self.periods, self.scale), embed(self.reference, self.periods, self.scale)
        )
        return self.labels[at]

    def fractions_of(self, draws: ArrayLike, *, weights: ArrayLike | None = None) -> Floats:
        """The share of draws (n, d) in each mode: (m,)."""
        label = self.assign(draws)
        return totals(label, shares(weights, label.size), self.count)


def find_modes(
    sample: ArrayLike,
    *,
    log_density: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    periods: Periods | None = None,
    neighbours: int = 12,
    min_fraction: float | int = 0.01,
    depth: float | int | None = None,
    limit: int = 2000,
) -> Modes:
    """Find the modes of a sample by steepest ascent over its nearest neighbours.

    Two peaks joined by a chain of neighbours are one mode unless the log-density falls by ``depth``
    between them; groups below ``min_fraction`` join their nearest mode. Equal points count once.

    Args:
        sample: (n, d), such as the particles of sequential Monte Carlo.
        log_density: (n,), the target's; None estimates it from the distance of neighbours.
        weights: (n,), where the sample carries weights.
        periods: per parameter, its period or None.
        neighbours: of each point; a mode needs more than half as many points.
        min_fraction: the smallest share of a mode.
        depth: of the valley between two modes; by default 1 + sqrt(d / 2), about the scatter of the
            log-density of draws in d dimensions.
        limit: points used at most, evenly picked.

    Raises:
        ShapeError: arrays of different lengths, or not finite.
        SettingError: an option out of range.
    """
    x = points(sample, "sample")
    if neighbours < 2 or limit < 10 or not 0 <= min_fraction < 1:
        raise SettingError("find_modes: needs neighbours >= 2, limit >= 10, 0 <= min_fraction < 1")
    share = shares(weights, x.shape[0])
    height = None if log_density is None else finite_series(log_density, "log_density")
    if height is not None and height.size != x.shape[0]:
        raise ShapeError(f"log_density: {height.size} values for {x.shape[0]} points")
    scale = spread(x, share, periods)
    x, first, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    share = totals(inverse.ravel(), share, x.shape[0])
    height = None if height is None else height[first]
    if x.shape[0] > limit:
        pick = np.linspace(0, x.shape[0] - 1, limit).round().astype(int)
        pick = np.argsort(first)[pick]  # evenly in the order given
        x, share = x[pick], share[pick] / share[pick].sum()
        height = None if height is None else height[pick]
    space = embed(x, periods, scale)
    edges, radius = neighbour_edges(space, neighbours)
    if height is None:
        height = -x.shape[1] * np.log(radius)
    wanted = 1 + np.sqrt(x.shape[1] / 2) if depth is None else float(depth)
    root = merge_shallow(ascend(edges, height), edges, height, wanted)
    root = _absorb(space, root, share, min_fraction)
    tops, label = np.unique(root, return_inverse=True)
    fraction = totals(label, share, tops.size)
    order = np.argsort(-fraction, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return Modes(x[tops[order]], fraction[order], x, rank[label], scale, periods)


@register("mode_comparison")
@dataclass(frozen=True)
class ModeComparison:
    """The share of two samples in each mode.

    Args:
        flow: share of the flow's draws in each mode.
        witness: share of the independent sample.
        flow_error: binomial standard errors.
        witness_error: likewise.
        pull: (flow - witness) in units of the error that both would have with a common share.
    """

    flow: tuple[float, ...]
    witness: tuple[float, ...]
    flow_error: tuple[float, ...]
    witness_error: tuple[float, ...]
    pull: tuple[float, ...]


def compare_modes(
    flow: ArrayLike,
    witness: ArrayLike,
    *,
    n_flow: float | int,
    n_witness: float | int,
) -> ModeComparison:
    """Compare the shares of two samples in the same modes.

    Args:
        flow: (m,), shares of the flow's draws.
        witness: (m,), shares of the independent sample.
        n_flow: how many independent draws the first are.
        n_witness: likewise; for sequential Monte Carlo the number of distinct ancestors, since
            resampling fixes the shares early.

    >>> lost = compare_modes([1.0, 0.0], [0.7, 0.3], n_flow=10_000, n_witness=200)
    >>> lost.pull[1] < -10
    True
    """
    a, b = finite_series(flow, "flow"), finite_series(witness, "witness")
    if a.shape != b.shape:
        raise ShapeError(f"flow and witness: {a.size} and {b.size} modes")
    if not (n_flow > 0 and n_witness > 0):
        raise SettingError("compare_modes: the numbers of draws must be positive")
    common = (a * n_flow + b * n_witness + 0.5) / (n_flow + n_witness + 1)
    error = np.sqrt(common * (1 - common) * (1 / n_flow + 1 / n_witness))
    pull = (a - b) / error
    return ModeComparison(
        *(
            tuple(float(v) for v in column)
            for column in (a, b, _binomial(a, n_flow), _binomial(b, n_witness), pull)
        )
    )


def _binomial(share: Floats, n: float | int) -> Floats:
    """Binomial errors that do not vanish at shares of zero and one (half a count added to each)."""
    p = (share * n + 0.5) / (n + 1)
    return np.sqrt(p * (1 - p) / n)


def _absorb(
    space: Floats, root: NDArray[np.intp], share: Floats, min_fraction: float | int
) -> NDArray[np.intp]:
    """Give the points of too small groups to the group of the nearest point outside of them."""
    fraction = totals(root, share, root.size)[root]
    large = fraction >= min(max(min_fraction, 0.0), fraction.max())
    if large.all():
        return root
    root = root.copy()
    keep = np.flatnonzero(large)
    root[~large] = root[keep[nearest(space[~large], space[keep])]]
    return root
