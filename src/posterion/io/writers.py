"""One writer a format: each takes chunks of rows, and all but ``.npz`` forget them at once."""

import io
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core import portable
from posterion.io.columns import Layout

__all__ = ["KEY", "WRITERS", "Writer"]

KEY = "posterion"
"""Under which name the formats keep units, shapes and notes, as JSON."""

_HDF5_ROWS = 1 << 14


class Writer:
    """Takes the chunks of one table, one after the other; a context that finishes the file."""

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Append rows: arrays of one length, checked by the table's layout."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file."""
        raise NotImplementedError

    def discard(self) -> None:
        """Let go of a file that will be removed."""
        with suppress(Exception):
            self.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class _Arrow(Writer):
    def __init__(self, path: Path, layout: Layout, metadata: Mapping[str, Any]):
        import pyarrow as pa

        units = metadata["units"]
        fields = [
            pa.field(
                element,
                pa.from_numpy_dtype(layout.dtypes[name].newbyteorder("=")),
                metadata={"unit": units[name]} if name in units else None,
            )
            for name in layout.shapes
            for element, _ in layout.elements(name)
        ]
        self._layout = layout
        self._schema = pa.schema(fields, metadata={KEY: portable.dumps(metadata)})
        self._file = self._open(path, self._schema)

    def _open(self, path: Path, schema: Any) -> Any:
        raise NotImplementedError

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa

        columns = [_native(column) for column in self._layout.flatten(arrays).values()]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._file.close()


class _Parquet(_Arrow):
    def _open(self, path: Path, schema: Any) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, schema, use_dictionary=False)  # no draw repeats


class _Csv(_Arrow):
    def _open(self, path: Path, schema: Any) -> Any:
        import pyarrow.csv as csv

        return csv.CSVWriter(str(path), schema)


class _Sink(io.FileIO):
    """A file that keeps its first failure for `check`: HDF5 cannot be stopped while it closes."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = self.failure or error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


class _Hdf5(Writer):
    def __init__(self, path: Path, layout: Layout, metadata: Mapping[str, Any]):
        import h5py

        self._sink = _Sink(path, "w+")
        self._file = h5py.File(self._sink, "w", track_order=True)
        self._file.attrs[KEY] = portable.dumps(metadata)
        for name, shape in layout.shapes.items():
            dataset = self._file.create_dataset(
                name,
                shape=(0, *shape),
                maxshape=(None, *shape),
                chunks=(_HDF5_ROWS, *shape),
                dtype=layout.dtypes[name],
            )
            if name in metadata["units"]:
                dataset.attrs["unit"] = metadata["units"][name]

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            dataset: Any = self._file[name]
            rows = len(dataset)
            dataset.resize(rows + len(array), axis=0)
            dataset[rows:] = array
            self._sink.check()

    def close(self) -> None:
        self._file.close()
        self._sink.close()
        self._sink.check()


class _Npz(Writer):
    def __init__(self, path: Path, layout: Layout, metadata: Mapping[str, Any]):
        self._path = path
        self._metadata = metadata
        self._chunks: list[Mapping[str, np.ndarray]] = []

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._chunks.append(arrays)

    def close(self) -> None:
        # not numpy.savez, which takes no column named "file"
        with zipfile.ZipFile(self._path, "w") as file:
            for name in self._chunks[0]:
                array = np.concatenate([chunk[name] for chunk in self._chunks])
                self._add(file, name, array)
            self._add(file, f"__{KEY}__", np.array(portable.dumps(self._metadata)))

    def discard(self) -> None:
        self._chunks.clear()

    def _add(self, file: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
        with file.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)


WRITERS: dict[str, Callable[[Path, Layout, Mapping[str, Any]], Writer]] = {
    ".parquet": _Parquet,
    ".csv": _Csv,
    ".npz": _Npz,
    ".h5": _Hdf5,
    ".hdf5": _Hdf5,
}


def _native(column: np.ndarray) -> np.ndarray:
    return column.astype(column.dtype.newbyteorder("="), copy=False)
