"""Which row of the context belongs to which sample: by order, held against indexes, or by a key."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posterion.core.errors import SampleError, SettingError, TableError, ThetaError
from posterion.io.readers import READERS
from posterion.io.tables import read_table
from posterion.training.categories import are_classes

__all__ = ["joined", "read_if_path", "require_same_order"]

_SHOWN = 3
_log = logging.getLogger("posterion")


def read_if_path(value: Any) -> Any:
    """The columns of a table where its path is given; a name without a table's suffix stays."""
    if isinstance(value, str):
        suffix = ".root" if ".root:" in value else Path(value).suffix.lower()
        return _table(value) if suffix in READERS else value
    return _table(value) if isinstance(value, Path) else value


def _table(path: str | Path) -> Any:
    """Columns of numbers; a DataFrame where there is text among them."""
    try:
        return read_table(path)
    except TableError:
        read = {".csv": pd.read_csv, ".parquet": pd.read_parquet}.get(Path(path).suffix.lower())
        try:
            frame = None if read is None else read(path)
        except (OSError, ValueError):
            frame = None
        if frame is None or not any(are_classes(frame[name]) for name in frame):
            raise
        return frame


def require_same_order(**tables: Any) -> None:
    """Makes sure that tables with row labels, those of pandas, have the same in the same order.

    Raises:
        SampleError: two of them do not; the message says which, and where first.
    """
    labelled: dict[str, Any] = {}
    for name, table in tables.items():
        index = getattr(table, "index", None)
        if index is not None and hasattr(index, "equals"):
            labelled[name] = index
    if len(labelled) < 2:
        return
    (first, index), *others = labelled.items()
    for name, other in others:
        if len(other) != len(index) or index.equals(other):
            continue  # unequal lengths are said with those of all columns
        row = int(np.flatnonzero(np.asarray(index != other))[0])
        here, there = index.tolist()[row], other.tolist()[row]
        same = "in another order" if set(index) == set(other) else "other ones"
        raise SampleError(
            f"{first} and {name} are not the same rows in the same order: the index of {name} has "
            f"{same}, first in row {row} ({here!r} and {there!r}). Name a column that "
            f"pairs them (key=), sort them (.loc[{first}.index]), or, if they are paired by their "
            "order, reset_index(drop=True) of both"
        )


def joined(samples: Any, context: Any, key: str | Sequence[str]) -> tuple[dict, dict]:
    """Both tables without the key's columns, the context's rows in the order of the samples.

    Args:
        samples: a dict of arrays, a DataFrame, or a table's path.
        context: likewise.
        key: column, or columns, in both.

    Raises:
        SettingError: no tables with names.
        ThetaError: the key is no column of one of them.
        SampleError: a key that is twice in a table, or has no row in the context.
    """
    names = [key] if isinstance(key, str) else list(key) if isinstance(key, list | tuple) else []
    if not names:
        raise SettingError(f"key names a column, or several, of both tables, got {key!r}")
    one, two = _columns(samples, "samples"), _columns(context, "context")
    keys = []
    for table, what in ((one, "samples"), (two, "context")):
        for name in names:
            if name not in table:
                raise ThetaError(
                    f"the key {name!r} is no column of the {what}: {', '.join(map(str, table))}"
                )
        own = list(zip(*(np.asarray(table.pop(name)).tolist() for name in names), strict=True))
        if len(set(own)) < len(own):
            seen: set = set()
            again = [k for k in own if k in seen or seen.add(k)]
            raise SampleError(
                f"{len(again)} rows of the {what} have a key that came before: {_said(again)}; "
                "each must be there once"
            )
        keys.append(own)
    where = {k: i for i, k in enumerate(keys[1])}
    if missing := [k for k in keys[0] if k not in where]:
        raise SampleError(
            f"{len(missing)} of {len(keys[0])} samples have no row in the context: "
            f"{', '.join(names)} = {_said(missing)}; leave them out, or complete the context"
        )
    if alone := len(where) - len(keys[0]):
        _log.warning(
            "%d of %d rows of the context have no sample and are left out", alone, len(where)
        )
    order = np.array([where[k] for k in keys[0]], np.intp)
    return one, {name: np.asarray(column)[order] for name, column in two.items()}


def _columns(table: Any, what: str) -> dict[str, Any]:
    table = read_if_path(table)
    if not (isinstance(table, Mapping) or hasattr(table, "columns")):
        raise SettingError(f"rows are paired by a key in tables with names; the {what} has none")
    return {str(name): table[name] for name in table}


def _said(keys: Sequence[tuple[Any, ...]]) -> str:
    shown = [repr(k[0]) if len(k) == 1 else repr(k) for k in keys[:_SHOWN]]
    return ", ".join(shown) + (", ..." if keys[_SHOWN:] else "")
