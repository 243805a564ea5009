"""Tables in and out: the suffix of a file's name says its format."""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError, TableError
from posterion.core.files import atomic_path
from posterion.io.columns import Layout, same_length
from posterion.io.readers import READERS, reading, suffix_of
from posterion.io.writers import WRITERS

__all__ = ["read_metadata", "read_table", "table_format", "write_draws"]

Draws = Mapping[str, Any]


def table_format(path: str | os.PathLike[str]) -> str:
    """The suffix of a table that can be written, such as ``".parquet"``.

    Raises:
        SettingError: the suffix is unknown; the message lists the known ones.
    """
    return suffix_of(path, WRITERS, "write")


def write_draws(
    path: str | os.PathLike[str],
    draws: Draws | Iterable[Draws],
    *,
    units: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write named columns to ``.parquet``, ``.csv``, ``.npz`` or ``.h5``, whole or not at all.

    Args:
        path: the file; its suffix gives the format.
        draws: arrays of numbers by name, each of shape (rows, ...), or an iterable of such chunks,
            of which only one is held at a time (``.npz`` holds all). In ``.parquet`` and ``.csv`` a
            vector ``w`` becomes the columns ``w[0]``, ``w[1]``, ...
        units: of columns by name; kept by every format but ``.csv``.
        meta: anything else to note, as JSON; kept by every format but ``.csv``.

    Raises:
        SettingError: unknown suffix, or a unit for no column.
        ShapeError: no rows' axis, no numbers, columns of different lengths, unequal chunks.
        OutputError: the file could not be written; what was there before is still there.
    """
    suffix = table_format(path)
    chunks = iter([draws] if isinstance(draws, Mapping) else draws)
    first: Any = next(chunks, {})
    layout = Layout.of(first)
    unknown = set(units or {}) - set(layout.shapes)
    if unknown:
        raise SettingError(
            f"there is a unit for {', '.join(sorted(unknown))}, which is no column; the columns "
            f"are {', '.join(layout.shapes)}"
        )
    metadata = {"units": units or {}, "shapes": layout.shapes, "meta": meta or {}}
    with (
        atomic_path(path) as temporary,
        WRITERS[suffix](temporary, layout, metadata) as writer,
    ):
        for chunk in itertools.chain([first], chunks):
            writer.write(layout.arrays(chunk))


def read_table(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read named columns from ``.parquet``, ``.csv``, ``.npz``, ``.h5`` or ``.root``.

    A ROOT file with several trees is named as ``FILE.root:TREE`` and needs the extra ``hep``.

    Returns:
        Arrays by name, each of shape (rows, ...); flat columns ``w[0]``, ``w[1]``, ... as ``w``.

    Raises:
        SettingError: unknown suffix.
        TableError: the file is missing, damaged, or no table of numbers with rows of one number.
        MissingExtraError: a ROOT file without uproot.
    """
    columns, _ = _read(path)
    return columns


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_draws` noted beside the numbers: ``units``, ``shapes`` and ``meta``.

    Empty dicts where the format or the writer kept nothing.

    Raises:
        SettingError: as `read_table`.
        TableError: as `read_table`.
    """
    _, metadata = _read(path)
    return {key: metadata.get(key, {}) for key in ("units", "shapes", "meta")}


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    reader = READERS[suffix_of(path, READERS, "read")]
    with reading(path):
        columns, metadata = reader(Path(path).expanduser())
    for name, array in columns.items():
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise TableError(
                f"{path}: the column {name!r} has dtype {array.dtype} and shape {array.shape}; "
                "only numbers of shape (rows, ...) are read"
            )
    same_length(columns, TableError)
    return columns, metadata
