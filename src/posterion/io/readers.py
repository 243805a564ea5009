"""Opening a table, one way a format, and reading it whole; `posterion.io.sources` reads parts."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core import portable
from posterion.core.errors import MissingExtraError, PosterionError, SettingError, TableError
from posterion.io.columns import gather
from posterion.io.writers import KEY

__all__ = [
    "NOTES",
    "READERS",
    "open_hdf5",
    "open_npz",
    "open_parquet",
    "open_root",
    "reading",
    "root_parts",
    "suffix_of",
    "unique",
]

Read = tuple[dict[str, np.ndarray], dict[str, Any]]

NOTES = f"__{KEY}__"
"""The member of an ``.npz`` archive that is no column."""


def suffix_of(path: str | os.PathLike[str], known: Mapping[str, Any], verb: str) -> str:
    """The suffix that says a file's format; ``FILE.root:TREE`` has ``.root``.

    Raises:
        SettingError: it is not among the ``known``, which the message lists.
    """
    text = os.fspath(path)
    suffix = ".root" if ".root:" in text else Path(text).suffix.lower()
    if suffix not in known:
        raise SettingError(
            f"cannot {verb} {path}: the suffix {suffix!r} is none of {', '.join(known)}"
        )
    return suffix


@contextmanager
def reading(path: str | os.PathLike[str], row: int | None = None) -> Iterator[None]:
    """Turn what goes wrong while a file is read into an error that names the file and the row.

    Raises:
        TableError: the file is missing or damaged.
        PosterionError: of the kind that the block raised, with the file's name before it.
    """
    try:
        yield
    except PosterionError as error:
        place = path if row is None else f"{path}, row {row}"
        raise type(error)(f"{place}: {error}") from error
    except FileNotFoundError as error:
        raise TableError(f"there is no file {path}: check the name and the folder") from error
    except Exception as error:  # each library has its own errors for a damaged file
        how = "as a table" if row is None else f"from row {row} on"
        raise TableError(f"{path} cannot be read {how}: {error}") from error


@contextmanager
def open_parquet(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A `pyarrow.parquet.ParquetFile` and what was noted in it.

    Each column is read through a small buffer, however large its row group.
    """
    import pyarrow.parquet as pq

    # not read_table, which adds columns for folders named k=v
    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        unique(file.schema_arrow.names)
        notes = (file.schema_arrow.metadata or {}).get(KEY.encode())
        yield file, _metadata(notes)


@contextmanager
def open_npz(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open `numpy` archive, its members still unread, and what was noted in it."""
    with open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise TableError("it is no .npz archive")
        notes = archive[NOTES] if NOTES in archive.files else None
        yield archive, _metadata(None if notes is None else notes.item())


@contextmanager
def open_hdf5(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The data sets of an HDF5 file by name, those of `write_draws` first, and what was noted."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    with h5py.File(path, "r", rdcc_nbytes=_CACHE) as file:
        file.visititems(visit)
        metadata = _metadata(file.attrs.get(KEY))
        first = [name for name in metadata.get("shapes", {}) if name in found]
        yield {name: found[name] for name in dict.fromkeys([*first, *found])}, metadata


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """The one tree (or RNTuple) of a ROOT file, or that of ``FILE.root:TREE``."""
    try:
        import uproot  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "reading ROOT files needs uproot: pip install 'posterion[hep]'"
        ) from error
    file_path, tree = root_parts(path)
    open_file: Any = uproot.open
    with open_file(file_path, array_cache=None) as file:
        size, whole = os.stat(file_path).st_size, file.file.fEND
        if size < whole:
            raise TableError(f"it is cut: {size} bytes of {whole} are there")
        trees = [tree] if tree else file.keys(cycle=False, filter_classname=["TTree", "*RNTuple"])
        if len(trees) != 1:
            raise TableError(f"it has the trees {', '.join(trees)}: name one as FILE.root:TREE")
        yield file[trees[0]]


def root_parts(path: Path) -> tuple[Path, str]:
    """The file and the tree of ``FILE.root:TREE``; the tree is empty where none is named."""
    name, _, tree = os.fspath(path).partition(".root:")
    return (Path(f"{name}.root"), tree) if tree else (path, "")


def unique(names: list[str]) -> None:
    """Make sure that no two columns have one name.

    Raises:
        TableError: two have.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"two columns have one name: {', '.join(twice)}")


def _read_parquet(path: Path) -> Read:
    with open_parquet(path) as (file, metadata):
        return gather(_arrow_columns(file.read()), metadata.get("shapes")), metadata


def _read_csv(path: Path) -> Read:
    import pyarrow.csv as csv

    return gather(_arrow_columns(csv.read_csv(str(path)))), {}


def _read_npz(path: Path) -> Read:
    with open_npz(path) as (archive, metadata):
        return {name: archive[name] for name in archive.files if name != NOTES}, metadata


def _read_hdf5(path: Path) -> Read:
    with open_hdf5(path) as (datasets, metadata):
        return {name: np.asarray(dataset[()]) for name, dataset in datasets.items()}, metadata


def _read_root(path: Path) -> Read:
    with open_root(path) as tree:
        return dict(tree.arrays(library="np")), {}


READERS: dict[str, Callable[[Path], Read]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".root": _read_root,
}

_BUFFER = 1 << 18
_CACHE = 1 << 20  # of chunks, for each data set; HDF5 2 takes 8 MB


def _metadata(notes: str | bytes | None) -> dict[str, Any]:
    metadata = portable.loads(notes) if notes else {}
    if not isinstance(metadata, dict):
        raise TableError(f"what it notes under {KEY!r} is not a JSON object")
    return metadata


def _arrow_columns(table: Any) -> dict[str, np.ndarray]:
    unique(table.column_names)
    return {
        name: np.array(table.column(name).to_numpy()) for name in table.column_names
    }  # writable
