"""NPZ, HDF5 and ROOT in parts: all three hold arrays of any shape."""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import TableError
from posterion.io.readers import NOTES, open_hdf5, open_npz, open_root, root_parts
from posterion.io.sources import RAGGED, Block, Column, ReadPart, Source

__all__ = ["Hdf5Source", "NpzSource", "RootSource"]


class NpzSource(Source):
    """Members that are not compressed are mapped to memory; others are kept once they are read."""

    def __init__(self, path: Path):
        self._mapped: dict[str, dict[str, Any]] = {}
        self._kept: dict[str, np.ndarray] = {}
        columns = {}
        with open_npz(path) as (archive, _), open(path, "rb") as raw:
            for info in archive.zip.infolist():
                name = info.filename.removesuffix(".npy")
                if name == NOTES:
                    continue
                with archive.zip.open(info) as member:
                    shape, fortran, dtype = _npy_header(member)
                    header = member.tell()
                columns[name] = Column.of(dtype, shape)
                if info.compress_type == zipfile.ZIP_STORED:
                    self._mapped[name] = {
                        "dtype": dtype,
                        "shape": shape,
                        "order": "F" if fortran else "C",
                        "offset": _member_offset(raw, info) + header,
                    }
        self._describe(str(path), path, columns)

    def open(self) -> AbstractContextManager[ReadPart]:
        def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
            yield {name: self._array(name)[start:stop] for name in names}

        return nullcontext(read)

    def _array(self, name: str) -> np.ndarray:
        path = self.path or Path()
        if name in self._mapped:  # mapped anew each time, so that no page is held for long
            return np.memmap(path, mode="r", **self._mapped[name])
        if name not in self._kept:
            with open_npz(path) as (archive, _):
                self._kept[name] = archive[name]
        return self._kept[name]


class Hdf5Source(Source):
    """A block is a slice of every data set."""

    def __init__(self, path: Path):
        with open_hdf5(path) as (datasets, _):
            columns = {name: _hdf5_column(dataset) for name, dataset in datasets.items()}
            self._step = max((d.chunks[0] for d in datasets.values() if d.chunks), default=1)
        self._describe(str(path), path, columns)

    def blocks(self, rows: int) -> list[Block]:
        # Whole chunks of the file, unless they are so large that memory matters more than time.
        step = self._step if self._step <= 4 * rows else 1
        return super().blocks(max(rows // step, 1) * step)

    @contextmanager
    def open(self) -> Iterator[ReadPart]:
        with open_hdf5(self.path or Path()) as (datasets, _):

            def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
                yield {name: datasets[name][start:stop] for name in names}

            yield read


class RootSource(Source):
    """A block is a range of entries of a tree."""

    def __init__(self, path: Path):
        self._tree = path
        with open_root(path) as tree:
            first = tree.arrays(entry_stop=1)
            columns = {
                name: _root_column(first[name].type.content, tree.num_entries)
                for name in first.fields
            }
            self._step = max(map(_root_step, [tree[name] for name in columns]), default=0)
            clusters = getattr(tree, "cluster_summaries", ())
            self._step = max([self._step, 1, *(cluster.num_entries for cluster in clusters)])
        self._describe(str(path), root_parts(path)[0], columns)

    def blocks(self, rows: int) -> list[Block]:
        # A basket is decompressed as a whole whatever is read of it: no less than one at a time.
        return super().blocks(max(rows // self._step, 1) * self._step)

    @contextmanager
    def open(self) -> Iterator[ReadPart]:
        with open_root(self._tree) as tree:

            def read(names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Any]:
                yield tree.arrays(
                    filter_name=lambda name: name in names,
                    entry_start=start,
                    entry_stop=stop,
                    library="np",
                )

            yield read


def _npy_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(member)
    raise TableError(f"{member.name} has the version {version} of .npy, which is for records")


def _member_offset(raw: Any, info: zipfile.ZipInfo) -> int:
    # The local header's name and extra field may be longer than the central one's (PKZIP 4.3.7).
    raw.seek(info.header_offset)
    name, extra = struct.unpack("<26x2H", raw.read(30))
    return info.header_offset + 30 + name + extra


def _hdf5_column(dataset: Any) -> Column:
    import h5py

    if isinstance(h5py.check_vlen_dtype(dataset.dtype), np.dtype):  # str for text
        return Column((), len(dataset), RAGGED)
    return Column.of(dataset.dtype, dataset.shape or ())


def _root_step(branch: Any) -> int:
    offsets = getattr(branch, "entry_offsets", None)  # an RNTuple has clusters instead
    return int(np.diff(offsets).max(initial=0)) if offsets else 0


def _root_column(kind: Any, rows: int) -> Column:
    from awkward.types import (  # pyright: ignore[reportMissingImports]
        ListType,
        NumpyType,
        RegularType,
    )

    shape = []
    while isinstance(kind, RegularType):
        shape.append(kind.size)
        kind = kind.content
    if isinstance(kind, NumpyType):
        return Column.of(np.dtype(kind.primitive), (rows, *shape))
    if isinstance(kind, ListType) and "__array__" not in kind.parameters:
        return Column((), rows, RAGGED)
    return Column((), rows, f"has the type {kind}; only numbers are read")
