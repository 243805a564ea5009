"""The summary of draws: means, spreads, intervals, correlations, as a table."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from posterion.core.columns import Column
from posterion.core.errors import SettingError, ShapeError, ThetaError
from posterion.core.estimate import Estimate
from posterion.core.statistics import (
    circular_mean,
    effective_size,
    normalised_weights,
    on_circle,
    quantiles,
    shortest_interval,
    unwrapped,
)

__all__ = ["Summary", "latex_text", "number_texts", "summarise"]

LEVELS = (0.68, 0.95)
"""Probabilities of the intervals."""

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
_LOWERED = str.maketrans(_RAISED, "0123456789-+")
_ROWS = 60
_BLOCK = 65536


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """Means, spreads, intervals and covariance of draws; printing it gives a table.

    On a circle the mean is the mean direction, ``sd`` the root mean square arc from it, and
    intervals are arcs on the circle cut opposite to it: an end may lie outside the bounds.

    Args:
        columns: what the rows are: name, unit, label, bounds, period.
        mean, sd, median: ``(d,)``, in the unit of each column.
        equal_tailed: probability to ``(d, 2)``: as much below as above.
        hpd: probability to ``(d, 2)``: the shortest interval.
        covariance: ``(d, d)``.
        size: number of draws.
        effective: what they are worth: less than ``size`` if they are weighted.
        notes: what else to know, such as draws that were left out.
    """

    columns: tuple[Column, ...]
    mean: np.ndarray
    sd: np.ndarray
    median: np.ndarray
    equal_tailed: Mapping[float, np.ndarray]
    hpd: Mapping[float, np.ndarray]
    covariance: np.ndarray
    size: int
    effective: float
    notes: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows."""
        return tuple(column.name for column in self.columns)

    @property
    def correlation(self) -> np.ndarray:
        """Correlations ``(d, d)``; NaN for a column that does not vary."""
        scale = np.where(self.sd > 0, self.sd, np.nan)
        return np.clip(self.covariance / np.outer(scale, scale), -1.0, 1.0)

    @property
    def mean_error(self) -> np.ndarray:
        """Standard error of each mean from the number of effective draws, ``(d,)``."""
        return self.sd / math.sqrt(self.effective)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """One row: numbers by name, intervals as ``(low, high)`` by ``"68%"`` and ``"hpd 68%"``."""
        if name not in self.names:
            raise ThetaError(f"there is no row {name!r}; known: {', '.join(self.names)}")
        i = self.names.index(name)
        row: dict[str, Any] = {
            "mean": float(self.mean[i]),
            "sd": float(self.sd[i]),
            "median": float(self.median[i]),
        }
        for prefix, intervals in (("", self.equal_tailed), ("hpd ", self.hpd)):
            for level, ends in intervals.items():
                row[f"{prefix}{_percent(level)}"] = (float(ends[i, 0]), float(ends[i, 1]))
        return row

    def to_pandas(self) -> Any:
        """A pandas DataFrame, one row per column; intervals as ``lower_68``, ``hpd_lower_68``..."""
        import pandas

        table: dict[str, Any] = {
            "unit": [column.unit for column in self.columns],
            "mean": self.mean,
            "sd": self.sd,
            "median": self.median,
        }
        for prefix, intervals in (("", self.equal_tailed), ("hpd_", self.hpd)):
            for level, ends in intervals.items():
                digits = _percent(level).removesuffix("%")
                table[f"{prefix}lower_{digits}"] = ends[:, 0]
                table[f"{prefix}upper_{digits}"] = ends[:, 1]
        return pandas.DataFrame(table, index=pandas.Index(self.names, name="parameter"))

    def to_latex(self) -> str:
        """A table for a paper: mean and sd, equal-tailed intervals; needs the package booktabs."""
        head = ["parameter", "unit", r"mean $\pm$ sd"]
        head += [rf"{_percent(level)[:-1]}\,\%" for level in self.equal_tailed]
        lines = [
            rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
        ]
        for i, column in enumerate(self.columns):
            cells = [column.label or latex_text(column.name), latex_text(column.unit)]
            cells.append("$" + _to_tex(str(Estimate(self.mean[i], self.sd[i]))) + "$")
            for ends in self.equal_tailed.values():
                low, high = number_texts(ends[i], self.sd[i])
                cells.append(f"$[{_to_tex(low)},\\, {_to_tex(high)}]$")
            lines.append(" & ".join(cells) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])

    def rows(self) -> list[tuple[str, ...]]:
        """The printed table as text: the head, then a row per column."""
        head = ["parameter", "unit", "mean", "sd"]
        head += [_percent(level) for level in self.equal_tailed]
        head += [f"{_percent(level)} HPD" for level in self.hpd]
        rows = [tuple(head)]
        for i, column in enumerate(self.columns):
            cells = [column.name, column.unit]
            cells += [
                number_texts([number], self.sd[i])[0] for number in (self.mean[i], self.sd[i])
            ]
            for intervals in (self.equal_tailed, self.hpd):
                for ends in intervals.values():
                    low, high = number_texts(ends[i], self.sd[i])
                    cells.append(f"[{low}, {high}]")
            rows.append(tuple(cells))
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        shown = rows[: _ROWS + 1]
        widths = [max(len(row[k]) for row in shown) for k in range(len(rows[0]))]
        lines = [self._title()]
        for row in shown:
            cells = [
                cell.ljust(width) if k < 2 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        if len(rows) > len(shown):
            lines.append(f"and {len(rows) - len(shown)} more rows: see to_pandas()")
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines, mark = [f"<p>{escape(self._title())}</p>", "<table>"], "th"
        for row in self.rows():
            cells = "".join(f"<{mark}>{escape(cell)}</{mark}>" for cell in row)
            lines.append(f"<tr>{cells}</tr>")
            mark = "td"
        return "\n".join([*lines, "</table>", *(f"<p>{escape(note)}</p>" for note in self.notes)])

    def _title(self) -> str:
        count = f"{self.size:,}".replace(",", " ")
        if self.effective > 0.9999 * self.size:
            return f"{count} draws"
        worth = f"{self.effective:,.0f}".replace(",", " ")
        return f"{count} weighted draws, worth {worth}"


def summarise(
    columns: Sequence[Column],
    x: np.ndarray,
    weights: Any = None,
    *,
    levels: Sequence[float | int] = LEVELS,
    notes: Sequence[str] = (),
) -> Summary:
    """Summarise draws. Rows with a value that is not finite are left out, counted, and noted.

    Args:
        columns: names, units and periods, d of them.
        x: ``(n, d)``.
        weights: ``(n,)``, not negative, in any normalisation; None for equal ones.
        levels: probabilities of the intervals.
        notes: added to the summary's.

    Raises:
        ShapeError: the shapes do not fit, or no row is finite.
        SettingError: a level is not between 0 and 1.

    >>> print(summarise([Column("x", unit="fm")], np.linspace(-1, 1, 101)[:, None]))
    101 draws
    parameter  unit   mean     sd              68%              95% ...
    x          fm    0.000  0.583  [-0.680, 0.680]  [-0.950, 0.950] ...
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(columns) or x.size == 0:
        raise ShapeError(f"draws of shape {x.shape} for {len(columns)} columns")
    share = normalised_weights(weights, len(x))
    finite = np.isfinite(x).all(axis=1)
    lost = len(x) - int(finite.sum())
    said = list(notes)
    if lost:
        if lost == len(x):
            raise ShapeError("none of the draws is finite in every column")
        said.append(f"{lost} of {len(x)} draws are not finite and were left out")
        x = x[finite]
        share = normalised_weights(None if share is None else share[finite], len(x))
    for level in levels:
        if not 0 < level < 1:
            raise SettingError(f"the probability of an interval lies between 0 and 1, not {level}")
    d = len(columns)
    mean, sd, median = np.empty(d), np.empty(d), np.empty(d)
    tails = {float(level): np.empty((d, 2)) for level in levels}
    hpd = {float(level): np.empty((d, 2)) for level in levels}
    for i, column in enumerate(columns):
        values = unwrapped(x[:, i], share, column)
        mean[i] = _mean(values, share, column)
        middle = quantiles(values, [0.5], share)[0]
        median[i] = _inside(middle, column)
        for level in tails:
            tails[level][i] = quantiles(values, [(1 - level) / 2, (1 + level) / 2], share)
            hpd[level][i] = shortest_interval(values, level, share, column.period)
            hpd[level][i] += _turns(hpd[level][i].mean(), mean[i], column)
    covariance = _covariance(x, share, columns, mean)
    sd[:] = np.sqrt(np.diag(covariance))
    return Summary(
        columns=tuple(columns),
        mean=mean,
        sd=sd,
        median=median,
        equal_tailed=tails,
        hpd=hpd,
        covariance=covariance,
        size=len(x),
        effective=effective_size(share, len(x)),
        notes=tuple(said),
    )


def latex_text(text: str) -> str:
    r"""Text in which LaTeX's special characters stand for themselves; superscripts become powers.

    >>> print(latex_text("m_e & 50%"), latex_text("10⁻³ eV²"))
    m\_e \& 50\% 10$^{-3}$ eV$^{2}$
    """
    special = {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    plain = "".join(special.get(c, c) for c in text)
    return re.sub(f"[{_RAISED}]+", lambda run: f"$^{{{run[0].translate(_LOWERED)}}}$", plain)


def _mean(values: np.ndarray, share: np.ndarray | None, column: Column) -> float:
    if column.period is None or column.lower is None:
        return float(np.average(values, weights=share))
    return circular_mean(values, share, float(column.lower), column.period)


def _inside(value: float, column: Column) -> float:
    if column.period is None or column.lower is None:
        return float(value)
    return float(on_circle(np.asarray(value), float(column.lower), column.period))


def _turns(value: float, near: float, column: Column) -> float:
    """Whole periods that bring ``value`` as close as can be to ``near``."""
    return 0.0 if column.period is None else column.period * round((near - value) / column.period)


def _covariance(
    x: np.ndarray, share: np.ndarray | None, columns: Sequence[Column], mean: np.ndarray
) -> np.ndarray:
    """In blocks of rows, so that no second copy of the draws is held."""
    total = np.zeros((len(columns), len(columns)))
    for start in range(0, len(x), _BLOCK):
        centred = x[start : start + _BLOCK] - mean
        for i, column in enumerate(columns):
            if column.period is not None:
                centred[:, i] = on_circle(centred[:, i], -column.period / 2, column.period)
        weight = 1 / len(x) if share is None else share[start : start + _BLOCK, None]
        total += centred.T @ (centred * weight)
    return total


def _percent(level: float) -> str:
    return f"{100 * level:.6g}%"


def number_texts(values: Sequence[float] | np.ndarray, sd: float) -> list[str]:
    """Numbers with the third digit of ``sd`` as the last one.

    >>> number_texts([0.123456, -1.0], 0.05), number_texts([2.5e-5], 1e-7)
    (['0.1235', '-1.0000'], ['2.5000e-05'])
    """
    largest = max((abs(float(v)) for v in values), default=0.0)
    if not (math.isfinite(sd) and sd > 0 and math.isfinite(largest)):
        return [f"{float(v):.6g}" for v in values]
    power = math.floor(math.log10(max(largest, sd)))
    if power < -4 or power > 6:
        decimals = min(max(power - math.floor(math.log10(sd)) + 2, 2), 15)
        return [f"{float(v):.{decimals}e}" for v in values]
    decimals = max(2 - math.floor(math.log10(sd)), 0)
    return [f"{float(v):z.{decimals}f}" for v in values]


def _to_tex(number: str) -> str:
    text = number.replace("±", r"\pm")
    mantissa, e, power = text.partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if e else text
