"""What pictures are made of: layers of draws, and exact densities over them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posterion.core.columns import Column, column_matrix, columns_of, pick
from posterion.core.density import Density, Window, kernel_density, window
from posterion.core.errors import SettingError, ShapeError, ThetaError
from posterion.core.statistics import effective_size, normalised_weights, quantiles
from posterion.core.summary import summarise

__all__ = ["Layer", "Truth", "common_columns", "common_windows", "mass_levels"]

_SMOOTHING = 1.3  # the best width for a density leaves outer contours wavy

Curve1 = tuple[Any, Any]
Curve2 = tuple[Any, Any, Any]


@dataclass(frozen=True, eq=False)
class Truth:
    """Exact marginal densities, drawn over the draws.

    Args:
        marginals: column's name to ``(x, density)``, ascending.
        pairs: ``(a, b)`` to ``(x_a, x_b, density)`` with density of shape ``(len(x_a), len(x_b))``.
        label: in the legend.
    """

    marginals: Mapping[str, Curve1] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], Curve2] = field(default_factory=dict)
    label: str = "exact"

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The density of one column, or None.

        Raises:
            ShapeError: it is not two arrays of one length, ascending.
        """
        if name not in self.marginals:
            return None
        x, density = (np.asarray(a, dtype=np.float64) for a in self.marginals[name])
        if x.ndim != 1 or x.shape != density.shape or x.size < 2 or (np.diff(x) < 0).any():
            raise ShapeError(
                f"the exact marginal of {name!r} must be two arrays of one length, x ascending"
            )
        return x, density

    def pair(self, a: str, b: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The density of two columns with the axes of ``a`` and ``b`` in that order, or None.

        Raises:
            ShapeError: the arrays do not fit.
        """
        if (a, b) in self.pairs:
            x, y, density = (np.asarray(v, dtype=np.float64) for v in self.pairs[a, b])
        elif (b, a) in self.pairs:
            y, x, density = (np.asarray(v, dtype=np.float64) for v in self.pairs[b, a])
            density = density.T
        else:
            return None
        if density.shape != (x.size, y.size):
            raise ShapeError(
                f"the exact marginal of {a!r} and {b!r} has shape {density.shape}; its axes have "
                f"{x.size} and {y.size} points"
            )
        return x, y, density

    def moments(self, column: Column) -> tuple[float, float] | None:
        """Mean and standard deviation as in a `Summary` (on a circle: direction, arc), or None."""
        found = self.curve(column.name)
        if found is None:
            return None
        x, density = found
        steps = np.diff(x)
        weights = density * (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
        row = summarise([column], x[:, None], weights)
        return float(row.mean[0]), float(row.sd[0])


@dataclass(frozen=True, eq=False)
class Layer:
    """Draws to be shown, with their name in the legend.

    Args:
        columns: d of them.
        x: ``(n, d)``.
        label: in the legend.
        weights: ``(n,)`` with sum 1; None where all are equal.
        truth: exact densities of these draws.
        colour: of the layer; by its place otherwise.
    """

    columns: tuple[Column, ...]
    x: np.ndarray
    label: str = ""
    weights: np.ndarray | None = None
    truth: Truth | None = None
    colour: str | None = None

    @classmethod
    def of(
        cls,
        result: Any,
        *,
        label: str | None = None,
        names: str | Iterable[str] | None = None,
        n: int = 100_000,
        seed: int = 0,
        weighted: bool = False,
        truth: Truth | None = None,
        colour: str | None = None,
    ) -> "Layer":
        """Draws of a result; arguments as for `posterion.core.result.Result.summary`."""
        drawn = result.draw(n, seed=seed, weighted=weighted)
        return cls.of_draws(
            drawn.draws,
            result.parameters,
            label=str(result.name) if label is None else label,
            weights=drawn.weights,
            names=names,
            truth=truth,
            colour=colour,
        )

    @classmethod
    def of_draws(
        cls,
        draws: Mapping[str, Any],
        parameters: Iterable[Any],
        *,
        label: str = "",
        weights: Any = None,
        names: str | Iterable[str] | None = None,
        truth: Truth | None = None,
        colour: str | None = None,
    ) -> "Layer":
        """Draws by parameter name, such as a chain's.

        Args:
            draws: name to ``(n, *shape)``; rows that are not finite are left out.
            parameters: what the names mean.
            label: in the legend.
            weights: ``(n,)``, in any normalisation.
            names: of parameters or elements to keep; all by default.
            truth: exact densities.
            colour: of the layer.

        Raises:
            ThetaError: an unknown or missing name.
            ShapeError: shapes do not fit, or no row is finite.
        """
        parameters = tuple(parameters)
        indices = pick(parameters, names)
        every = columns_of(parameters)
        x = column_matrix(parameters, draws, indices)
        share = normalised_weights(weights, len(x))
        finite = np.isfinite(x).all(axis=1)
        if not finite.all():
            if not finite.any():
                raise ShapeError("none of the draws is finite in every column")
            share = normalised_weights(None if share is None else share[finite], int(finite.sum()))
            x = x[finite]
        return cls(tuple(every[i] for i in indices), x, label, share, truth, colour)

    @property
    def effective(self) -> float:
        """What the draws are worth."""
        return effective_size(self.weights, len(self.x))

    def column(self, name: str) -> np.ndarray:
        """The draws of one column, ``(n,)``.

        Raises:
            ThetaError: there is none of that name.
        """
        return self.x[:, self.place(name)]

    def place(self, name: str) -> int:
        """The index of a column.

        Raises:
            ThetaError: there is none of that name.
        """
        names = [column.name for column in self.columns]
        if name not in names:
            raise ThetaError(f"the layer {self.label!r} has no {name!r}; it has {', '.join(names)}")
        return names.index(name)

    def density(self, names: Sequence[str], windows: Sequence[Window]) -> Density:
        """The smoothed density of one or two columns on a grid, for the eye."""
        x = np.stack([self.column(name) for name in names], axis=1)
        smoothing = _SMOOTHING if len(names) == 2 else 1.0
        return kernel_density(x, self.weights, windows, smoothing=smoothing)

    def levels(
        self, names: Sequence[str], density: Density, masses: Sequence[float | int]
    ) -> np.ndarray:
        """Densities above which lie the shares ``masses`` of these draws.

        Taken from the draws themselves: smoothing shifts the shape of a contour, not its content.
        """
        x = np.stack([self.column(name) for name in names], axis=1)
        return quantiles(density.at(x), [1 - mass for mass in masses], self.weights)


def common_columns(layers: Sequence[Layer], names: Iterable[str] | None) -> tuple[Column, ...]:
    """The columns that all layers have, or those named, in the order of the first layer.

    Raises:
        SettingError: there is no layer, or no common column.
        ThetaError: an unknown name.
    """
    if not layers:
        raise SettingError("a picture needs at least one layer of draws")
    first = layers[0]
    if names is not None:
        return tuple(first.columns[first.place(name)] for name in names)
    shared = [{column.name for column in layer.columns} for layer in layers[1:]]
    found = tuple(c for c in first.columns if all(c.name in known for known in shared))
    if not found:
        raise SettingError("the layers have no column in common")
    return found


def common_windows(layers: Sequence[Layer], columns: Sequence[Column]) -> dict[str, Window]:
    """What to show of each column, by its name: nearly all draws of every layer."""
    windows = {}
    for column in columns:
        x = np.concatenate([layer.column(column.name) for layer in layers])
        shares = [
            np.full(len(layer.x), 1 / len(layer.x)) if layer.weights is None else layer.weights
            for layer in layers
        ]
        windows[column.name] = window(x, np.concatenate(shares) / len(layers), column)
    return windows


def mass_levels(
    x: np.ndarray, y: np.ndarray, density: np.ndarray, masses: Sequence[float | int]
) -> Any:
    """Densities above which a grid with any spacing holds the shares ``masses`` of its total."""
    mass = density * np.gradient(x)[:, None] * np.gradient(y)[None, :]
    order = np.argsort(density, axis=None)[::-1]
    held = np.cumsum(mass.ravel()[order])
    return np.interp(masses, held / held[-1], density.ravel()[order])
