"""Inputs and targets of an emulator: from whatever holds them, in scales of order one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.registry import register
from posterion.io.tables import read_metadata, read_table

Floats = NDArray[np.float64]

_logger = logging.getLogger("posterion")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@register("emulator_columns")
@dataclass(frozen=True, eq=False)
class Columns:
    """Columns and their scales.

    Attributes:
        names: of the columns.
        units: of the columns, empty where there is none.
        log: whether the logarithm is taken first, of each column.
        location: that is subtracted, then.
        scale: that is divided by.
        low: least value that was seen.
        high: greatest value that was seen.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    log: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def scaled(self, values: Floats) -> Floats:
        """``(rows, columns)`` in the network's units."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(self.log, np.log(values), values)
        return (values - self.location) / self.scale

    def unscaled(self, values: Floats) -> Floats:
        """The inverse of `scaled`; columns along the last axis."""
        values = self.location + self.scale * values
        return np.where(self.log, np.exp(np.where(self.log, values, 0.0)), values)

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        """Which rows lie outside of what was seen, in any column."""
        return np.any((values < self.low) | (values > self.high), axis=1)

    def uniform(self, rng: np.random.Generator, rows: int) -> Floats:
        """Points ``(rows, columns)`` drawn evenly within what was seen, with logarithms in these.

        Rounding keeps them within.
        """
        low, high = self.scaled(np.stack([self.low, self.high]))
        drawn = self.unscaled(low + (high - low) * rng.random((rows, len(self.names))))
        return np.clip(drawn, self.low, self.high)


def columns_of(
    table: Mapping[str, Floats], units: Mapping[str, str], log: Sequence[str], *, scaled: bool
) -> Columns:
    """The columns of a table, each with mean zero and unit spread after its logarithm.

    Args:
        table: columns by name, (rows,).
        units: by name.
        log: names of those whose logarithm is taken.
        scaled: whether there is a scale; labels keep their own.

    Raises:
        SettingError: a logarithm of an unknown column.
        SampleError: a constant column, or a logarithm of what is not positive.
    """
    if unknown := sorted(set(log) - set(table)):
        raise SettingError(f"no column {', '.join(unknown)} to take logarithms of: {list(table)}")
    names = tuple(table)
    values = np.stack([table[name] for name in names], axis=1)
    logs = np.array([name in log for name in names])
    for i in np.flatnonzero(logs):
        if (bad := values[:, i] <= 0).any():
            raise SampleError(
                f"the logarithm of {names[i]!r} is asked for, but {bad.sum()} of its values are "
                f"not positive, the first in row {int(np.argmax(bad))}: leave those rows out, or "
                "take no logarithm"
            )
    flat = [names[i] for i in np.flatnonzero(values.min(axis=0) == values.max(axis=0))]
    if flat:
        raise SampleError(
            "constant columns tell nothing and have no scale (here among the "
            f"{len(values)} rows that are trained on): {', '.join(flat)}; leave them out"
        )
    used = np.log(np.where(logs, values, 1.0)) + np.where(logs, 0.0, values)
    none = np.zeros(len(names))
    with np.errstate(all="ignore"):
        location, scale = (used.mean(0), used.std(0)) if scaled else (none, none + 1)
    fine = np.isfinite(location) & np.isfinite(scale) & (scale > 0)
    if not fine.all():
        raise SampleError(
            f"{', '.join(np.asarray(names)[~fine])}: too large or too small for a spread; take "
            "other units, or the logarithm"
        )
    given = tuple(units.get(name, "") for name in names)
    return Columns(names, given, logs, location, scale, values.min(0), values.max(0))


def numbers_of(source: Any, prefix: str) -> tuple[dict[str, Floats], dict[str, str]]:
    """Columns by name, and their units, of an array, a dict, a DataFrame or a table's path.

    Args:
        source: where the numbers are.
        prefix: names the columns of an array: ``x[0]``, ``x[1]``, ...

    Raises:
        SampleError: text, no rows, columns of different lengths or of more than one number.
    """
    units: dict[str, str] = {}
    if isinstance(source, str | Path):
        units = dict(read_metadata(source)["units"])
        source = read_table(source)
    if isinstance(source, Mapping) or hasattr(source, "columns"):
        given = {str(name): source[name] for name in source}
    else:
        array = _array(source, prefix)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise SampleError(f"{prefix} must be rows of columns (n, k), got {array.shape}")
        single = array.shape[1] == 1
        names = [prefix] if single else [f"{prefix}[{i}]" for i in range(array.shape[1])]
        given = {name: array[:, i] for i, name in enumerate(names)}
    table = {name: _array(column, name) for name, column in given.items()}
    for name, column in table.items():
        if column.ndim != 1:
            raise SampleError(f"the column {name!r} has the shape {column.shape}, not (rows,)")
    lengths = {len(column) for column in table.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise SampleError(f"{prefix} needs rows, as many in each column; got {sorted(lengths)}")
    return table, units


def matching(source: Any, names: Sequence[str]) -> Floats:
    """Rows ``(n, columns)`` in the order of ``names``; other columns are not looked at.

    Raises:
        ThetaError: a column is missing.
        SampleError: an array of another width, or what `numbers_of` refuses.
    """
    table, _ = numbers_of(source, "x")
    if not isinstance(source, Mapping | str | Path) and not hasattr(source, "columns"):
        if len(table) != len(names):
            single = np.ndim(source) == 1
            hint = "; x[None] is one point, x[:, None] many of one input" if single else ""
            raise SampleError(
                f"the points have {len(table)} column{'s' * (len(table) > 1)}, the emulator "
                f"{len(names)}: {', '.join(names)}{hint}"
            )
        return np.stack(list(table.values()), axis=1)
    if missing := [name for name in names if name not in table]:
        raise ThetaError(
            f"the points lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}; there is "
            f"{', '.join(table)}"
        )
    return np.stack([table[name] for name in names], axis=1)


def uniform_of_rows(x: Floats) -> Floats:
    """A number in [0, 1) for each row, from its bits alone: equal rows have equal numbers.

    By it rows are divided, the same on every machine and whatever the order.
    """
    bits = np.ascontiguousarray(x + 0.0, np.float64).view(np.uint64)  # + 0: no minus zero
    mixed = np.full(len(x), _GOLDEN)
    for column in range(bits.shape[1]):
        mixed = _stirred((mixed ^ bits[:, column]) + _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _stirred(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The mixing of SplitMix64 (Steele, Lea and Flood, 2014); overflow is meant."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def warn_of_twins(x: Floats, y: Floats) -> int:
    """How many rows have an earlier one's inputs and other targets; said, not refused."""
    _, first, back = np.unique(x, axis=0, return_index=True, return_inverse=True)
    twins = int(np.any(y != y[first[back.ravel()]], axis=1).sum())
    if twins:
        _logger.warning(
            "%d rows repeat the inputs of another with different targets: taken as noise", twins
        )
    return twins


def _array(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # NumPy's of ragged lists
        raise SampleError(
            f"{name!r} is no table of numbers: give rows of one length ({error})"
        ) from error
    if array.dtype.kind not in "biuf":
        raise SampleError(
            f"{name!r} is no column of numbers (dtype {array.dtype}): give categories as numbers, "
            "one column of 0 and 1 for each, or leave the column out"
        )
    return array.astype(np.float64)
