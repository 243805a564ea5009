"""Columns: the coordinates of named parameters, each with its unit, label, bounds and period."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import ShapeError, ThetaError

__all__ = ["Column", "column_matrix", "columns_of", "pick"]


@dataclass(frozen=True)
class Column:
    """One coordinate of a parameter, or one derived number.

    Args:
        name: ``m``, or ``w[3]`` for an element of a vector.
        unit: empty where there is none.
        label: LaTeX with its dollars; None for the name.
        lower, upper: bounds in the unit, None where there is none.
        periodic: the bounds are one point.
    """

    name: str
    unit: str = ""
    label: str | None = None
    lower: float | int | None = None
    upper: float | int | None = None
    periodic: bool = False

    @property
    def period(self) -> float | None:
        """The length of the circle; None on the line."""
        if not self.periodic or self.lower is None or self.upper is None:
            return None
        return float(self.upper) - float(self.lower)

    @property
    def heading(self) -> str:
        """The name with the unit in brackets."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def columns_of(parameters: Iterable[Any]) -> tuple[Column, ...]:
    """The coordinates of parameters (see `posterion.Parameter`), in the order of a flat vector.

    A bound is the narrower one of the parameter's own and its prior's.
    """
    columns = []
    for parameter in parameters:
        lower, upper = _bounds(parameter)
        for k, name in enumerate(parameter.columns):
            index = name.removeprefix(parameter.name)
            label = None if parameter.label is None else parameter.label + index
            columns.append(
                Column(name, parameter.unit, label, lower[k], upper[k], bool(parameter.periodic))
            )
    return tuple(columns)


def column_matrix(
    parameters: Iterable[Any], draws: Mapping[str, Any], indices: Sequence[int] | None = None
) -> np.ndarray:
    """Draws by parameter name as float64 ``(n, d)``.

    Args:
        parameters: each with ``name``, ``shape`` and ``columns``.
        draws: name to ``(n, *shape)``.
        indices: of the columns wanted; all by default.

    Raises:
        ThetaError: a parameter has no draws.
        ShapeError: draws of another shape, or of different numbers.
    """
    blocks: list[np.ndarray] = []
    for parameter in parameters:
        if parameter.name not in draws:
            raise ThetaError(f"there are no draws of {parameter.name!r}; given: {', '.join(draws)}")
        array = np.asarray(draws[parameter.name], dtype=np.float64)
        if array.ndim == 0 or array.shape[1:] != tuple(parameter.shape):
            expected = ", ".join(["n", *map(str, parameter.shape)])
            raise ShapeError(
                f"the draws of {parameter.name!r} have the shape {array.shape}; expected "
                f"({expected})"
            )
        blocks.append(array.reshape(len(array), -1))
    if len({len(block) for block in blocks}) != 1 or len(blocks[0]) == 0:
        rows = ", ".join(str(len(block)) for block in blocks)
        raise ShapeError(f"the draws have {rows} rows; each parameter needs the same, at least 1")
    places = [(block, j) for block in blocks for j in range(block.shape[1])]
    wanted = range(len(places)) if indices is None else indices
    out = np.empty((len(blocks[0]), len(wanted)))
    for k, index in enumerate(wanted):
        block, j = places[index]
        out[:, k] = block[:, j]
    return out


def pick(parameters: Iterable[Any], names: str | Iterable[str] | None) -> tuple[int, ...]:
    """Indices of the columns that ``names`` mean: a parameter's all, or one element ``w[3]``.

    Raises:
        ThetaError: an unknown name, or a column named twice.
    """
    places: dict[str, list[int]] = {}
    count = 0
    for parameter in parameters:
        for name in parameter.columns:
            places[name] = [count]
            count += 1
        places[parameter.name] = list(range(count - len(parameter.columns), count))
    if names is None:
        return tuple(range(count))
    indices: list[int] = []
    for name in [names] if isinstance(names, str) else names:
        if name not in places:
            raise ThetaError(f"there is no parameter {name!r}; known: {', '.join(places)}")
        indices += places[name]
    if len(set(indices)) != len(indices) or not indices:
        raise ThetaError(f"name at least one column, and each once; got {names!r}")
    return tuple(indices)


def _bounds(parameter: Any) -> tuple[list[float | None], list[float | None]]:
    """Lower and upper bounds, one a coordinate."""
    support = getattr(parameter.prior, "support", None)
    ends = []
    for own, side, narrower in (
        (parameter.lower, "lower_bound", np.fmax),
        (parameter.upper, "upper_bound", np.fmin),
    ):
        bound = None if parameter.periodic else getattr(support, side, None)
        both = narrower(_number(own), _number(bound))
        both = np.broadcast_to(both, tuple(parameter.shape)).reshape(-1)
        ends.append([float(end) if np.isfinite(end) else None for end in both])
    return ends[0], ends[1]


def _number(bound: Any) -> np.ndarray:
    return np.asarray(np.nan if bound is None else bound, np.float64)
