"""One reader a format: each gives flat or whole columns, and what was noted beside them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core import portable
from posterion.core.errors import MissingExtraError, TableError
from posterion.io.columns import gather
from posterion.io.writers import KEY

__all__ = ["READERS"]

Read = tuple[dict[str, np.ndarray], dict[str, Any]]


def _read_parquet(path: Path) -> Read:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:  # not read_table, which adds columns for folders named k=v
        table = file.read()
    notes = (table.schema.metadata or {}).get(KEY.encode())
    metadata = _metadata(notes)
    return gather(_arrow_columns(table), metadata.get("shapes")), metadata


def _read_csv(path: Path) -> Read:
    import pyarrow.csv as csv

    return gather(_arrow_columns(csv.read_csv(str(path)))), {}


def _read_npz(path: Path) -> Read:
    with open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise TableError("it is no .npz archive")
        columns = dict(archive)
    notes = columns.pop(f"__{KEY}__", None)
    return columns, _metadata(None if notes is None else notes.item())


def _read_hdf5(path: Path) -> Read:
    import h5py

    columns: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            columns[name] = np.asarray(item[()])

    with h5py.File(path, "r") as file:
        file.visititems(visit)
        metadata = _metadata(file.attrs.get(KEY))
    first = [name for name in metadata.get("shapes", {}) if name in columns]
    return {name: columns[name] for name in dict.fromkeys([*first, *columns])}, metadata


def _read_root(path: Path) -> Read:
    try:
        import uproot  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "reading ROOT files needs uproot: pip install 'posterion[hep]'"
        ) from error
    name, _, tree = os.fspath(path).partition(".root:")
    with uproot.open(f"{name}.root" if tree else path) as file:
        trees = [tree] if tree else file.keys(cycle=False, filter_classname=["TTree", "*RNTuple"])
        if len(trees) != 1:
            raise TableError(f"it has the trees {', '.join(trees)}: name one as FILE.root:TREE")
        item: Any = file[trees[0]]
        return dict(item.arrays(library="np")), {}


READERS: dict[str, Callable[[Path], Read]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".root": _read_root,
}


def _metadata(notes: str | bytes | None) -> dict[str, Any]:
    metadata = portable.loads(notes) if notes else {}
    if not isinstance(metadata, dict):
        raise TableError(f"what it notes under {KEY!r} is not a JSON object")
    return metadata


def _arrow_columns(table: Any) -> dict[str, np.ndarray]:
    if len(set(table.column_names)) < len(table.column_names):
        raise TableError(f"two columns have one name: {', '.join(table.column_names)}")
    return {
        name: np.array(table.column(name).to_numpy()) for name in table.column_names
    }  # writable
