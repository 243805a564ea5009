"""The posterior of some of the parameters: draws, and their density on a grid."""

from dataclasses import dataclass

import numpy as np

from posterion.core.columns import Column
from posterion.core.density import Density, Window, histogram, kernel_density, window
from posterion.core.statistics import normalised_weights
from posterion.core.summary import Summary, summarise

__all__ = ["Marginal"]


@dataclass(frozen=True, eq=False, repr=False)
class Marginal:
    """Draws of some columns; the others are integrated out.

    Args:
        columns: what the draws are of.
        sample: ``(n,)`` for one column, ``(n, k)`` for k.
        weights: ``(n,)`` with sum 1; None where all are equal.
        notes: what else to know.
    """

    columns: tuple[Column, ...]
    sample: np.ndarray
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def matrix(self) -> np.ndarray:
        """The draws as ``(n, k)``, also for one column."""
        return self.sample.reshape(len(self.sample), -1)

    @property
    def windows(self) -> tuple[Window, ...]:
        """What a grid covers of each column."""
        share = normalised_weights(self.weights, len(self.sample))
        return tuple(
            window(x, share, column) for x, column in zip(self.matrix.T, self.columns, strict=True)
        )

    def density(self, cells: int | None = None) -> Density:
        """The smoothed density on a grid, of one or two columns.

        Args:
            cells: of the grid per dimension; 4096 or 256 by default.

        Raises:
            SettingError: more than two columns.
        """
        share = normalised_weights(self.weights, len(self.sample))
        return kernel_density(self.matrix, share, self.windows, cells)

    def histogram(self, bins: int = 50) -> Density:
        """The share of draws per cell and unit, on a grid of ``bins`` cells per dimension."""
        share = normalised_weights(self.weights, len(self.sample))
        return histogram(self.matrix, share, self.windows, bins)

    def summary(self) -> Summary:
        """Means, intervals and covariance of these columns."""
        return summarise(self.columns, self.matrix, self.weights, notes=self.notes)

    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        return f"Marginal of {names}\n{self.summary()}"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
