"""Sets of points as rows of an array: ragged ones, their end filled with NaN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError

__all__ = ["PointSets"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PointSets:
    """How sets of points stand in rows: point after point; one that is missing is NaN throughout.

    Args:
        points: that a set has at the most.
        features: of a point.

    >>> PointSets(3, 2).rows([[[1, 2]], [[3, 4], [5, 6]]]).shape
    (2, 6)
    """

    points: int
    features: int

    @property
    def width(self) -> int:
        """Of a row."""
        return self.points * self.features

    def rows(self, sets: Any, what: str = "context") -> Floats:
        """Sets as rows ``(n, points * features)``.

        Args:
            sets: an array ``(n, up to points, features)``; a list of arrays ``(points, features)``,
                which may differ in length; one such array; or the rows themselves.
            what: for the message.

        Raises:
            SampleError: none of these, or more points than there is room for.
        """
        each = _several(sets)
        if each is None:
            try:
                array = np.asarray(sets, np.float64)
            except (TypeError, ValueError) as error:
                raise SampleError(f"the {what} is no array of numbers: {error}") from error
            if array.shape[-1:] == (self.width,) and array.ndim < 3:
                return np.atleast_2d(array)
            if array.ndim == 1 and self.features == 1:
                array = array[:, None]
            each = array[None] if array.ndim == 2 else array
        out = np.full((len(each), self.points, self.features), np.nan)
        for i, one in enumerate(each):
            own = np.asarray(one, np.float64)
            if own.ndim != 2 or own.shape[1] != self.features or len(own) > self.points:
                raise SampleError(
                    f"set {i} of the {what} has the shape {own.shape}; expected (up to "
                    f"{self.points} points, {self.features} features)"
                )
            out[i, : len(own)] = own
        return out.reshape(len(out), self.width)

    def sound(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows are finite, up to points at their end that are missing, ``(n,)``."""
        values = rows.reshape(len(rows), self.points, self.features)
        missing: NDArray[np.bool_] = np.asarray(np.isnan(values).all(axis=2))
        ends = (missing[:, 1:] >= missing[:, :-1]).all(axis=1)
        sound = np.asarray(missing | np.isfinite(values).all(axis=2))
        return np.asarray(ends & sound.all(axis=1))

    def each(self, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """The points of all sets, ``(m, features)``, and of which row each is, ``(m,)``."""
        values = rows.reshape(-1, self.features)
        there = ~np.isnan(values).any(axis=1)
        return values[there], np.flatnonzero(there) // self.points

    def statistics(self, rows: NDArray[Any]) -> Floats:
        """What a set is by itself: count, means and standard deviations, ``(n, 1 + 2 features)``.

        Zero for what a set has too few points for. For checks: nothing in it is learned.
        """
        values = rows.reshape(len(rows), self.points, self.features).astype(np.float64)
        there: NDArray[np.bool_] = np.asarray(~np.isnan(values).any(axis=2))
        count = there.sum(axis=1)
        values = np.where(there[..., None], values, 0.0)
        divisor = np.maximum(count, 1)[:, None]
        mean = values.sum(axis=1) / divisor
        away = np.where(there[..., None], values - mean[:, None], 0.0)
        sd = np.sqrt(np.square(away).sum(axis=1) / divisor)
        return np.column_stack([count, mean, sd])

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """Of `statistics`."""
        kinds = [
            f"{kind} of feature {i + 1}" for kind in ("mean", "sd") for i in range(self.features)
        ]
        return ("number of points", *kinds)


def _several(sets: Any) -> Sequence[Any] | None:
    """The arrays of a list of sets; ``None`` where it is one array."""
    if not isinstance(sets, list | tuple) or not len(sets) or np.ndim(sets[0]) != 2:
        return None
    return sets
