"""Tables larger than memory: rows of numbers, a chunk at a time, in random order if wanted."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError, TableError
from posterion.io.readers import reading, suffix_of
from posterion.io.shuffling import Sieve, interleave, mix, rebatch
from posterion.io.sources import Arrays, ReadPart, Source
from posterion.io.sources_arrays import Hdf5Source, NpzSource, RootSource
from posterion.io.sources_arrow import CsvSource, ParquetSource

__all__ = ["Rows", "open_rows"]

PathLike = str | os.PathLike[str]

_SOURCES: dict[str, Callable[[Path], Source]] = {
    ".parquet": ParquetSource,
    ".csv": CsvSource,
    ".npz": NpzSource,
    ".h5": Hdf5Source,
    ".hdf5": Hdf5Source,
    ".root": RootSource,
}
_OPEN_FILES = 32
_PIECES = 64  # in a buffer
_WAYS = 2, 8  # at least and at most so many blocks are read side by side
_COUNTED = 1 << 20  # row numbers hashed at once


@dataclass(frozen=True, eq=False)
class _Part:
    """One file's share: its source, where its rows begin among all, and where each column is."""

    source: Source
    first: int
    rows: int
    places: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def stored(self) -> list[str]:
        """The names of the stored columns, each once."""
        return list(dict.fromkeys(name for name, _ in self.places))


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of numbers that are read when they are asked for; made by `open_rows`.

    Attributes:
        names: of the columns; a vector ``w`` has the columns ``w[0]``, ``w[1]``, ...
        dtype: of the chunks.
        count: the number of rows.
    """

    names: tuple[str, ...]
    dtype: np.dtype[Any]
    count: int
    _parts: tuple[_Part, ...] = field(repr=False)
    _sieves: tuple[Sieve, ...] = field(default=(), repr=False)

    @property
    def nbytes(self) -> int:
        """The bytes that all rows together would take."""
        return self.count * self._row_bytes

    def chunks(
        self,
        rows: int = 65536,
        *,
        seed: int | None = None,
        epoch: int = 0,
        buffer_bytes: int = 256_000_000,
    ) -> Iterator[np.ndarray]:
        """Every row once, in arrays of shape (rows, columns); the last one may have fewer.

        With a ``seed``, the blocks of all files (about 1/64 of the buffer each, or row groups) are
        visited in random order, 2 to 8 of them read at a time, into a buffer; once it is full, its
        rows leave it in random order, and it is filled again. A table that fits into the buffer is
        thus shuffled as a whole. A Parquet row group can only be read from its beginning: an
        ordered table mixes badly unless its row groups are much smaller than the buffer.

        Args:
            rows: of a chunk.
            seed: an integer for a random order, which the seed, the epoch and the buffer's size
                determine; the order of the table without it.
            epoch: each has another order.
            buffer_bytes: of memory, for the buffer and what is read into it. On top come the chunks
                and, for Parquet, at least two row groups being read, of up to 3 MB for each column
                however large they are; for ROOT, eight ranges as long as the longest basket.

        Raises:
            SettingError: a number that is negative, or none of a row or a byte.
            TableError: a file is damaged, or was changed since it was opened; the message names it
                and the row.
        """
        for name, value, least in [
            ("rows", rows, 1),
            ("seed", seed or 0, 0),
            ("epoch", epoch, 0),
            ("buffer_bytes", buffer_bytes, 1),
        ]:
            if value < least:
                raise SettingError(f"{name} is {value}; it is at least {least}")
        return self._chunks(rows, seed, epoch, buffer_bytes)

    def split(self, fraction: float, seed: int) -> tuple["Rows", "Rows"]:
        """Part the rows into two tables, of about 1 - ``fraction`` and ``fraction`` of them.

        The seed and a row's number decide where it belongs, whatever the order or the epoch, and
        also when files are added to the end of the list. Rows are chosen singly, not by blocks:
        those of a file are often ordered, or come from a chain, and a block would then be no fair
        sample. The price is that each of the two reads through the whole file.

        Args:
            fraction: of the second table (for validation), between 0 and 1.
            seed: another one gives another choice.

        Returns:
            The rows to train on and the rows to validate on.

        Raises:
            SettingError: no fraction, a negative seed, or no row left in one of the two.
        """
        if not 0 < fraction < 1:
            raise SettingError(f"the fraction is {fraction}; it is between 0 and 1")
        if seed < 0:
            raise SettingError(f"seed is {seed}; it is at least 0")
        entropy = np.random.SeedSequence([seed, len(self._sieves)])
        key = int(entropy.generate_state(1, np.uint64)[0])
        chosen = Sieve(key, int(fraction * 2**64))
        second = replace(self, _sieves=(*self._sieves, chosen))
        total = sum(part.rows for part in self._parts)
        count = sum(
            int(second._kept(start, min(start + _COUNTED, total)).sum())
            for start in range(0, total, _COUNTED)
        )
        if count in (0, self.count):
            raise SettingError(
                f"a fraction of {fraction} of {self.count} rows leaves one side without any: "
                "choose another fraction, or a table with more rows"
            )
        first = replace(
            self, count=self.count - count, _sieves=(*self._sieves, replace(chosen, inverted=True))
        )
        return first, replace(second, count=count)

    @property
    def _row_bytes(self) -> int:
        return len(self.names) * self.dtype.itemsize

    def _chunks(
        self, rows: int, seed: int | None, epoch: int, buffer_bytes: int
    ) -> Iterator[np.ndarray]:
        # 3/4 for the rows in the buffer and their order, the rest for what is being read.
        most = max(3 * buffer_bytes // (4 * (self._row_bytes + 8)), 1)
        size = max(most // _PIECES, 1)
        with _Files() as files:
            streams = [
                (stop - start, partial(self._pieces, files, part, start, stop, size))
                for part in self._parts
                for start, stop in part.source.blocks(size)
            ]
            if seed is None:
                pieces = (piece for _, stream in streams for piece in stream())
            else:
                generator = np.random.default_rng([seed, epoch])
                each = max(part.source.reading_bytes(part.stored) for part in self._parts)
                ways = min(max(buffer_bytes // (4 * max(each, 1)), _WAYS[0]), _WAYS[1])
                fillings = ceil(self.count / most)
                capacity = ceil(self.count / fillings)  # so that the last one is no smaller
                pieces = mix(interleave(streams, ways, generator), capacity, rows, generator)
            yield from rebatch(pieces, rows)

    def _pieces(
        self, files: "_Files", part: _Part, start: int, stop: int, size: int
    ) -> Iterator[np.ndarray]:
        label, row = part.source.label, start
        with ExitStack() as stack:
            with reading(label, row):
                part.source.check_unchanged()
                read = stack.enter_context(files.borrow(part.source))
            arrays = read(part.stored, start, stop, size)
            while row < stop:
                with reading(label, row):
                    part.source.check_unchanged()
                    piece = self._table(part, next(arrays, {}))
                    if not len(piece):
                        raise TableError("the file ends there")
                kept = self._kept(part.first + row, part.first + row + len(piece))
                row += len(piece)
                if row == stop:  # what waits for its turn in random order holds no file
                    del arrays
                    stack.close()
                yield piece if kept.all() else piece[kept]

    def _table(self, part: _Part, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = min((len(array) for array in arrays.values()), default=0)
        table = np.empty((rows, len(self.names)), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for column, (name, index) in enumerate(part.places if rows else ()):
                table[:, column] = arrays[name][(slice(None), *index)]
        return table

    def _kept(self, start: int, stop: int) -> np.ndarray:
        kept = np.ones(stop - start, bool)
        for sieve in self._sieves:
            kept &= sieve.keeps(start, stop)
        return kept


def open_rows(
    source: PathLike | Sequence[PathLike] | Mapping[str, Any],
    columns: Sequence[str] | None = None,
    *,
    dtype: Any = np.float32,
) -> Rows:
    """Open a table to read it in chunks, whatever its size.

    Only the columns that are asked for are read. Parquet: by row groups. HDF5: by slices of the
    data sets, along the chunks of the file. ROOT: by ranges no shorter than a basket or cluster.
    CSV: by blocks of 1 MB of lines; opening reads the file once to count them. NPZ: members that
    are not compressed are mapped to memory; compressed ones (`numpy.savez_compressed`) are read
    whole and kept.

    Args:
        source: a ``.parquet``, ``.h5``, ``.root`` (or ``FILE.root:TREE``; needs the extra ``hep``),
            ``.npz`` or ``.csv`` file, a list of such files with the same columns, one after the
            other, or arrays of shape (rows, ...) by name.
        columns: names in the order wanted; ``w`` for all elements of the vector ``w``, ``w[2]`` for
            one. All columns without it, in the order of `read_table`.
        dtype: ``float32`` or ``float64``. What is too large for it becomes infinite; empty cells
            of Parquet and CSV are NaN, as in `read_table`.

    Raises:
        SettingError: an unknown suffix or dtype, no file or no column asked for, or a column twice.
        TableError: a file is missing, damaged or without rows; a column is missing, ragged or not
            of numbers; columns have different lengths; files have different columns.
        MissingExtraError: a ROOT file without uproot.

    >>> rows = open_rows({"x": np.arange(5.0), "w": np.zeros((5, 2))})
    >>> rows.names, rows.count, rows.nbytes
    (('x', 'w[0]', 'w[1]'), 5, 60)
    >>> [chunk.shape for chunk in rows.chunks(2, seed=1)]
    [(2, 3), (2, 3), (1, 3)]
    """
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise SettingError(f"the dtype is {kind}; choose float32 or float64")
    if isinstance(source, Mapping):
        sources: list[Source] = [Arrays(source)]
    else:
        paths = [source] if isinstance(source, str | os.PathLike) else list(source)
        sources = [_open(path) for path in paths]
    if not sources:
        raise SettingError("the list of files is empty; name at least one")
    wanted = [columns] if isinstance(columns, str) else columns
    parts: list[_Part] = []
    names: tuple[str, ...] = ()
    count = 0
    for opened in sources:
        with reading(opened.label):
            mine = _selected(opened, wanted)
            if parts and set(mine) != set(names):
                raise TableError(
                    f"its columns differ from those of {sources[0].label} by "
                    f"{', '.join(sorted(set(mine) ^ set(names)))}; choose columns that all have"
                )
            names = names or tuple(mine)
            rows = _rows_of(opened, mine)
            parts.append(_Part(opened, count, rows, tuple(mine[name] for name in names)))
            count += rows
    return Rows(names, kind, count, tuple(parts))


def _open(path: PathLike) -> Source:
    suffix = suffix_of(path, _SOURCES, "read")
    with reading(path):
        return _SOURCES[suffix](Path(path).expanduser())


def _selected(source: Source, wanted: Sequence[str] | None) -> dict[str, tuple[str, Any]]:
    """The places of the wanted columns, by flat name."""
    places = source.places()
    if wanted is None:
        names = list(places)
    else:
        elements = source.elements()
        missing = [name for name in wanted if name not in places and name not in elements]
        if missing:
            raise TableError(
                f"there is no column {', '.join(missing)}; the columns are "
                f"{', '.join(source.shapes)}"
            )
        names = [
            element for name in wanted for element in ([name] if name in places else elements[name])
        ]
        if not names or len(set(names)) < len(names):
            raise SettingError(f"columns is {list(wanted)}: name at least one, and none twice")
    for name in names:
        refusal = source.columns[places[name][0]].refusal
        if refusal:
            raise TableError(f"the column {name!r} {refusal}; choose others by columns=[...]")
    return {name: places[name] for name in names}


def _rows_of(source: Source, places: Mapping[str, tuple[str, Any]]) -> int:
    rows = {name: source.columns[name].rows for name, _ in places.values()}
    if not any(rows.values()):
        raise TableError("it has no rows")
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in rows.items())
        raise TableError(f"the columns have different numbers of rows: {listed}")
    return next(iter(rows.values()))


class _Files:
    """Open files: those in use, and the last `_OPEN_FILES` that were."""

    def __init__(self):
        self._open: dict[Source, tuple[ExitStack, ReadPart]] = {}
        self._users: Counter[Source] = Counter()

    @contextmanager
    def borrow(self, source: Source) -> Iterator[ReadPart]:
        if source in self._open:
            self._open[source] = self._open.pop(source)  # the last one used
        else:
            stack = ExitStack()
            self._open[source] = stack, stack.enter_context(source.open())
        self._users[source] += 1
        try:
            yield self._open[source][1]
        finally:
            self._users[source] -= 1
            idle = [other for other in self._open if not self._users[other]]
            for other in idle[: max(len(self._open) - _OPEN_FILES, 0)]:
                self._open.pop(other)[0].close()

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._open.values():
            opened[0].close()
        self._open.clear()
