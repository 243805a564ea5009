"""Named arrays as flat columns: a vector parameter ``w`` becomes ``w[0]``, ``w[1]``, ..."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import ShapeError, TableError

__all__ = ["Layout", "gather", "guessed_shapes", "same_length"]

_ELEMENT = re.compile(r"(?P<name>.+)\[(?P<index>\d+(?:,\d+)*)\]")
_KINDS = "biuf"


@dataclass(frozen=True)
class Layout:
    """The names, shapes (of one row) and dtypes that every chunk of a table has."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype[Any]]

    @classmethod
    def of(cls, chunk: Mapping[str, Any]) -> "Layout":
        """Take the layout of a first chunk.

        Raises:
            ShapeError: no columns, a column of something else than numbers or without rows' axis,
                or two columns that would have one name in a flat table.
        """
        arrays = {name: np.asarray(values) for name, values in chunk.items()}
        if not arrays:
            raise ShapeError("a table needs at least one column; there is none")
        for name, array in arrays.items():
            if array.dtype.kind not in _KINDS or array.ndim == 0 or 0 in array.shape[1:]:
                raise ShapeError(
                    f"the column {name!r} has dtype {array.dtype} and shape {array.shape}; give "
                    "numbers of shape (rows, ...)"
                )
        layout = cls(
            {name: array.shape[1:] for name, array in arrays.items()},
            {name: array.dtype for name, array in arrays.items()},
        )
        flat = [element for name in arrays for element, _ in layout.elements(name)]
        twice = (
            {name for name in flat if flat.count(name) > 1} if len(set(flat)) < len(flat) else ()
        )
        if twice:
            raise ShapeError(f"two columns would be named {', '.join(sorted(twice))}; rename one")
        return layout

    def arrays(self, chunk: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The chunk's arrays, checked to have this layout and one length.

        Raises:
            ShapeError: other names, shapes or dtypes, or columns of different lengths.
        """
        if chunk.keys() != self.shapes.keys():
            raise ShapeError(
                f"a chunk has the columns {', '.join(chunk)}, the first one had "
                f"{', '.join(self.shapes)}"
            )
        arrays = {name: np.asarray(chunk[name]) for name in self.shapes}
        for name, array in arrays.items():
            if array.shape[1:] != self.shapes[name] or array.dtype != self.dtypes[name]:
                raise ShapeError(
                    f"a chunk's column {name!r} has dtype {array.dtype} and shape {array.shape}, "
                    f"the first one had {self.dtypes[name]} and (rows, "
                    f"{', '.join(map(str, self.shapes[name]))})"
                )
        same_length(arrays, ShapeError)
        return arrays

    def elements(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The flat names of one column, each with its index."""
        shape = self.shapes[name]
        for index in np.ndindex(shape):
            yield (f"{name}[{','.join(map(str, index))}]" if shape else name), index

    def flatten(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays as one-dimensional columns, in order."""
        return {
            element: np.ascontiguousarray(arrays[name][(slice(None), *index)])
            for name in self.shapes
            for element, index in self.elements(name)
        }


def gather(
    columns: Mapping[str, np.ndarray], shapes: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Undo `Layout.flatten`.

    Args:
        columns: one-dimensional, by flat name.
        shapes: the shape of each original column where it is known. Without it, a complete set
            ``w[0] ... w[k]`` becomes ``w``. Everything else stays as it is.

    Raises:
        TableError: a column that ``shapes`` calls for is missing.

    >>> list(gather({"x": np.zeros(3), "w[0]": np.ones(3), "w[1]": np.ones(3)}))
    ['x', 'w']
    """
    if shapes is None:
        shapes = guessed_shapes(columns)
    layout = Layout({k: tuple(v) for k, v in shapes.items()}, {})
    gathered, rest = {}, dict(columns)
    for name, shape in layout.shapes.items():
        try:
            parts = [rest.pop(element) for element, _ in layout.elements(name)]
        except KeyError as error:
            raise TableError(f"the column {error} is missing") from error
        gathered[name] = np.stack(parts, axis=-1).reshape(-1, *shape) if shape else parts[0]
    return gathered | rest


def guessed_shapes(columns: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of the columns that flat names mean: a complete set ``w[0] ... w[k]`` is ``w``."""
    indices: dict[str, list[tuple[int, ...]]] = {}
    for column in columns:
        match = _ELEMENT.fullmatch(column)
        if match:
            index = tuple(map(int, match["index"].split(",")))
            indices.setdefault(match["name"], []).append(index)
    whole = {
        name: tuple(np.max(found, axis=0) + 1)
        for name, found in indices.items()
        if name not in columns and len({len(index) for index in found}) == 1
    }
    whole = {
        name: tuple(map(int, shape))
        for name, shape in whole.items()
        if sorted(indices[name]) == list(np.ndindex(shape))
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for column in columns:
        match = _ELEMENT.fullmatch(column)
        if match and match["name"] in whole:
            shapes[match["name"]] = whole[match["name"]]
        else:
            shapes[column] = ()
    return shapes


def same_length(
    arrays: Mapping[str, np.ndarray], error: type[ShapeError] | type[TableError]
) -> None:
    """Make sure that all columns have one number of rows.

    Raises:
        ShapeError | TableError: they do not; ``error`` says which of the two.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise error(f"the columns have different numbers of rows: {listed}")
