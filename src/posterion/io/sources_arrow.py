"""Parquet and CSV in parts, through Arrow: both hold flat columns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import TableError
from posterion.io.columns import gather
from posterion.io.readers import open_parquet, unique
from posterion.io.sources import RAGGED, Block, Column, ReadPart, Source

__all__ = ["CsvSource", "ParquetSource"]

_CSV_BYTES = 1 << 20
_PAGES = 3 << 20  # of a column: its dictionary, and a page of 1 MB before and after decompression


class ParquetSource(Source):
    """A block is a row group; one that is large is read from its beginning, batch by batch."""

    def __init__(self, path: Path):
        with open_parquet(path) as (file, metadata):
            count, groups = file.metadata.num_rows, file.metadata.num_row_groups
            sizes = [file.metadata.row_group(group).num_rows for group in range(groups)]
            first = file.metadata.row_group(0) if groups else None
            self._bytes = first.total_byte_size // max(first.num_columns, 1) if first else 0
            columns = {field.name: _arrow_column(field.type, count) for field in file.schema_arrow}
        self._edges = list(accumulate(sizes, initial=0))
        self._describe(str(path), path, columns, _whole(columns, metadata.get("shapes")))

    def blocks(self, rows: int) -> list[Block]:
        return _filled(self._edges)

    def reading_bytes(self, names: Sequence[str]) -> int:
        return len(names) * min(self._bytes, _PAGES)

    @contextmanager
    def open(self) -> Iterator[ReadPart]:
        group_of = {start: group for group, start in enumerate(self._edges)}
        with open_parquet(self.path or Path()) as (file, _):

            def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
                group = group_of[start]
                for batch in file.iter_batches(rows, row_groups=[group], columns=list(names)):
                    yield {name: _numbers(batch.column(name)) for name in names}

            yield read


class CsvSource(Source):
    """A block is a megabyte of lines; they are found, and their rows counted, at the opening."""

    def __init__(self, path: Path):
        self._spans: list[tuple[int, int]] = []
        edges, table = [0], None
        with open(path, "rb") as file:
            for offset, text in _lines(file):
                if table is None:
                    table = _parse(text)
                    names, rows = table.column_names, table.num_rows
                else:
                    rows = _parse(text, names, names[:1]).num_rows if text.strip() else 0
                self._spans.append((offset, len(text)))
                edges.append(edges[-1] + rows)
        if table is None:
            raise TableError("it is empty")
        unique(table.column_names)
        columns = {field.name: _arrow_column(field.type, edges[-1]) for field in table.schema}
        self._edges, self._names = edges, table.column_names
        self._flags = [f.name for f in table.schema if str(f.type) == "bool"]
        self._describe(str(path), path, columns, _whole(columns, None))

    def blocks(self, rows: int) -> list[Block]:
        return _filled(self._edges)

    @contextmanager
    def open(self) -> Iterator[ReadPart]:
        import pyarrow as pa

        # An empty block has the start of the next one, which comes later and stays.
        span_of = dict(zip(self._edges, self._spans, strict=False))
        with open(self.path or Path(), "rb") as file:

            def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
                offset, length = span_of[start]
                file.seek(offset)
                types = {n: pa.bool_() if n in self._flags else pa.float64() for n in names}
                header = None if offset == 0 else self._names
                table = _parse(file.read(length), header, names, types)
                yield {name: _numbers(table.column(name)) for name in names}

            yield read


def _filled(edges: Sequence[int]) -> list[Block]:
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def _whole(columns: Mapping[str, Column], noted: Any) -> dict[str, tuple[int, ...]]:
    gathered = gather({name: np.empty(0) for name in columns}, noted)
    return {name: array.shape[1:] for name, array in gathered.items()}


def _arrow_column(kind: Any, rows: int) -> Column:
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return Column((), rows, RAGGED)
    numeric = pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null
    if not any(is_kind(kind) for is_kind in numeric):
        return Column((), rows, f"has the type {kind}; only numbers are read")
    return Column((), rows)


def _numbers(column: Any) -> np.ndarray:
    import pyarrow as pa

    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        column = column.cast(pa.float64())  # true and false with empty cells would be objects
    return column.to_numpy(zero_copy_only=False)


def _lines(file: Any) -> Iterator[tuple[int, bytes]]:
    # Blocks of whole lines, each with its offset.
    offset, rest = 0, b""
    while text := file.read(_CSV_BYTES):
        text = rest + text
        end = text.rfind(b"\n") + 1
        if end:
            yield offset, text[:end]
        offset, rest = offset + end, text[end:]
    if rest:
        yield offset, rest


def _parse(
    text: bytes,
    header: Sequence[str] | None = None,
    names: Sequence[str] = (),
    types: Mapping[str, Any] | None = None,
) -> Any:
    import pyarrow as pa
    import pyarrow.csv as csv

    return csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(column_names=header, block_size=len(text) + 1),
        convert_options=csv.ConvertOptions(include_columns=list(names), column_types=types),
    )
