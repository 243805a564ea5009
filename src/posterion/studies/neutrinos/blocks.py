"""One block of NuFIT's tables: chi-squared on a grid, and the parser of its text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posterion.core.errors import TableError

NAMES = ("sin2_theta23", "Dm2_3l", "delta_CP", "sin2_theta12", "log10_Dm2_21", "sin2_theta13")
"""The six parameters in the order of the study: Dm2_3l is Delta m^2_31 > 0 (normal ordering) or
Delta m^2_32 < 0 (inverted) in 1e-3 eV^2, delta_CP is in degrees, Dm2_21 in eV^2."""

MINIMUM_NODES = 4
_TURN = 360.0
_GRID_LIMIT = 1e8
_HEADER = re.compile(
    r"sin\^?2\(?theta_?(?P<angle>12|13|23)\)?"
    r"|(?P<log>log_?10\(\s*)?delta_?m_?(?P<pair>21|31|32)"
    r"|(?P<phase>delta_?cp)",
    re.IGNORECASE,
)
_LAST_COLUMN = re.compile(rb"Delta_chi(\^?2)?\s*")


@dataclass(frozen=True, eq=False)
class Block:
    """Chi-squared on a rectangular grid of one to three parameters.

    Fields: `names` of the axes; `axes`, their nodes, ascending float64; `chi2`, float64 of shape
    ``tuple(map(len, axes))``; `periods`, the period of each axis or None. A periodic axis does not
    repeat its first node.
    """

    names: tuple[str, ...]
    axes: tuple[np.ndarray, ...]
    chi2: np.ndarray
    periods: tuple[float | None, ...]

    def edges(self, name: str) -> tuple[float, float]:
        """Where the axis `name` starts and ends, in its unit (a periodic one: one turn)."""
        k = self.names.index(name)
        start, period = float(self.axes[k][0]), self.periods[k]
        return start, float(self.axes[k][-1]) if period is None else start + period

    def minimised(self, *names: str) -> Block:
        """The profile onto `names`: the minimum of the nodes over every other axis."""
        others = tuple(k for k, name in enumerate(self.names) if name not in names)
        kept = [name for name in self.names if name in names]
        index = [self.names.index(name) for name in kept]
        block = Block(
            tuple(kept),
            tuple(self.axes[k] for k in index),
            self.chi2.min(axis=others),
            tuple(self.periods[k] for k in index),
        )
        return block.transposed(names)

    def transposed(self, names: tuple[str, ...]) -> Block:
        """The same block with its axes in the order `names`."""
        order = [self.names.index(name) for name in names]
        return Block(
            tuple(names),
            tuple(self.axes[k] for k in order),
            self.chi2.transpose(order),
            tuple(self.periods[k] for k in order),
        )


@dataclass(frozen=True, eq=False)
class Section:
    """The text of one block: file, header, data and the line number of the header."""

    path: Path
    header: str
    data: bytes
    line: int

    @property
    def title(self) -> str:
        """The columns but the last, as the file names them."""
        return " ".join(self.header.split()[:-1])

    def error(self, what: str, line: int | None = None) -> TableError:
        """An error that names file, block and line (that of the header unless given)."""
        where = f"{self.path}, block '{self.title}'"
        return TableError(f"{where}, line {self.line if line is None else line}: {what}.")

    @property
    def columns(self) -> list[re.Match[str]]:
        """The recognised parameters in the header."""
        return list(_HEADER.finditer(self.header))

    @property
    def orderings(self) -> set[str]:
        """The ordering that the header implies, if any."""
        pairs = {match["pair"] for match in self.columns}
        return {"31": {"NO"}, "32": {"IO"}}.get("".join(pairs - {"21", None}), set())

    def names(self) -> tuple[str, ...]:
        """The names of the axes. Raises TableError if there are not one to three."""

        def name(match: re.Match[str]) -> str:
            if match["angle"]:
                return f"sin2_theta{match['angle']}"
            if match["phase"]:
                return "delta_CP"
            return "log10_Dm2_21" if match["pair"] == "21" else "Dm2_3l"

        names = tuple(map(name, self.columns))
        if not 1 <= len(names) <= 3 or len(set(names)) != len(names):
            raise self.error("the column names are not one to three different parameters of NuFIT")
        return names

    def block(self) -> Block:
        """The block, checked. Raises TableError."""
        names = self.names()
        axes, chi2 = self._grid(self._numbers(len(names) + 1), names)
        axes = [self._converted(axis, m) for axis, m in zip(axes, self.columns, strict=True)]
        periods: list[float | None] = [None] * len(names)
        if "delta_CP" in names:
            k = names.index("delta_CP")
            axes[k], chi2 = self._closed(axes[k], chi2, k)
            periods[k] = _TURN
        for name, axis in zip(names, axes, strict=True):
            if len(axis) < MINIMUM_NODES:
                raise self.error(f"{name} has {len(axis)} nodes; at least {MINIMUM_NODES} needed")
        return Block(names, tuple(axes), np.ascontiguousarray(chi2), tuple(periods))

    def _numbers(self, columns: int) -> np.ndarray:
        try:
            numbers = np.fromstring(self.data, sep=" ")
        except ValueError:
            raise self._bad_line(columns) from None
        rows = len(numbers) // columns
        lines = self.data.strip().count(b"\n") + 1
        if len(numbers) % columns or lines < rows or not np.isfinite(numbers).all():
            raise self._bad_line(columns)
        if not rows:
            raise self.error("no rows follow; the file is truncated, download it again")
        return numbers.reshape(rows, columns)

    def _bad_line(self, columns: int) -> TableError:
        return self._find_bad_line(columns) or self.error("cannot be read; download it again")

    def _find_bad_line(self, columns: int) -> TableError | None:
        for number, raw in enumerate(self.data.split(b"\n"), self.line + 1):
            words = raw.split()
            if not words:
                continue
            shown = raw.decode("ascii", "replace").strip()[:80]
            if len(words) != columns:
                return self.error(
                    f"{len(words)} columns instead of {columns}: '{shown}'; "
                    "the file is truncated or damaged, download it again",
                    number,
                )
            try:
                values = [float(word) for word in words]
            except ValueError:
                return self.error(f"not numbers: '{shown}'", number)
            if not np.isfinite(values).all():
                return self.error(f"a value is not finite: '{shown}'", number)
        return None

    def _grid(
        self, rows: np.ndarray, names: tuple[str, ...]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        regular = _regular(rows)
        if regular is not None:
            return regular
        columns = [np.unique(rows[:, k], return_inverse=True) for k in range(rows.shape[1] - 1)]
        axes = [axis for axis, _ in columns]
        shape = tuple(map(len, axes))
        why = "the grid is not rectangular"
        if np.prod(shape, dtype=float) < _GRID_LIMIT:
            flat = np.ravel_multi_index([index for _, index in columns], shape)
            count = np.bincount(flat, minlength=int(np.prod(shape)))
            if (count == 1).all():
                chi2 = np.empty(len(rows))
                chi2[flat] = rows[:, -1]
                return axes, chi2.reshape(shape)
            number = int(np.argmax(count != 1))
            cell = zip(names, axes, np.unravel_index(number, shape), strict=True)
            point = ", ".join(f"{name} = {axis[i]:g}" for name, axis, i in cell)
            why = f"{count[number] or 'no'} rows for {point}"
        error = self._find_bad_line(rows.shape[1])
        if error is not None:
            raise error
        raise self.error(
            f"{len(rows)} rows do not fill the grid of {' x '.join(map(str, shape))} nodes "
            f"({why}); the file is truncated or damaged, download it again"
        )

    def _converted(self, axis: np.ndarray, match: re.Match[str]) -> np.ndarray:
        if match["pair"] != "21" or match["log"]:
            return axis
        unit = re.match(r"\^?2?\s*/?\[?\(?\s*(1e-?\d+)", self.header[match.end() :])
        if axis[0] <= 0:
            raise self.error("Delta_m21^2 must be positive")
        return np.log10(axis * float(unit[1] if unit else 1.0))

    def _closed(self, axis: np.ndarray, chi2: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not np.isclose(axis[-1] - axis[0], _TURN):
            raise self.error(f"delta_CP covers {axis[0]:g} to {axis[-1]:g}, not one turn of 360")
        first, last = np.take(chi2, 0, axis=k), np.take(chi2, -1, axis=k)
        gap = np.abs(first - last)
        if (gap > 1e-3 + 1e-5 * np.abs(first)).any():
            raise self.error(
                f"chi-squared at delta_CP = {axis[0]:g} and {axis[-1]:g} differs by up to "
                f"{gap.max():.3g}; they are the same point"
            )
        return axis[:-1], np.take(chi2, range(len(axis) - 1), axis=k)


def _regular(rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Axes and values of rows that run through a grid in order, last axis fastest; else None."""
    axes: list[np.ndarray] = []
    stride = 1
    for k in range(rows.shape[1] - 2, -1, -1):
        column = rows[::stride, k]
        again = np.flatnonzero(column[1:] == column[0])
        axis = column[: again[0] + 1] if len(again) else column
        if len(rows) % (stride * len(axis)):
            return None
        axes.insert(0, axis)
        stride *= len(axis)
    shape = tuple(map(len, axes))
    if stride != len(rows):
        return None
    chi2 = rows[:, -1].reshape(shape)
    for k, axis in enumerate(axes):
        column = rows[:, k].reshape(shape)
        if not (column == axis.reshape([-1 if j == k else 1 for j in range(len(axes))])).all():
            return None
        steps = np.diff(axis)
        if (steps < 0).all():
            axes[k], chi2 = axis[::-1], np.flip(chi2, k)
        elif not (steps > 0).all():
            return None
    return [axis.copy() for axis in axes], chi2


def sections(text: bytes, path: Path) -> Iterator[Section]:
    """The sections of a file; comment lines inside a section are blanked."""
    starts = []
    position = text.find(b"Delta_chi")
    while position >= 0:
        end = text.find(b"\n", position)
        end = len(text) if end < 0 else end + 1
        if _LAST_COLUMN.fullmatch(text, position, end):
            starts.append((text.rfind(b"\n", 0, position) + 1, end))
        position = text.find(b"Delta_chi", end)
    line, counted = 1, 0
    for (begin, end), (stop, _) in itertools.pairwise([*starts, (len(text), 0)]):
        line += text.count(b"\n", counted, begin)
        counted = begin
        header = text[begin:end].decode("ascii", "replace").split("projection:")[-1]
        data = text[end:stop]
        if b"#" in data:
            data = re.sub(rb"(?m)^[ \t]*#.*$", b"", data)
        yield Section(path, header.strip().lstrip("# "), data, line)
