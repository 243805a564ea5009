"""What ``emulate`` is given: rows that can be learned from, divided and brought to scale."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError
from posterion.emulators.likelihoods import Bernoulli, Categorical, Likelihood, make_likelihood
from posterion.emulators.tables import (
    Columns,
    columns_of,
    numbers_of,
    uniform_of_rows,
    warn_of_twins,
)

Floats = NDArray[np.float64]

_logger = logging.getLogger("posterion")
_FEWEST = 20  # rows


@dataclass(frozen=True, eq=False)
class Rows:
    """A table that is ready to be learned from.

    Attributes:
        x: inputs of all rows, (n, inputs).
        y: targets of all rows, (n, targets).
        inputs: their scales, from the training rows.
        targets: their scales.
        likelihood: of targets.
        parts: which rows are ``training``, ``correction`` and ``test``.
        twins: rows with the inputs of another and other targets.
    """

    x: Floats
    y: Floats
    inputs: Columns
    targets: Columns
    likelihood: Likelihood
    parts: dict[str, NDArray[np.bool_]]
    twins: int

    @property
    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets that are trained on, in the network's units, float32."""
        taken = self.parts["training"]
        x = self.inputs.scaled(self.x[taken]).astype(np.float32)
        return x, self.targets.scaled(self.y[taken]).astype(np.float32)


def rows_of(
    x: Any,
    y: Any,
    *,
    likelihood: str | Likelihood,
    log: Sequence[str],
    units: Mapping[str, str] | None,
    correction: float | int,
    test: float | int,
) -> Rows:
    """The rows of tables, checked; arguments as of `posterion.emulate`.

    Raises:
        SampleError: rows that cannot be learned from; the message names rows and columns.
        SettingError: unknown columns, or shares that leave nothing to train on.
    """
    if not (correction >= 0 and test >= 0 and correction + test < 0.9):
        raise SettingError(
            "correction and test are shares of the rows, together below 0.9: got "
            f"{correction} and {test}"
        )
    table_x, table_y, given = _tables(x, y)
    known = given | dict(units or {})
    if unknown := sorted(set(known) - set(table_x) - set(table_y) - set(given)):
        raise SettingError(f"units: no column {', '.join(unknown)}")
    rows_x, rows_y = (np.stack(list(t.values()), axis=1) for t in (table_x, table_y))
    _check_rows(rows_x, list(table_x), rows_y, list(table_y))
    chosen = make_likelihood(likelihood, max(2, int(rows_y.max()) + 1))
    _check_labels(chosen, rows_y, list(table_y))
    place = uniform_of_rows(rows_x)
    parts = {
        "test": place < test,
        "correction": (place >= test) & (place < test + correction),
        "training": place >= test + correction,
    }
    scales = _scales(table_x, table_y, known, list(log), chosen, parts["training"])
    return Rows(rows_x, rows_y, *scales, chosen, parts, warn_of_twins(rows_x, rows_y))


def _tables(x: Any, y: Any) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, str]]:
    table_x, units = numbers_of(x, "x")
    wanted = [y] if isinstance(y, str) and y in table_x else y
    if isinstance(wanted, list | tuple) and wanted and all(isinstance(n, str) for n in wanted):
        if twice := sorted({n for n in wanted if list(wanted).count(n) > 1}):
            raise SampleError(f"y names {', '.join(twice)} more than once: name each target once")
        if missing := [n for n in wanted if n not in table_x]:
            raise SampleError(
                f"no column {', '.join(missing)} to be a target; there is {', '.join(table_x)}"
            )
        table_y = {n: table_x.pop(n) for n in wanted}
    elif isinstance(y, str) and not Path(y).suffix:
        raise SampleError(f"no column {y} to be a target; there is {', '.join(table_x)}")
    else:
        table_y, more = numbers_of(y, "y")
        units = units | more
    if both := sorted(set(table_x) & set(table_y)):
        raise SampleError(f"{both[0]} is among the inputs and the targets: leave one out")
    if not table_x:
        raise SampleError("no column is left to be an input")
    rows = {len(next(iter(t.values()))) for t in (table_x, table_y)}
    if len(rows) > 1:
        raise SampleError(f"inputs and targets have different numbers of rows: {sorted(rows)}")
    return table_x, table_y, units


def _check_rows(x: Floats, x_names: list[str], y: Floats, y_names: list[str]) -> None:
    for values, names in ((x, x_names), (y, y_names)):
        fine = np.isfinite(values)
        if not fine.all():
            row, column = np.argwhere(~fine)[0]
            raise SampleError(
                f"{int((~fine).any(axis=1).sum())} rows are not finite, the first is row {row} in "
                f"{names[column]!r}: leave them out"
            )
    needed = max(_FEWEST, x.shape[1] + 1)
    if len(x) < needed:
        raise SampleError(f"{len(x)} rows are too few for {x.shape[1]} inputs: {needed} are needed")


def _check_labels(likelihood: Likelihood, y: Floats, names: list[str]) -> None:
    if isinstance(likelihood, Bernoulli) and not np.isin(y, (0, 1)).all():
        odd = sorted({float(v) for v in y[~np.isin(y, (0, 1))][:5]})
        raise SampleError(f"labels are 0 or 1, but {', '.join(names)} holds {odd} as well")
    if isinstance(likelihood, Categorical):
        whole = (y == np.round(y)) & (y >= 0) & (y < likelihood.classes)
        if not whole.all():
            raise SampleError(
                f"classes are numbers 0 ... {likelihood.classes - 1}, but {', '.join(names)} holds "
                f"{float(y[~whole][0])}"
            )
        if missing := sorted(set(range(likelihood.classes)) - set(y.ravel().astype(int).tolist())):
            _logger.warning(
                "of the classes 0 ... %d, %s holds none of %s: number them without gaps, or leave "
                "it if such rows may come",
                likelihood.classes - 1,
                ", ".join(names),
                ", ".join(map(str, missing)),
            )


def _scales(
    table_x: dict[str, Floats],
    table_y: dict[str, Floats],
    units: dict[str, str],
    log: list[str],
    likelihood: Likelihood,
    taken: NDArray[np.bool_],
) -> tuple[Columns, Columns]:
    """Of inputs and targets, from the training rows."""
    if unknown := sorted(set(log) - set(table_x) - set(table_y)):
        known = ", ".join([*table_x, *table_y])
        raise SettingError(f"log: no column {', '.join(unknown)}; there is {known}")
    labels = isinstance(likelihood, Bernoulli | Categorical)
    if labels and (marked := sorted(set(log) & set(table_y))):
        raise SettingError(f"log: {', '.join(marked)} holds labels, which have no logarithm")
    for table in (table_x, table_y):  # every row, training or not, must have its logarithm
        columns_of(table, {}, [n for n in log if n in table], scaled=False)
    found = []
    for table, scaled in ((table_x, True), (table_y, not labels)):
        part = {name: column[taken] for name, column in table.items()}
        found.append(columns_of(part, units, [n for n in log if n in table], scaled=scaled))
    return found[0], found[1]
