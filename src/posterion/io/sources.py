"""What a table is to those who read it in parts: its columns, and blocks to enter it at."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import TableError
from posterion.io.columns import Layout
from posterion.io.readers import unique

__all__ = ["RAGGED", "Arrays", "Block", "Column", "ReadPart", "Source", "stretches"]

RAGGED = "is ragged: its rows are lists"

Block = tuple[int, int]
ReadPart = Callable[[Sequence[str], int, int, int], Iterator[Mapping[str, np.ndarray]]]
"""``read(names, start, stop, rows)``: a block's rows in order, by about ``rows``."""


@dataclass(frozen=True)
class Column:
    """One column as it is stored: the shape of a row, the rows, and why it cannot be read."""

    shape: tuple[int, ...]
    rows: int
    refusal: str = ""

    @classmethod
    def of(cls, dtype: np.dtype[Any], shape: tuple[int, ...]) -> "Column":
        """A column of an array; one of rows of numbers is not refused."""
        if not shape:
            return cls((), 0, "is one value without rows")
        if dtype.kind not in "biuf":
            return cls((), shape[0], f"has dtype {dtype}; only numbers are read")
        if 0 in shape[1:]:
            return cls((), shape[0], f"has the shape {shape}: no numbers in a row")
        return cls(shape[1:], shape[0])


class Source:
    """A table that can be entered at every block of its rows."""

    label: str
    path: Path | None = None
    columns: dict[str, Column]
    shapes: dict[str, tuple[int, ...]]
    """Of one row, by name, as `read_table` gives them: ``w`` for the stored ``w[0]``, ..."""

    def blocks(self, rows: int) -> list[Block]:
        """The ``(start, stop)`` of stretches, each read on its own, of ``rows`` if it can be so."""
        count = max((column.rows for column in self.columns.values()), default=0)
        return stretches(count, rows)

    def reading_bytes(self, names: Sequence[str]) -> int:
        """What a block of these columns holds in memory while it is read piece by piece."""
        return 0

    def open(self) -> AbstractContextManager[ReadPart]:
        """Open the file for reading; the context gives a `ReadPart` for its blocks."""
        raise NotImplementedError

    def places(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The flat names in the order of `read_table`: of each the stored column and the index."""
        stored = Layout({name: column.shape for name, column in self.columns.items()}, {})
        flat = [(place, name, at) for name in stored.shapes for place, at in stored.elements(name)]
        unique([place for place, _, _ in flat])
        where = {place: (name, at) for place, name, at in flat}
        return {place: where[place] for places in self.elements().values() for place in places}

    def elements(self) -> dict[str, list[str]]:
        """The flat names of each column of `read_table`."""
        whole = Layout(self.shapes, {})
        return {name: [place for place, _ in whole.elements(name)] for name in whole.shapes}

    def check_unchanged(self) -> None:
        """Make sure that the file has still the size that it was opened with.

        Raises:
            TableError: it has not, and may not be read on.
        """
        if self.path is not None and (size := os.stat(self.path).st_size) != self._size:
            raise TableError(
                f"it has {size} bytes, and had {self._size} when it was opened: it was changed or "
                "cut; open it anew once it is complete"
            )

    def _describe(
        self,
        label: str,
        path: Path | None,
        columns: dict[str, Column],
        shapes: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.label, self.path, self.columns = label, path, columns
        self.shapes = shapes or {name: column.shape for name, column in columns.items()}
        self._size = os.stat(path).st_size if path is not None else 0


class Arrays(Source):
    """Arrays in memory, by name."""

    def __init__(self, arrays: Mapping[str, Any]):
        self._arrays = {name: np.asarray(values) for name, values in arrays.items()}
        columns = {name: Column.of(a.dtype, a.shape) for name, a in self._arrays.items()}
        self._describe("the arrays", None, columns)

    def open(self) -> AbstractContextManager[ReadPart]:
        def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
            yield {name: self._arrays[name][start:stop] for name in names}

        return nullcontext(read)


def stretches(count: int, rows: int) -> list[Block]:
    """``count`` rows cut into stretches of ``rows``."""
    return [(start, min(start + rows, count)) for start in range(0, count, rows)]
