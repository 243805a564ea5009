"""Figures of an ensemble: the mean over its members, and their standard deviation as the error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SettingError, ThetaError
from posterion.core.estimate import Estimate
from posterion.core.summary import Summary, latex_text
from posterion.sampling.profiling import Profile

__all__ = ["EnsembleProfile", "EnsembleSummary", "summarise_members"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class EnsembleSummary(Summary):
    """A summary whose every number has an error: the spread of the members.

    The numbers are means over the members, which answered from the same random numbers, so that
    the noise of the draws is not in the errors.

    Args:
        errors: standard deviations over the members, in the same places.
    """

    errors: Summary | None = field(default=None)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """One row: estimates by name, intervals as two of them by ``"68%"`` and ``"hpd 68%"``."""
        if name not in self.names:
            raise ThetaError(f"there is no row {name!r}; known: {', '.join(self.names)}")
        i = self.names.index(name)
        row: dict[str, Any] = {
            key: self._estimate(lambda s, key=key: getattr(s, key)[i])
            for key in ("mean", "sd", "median")
        }
        for prefix, which in (("", "equal_tailed"), ("hpd ", "hpd")):
            for level in self.equal_tailed:
                row[f"{prefix}{100 * level:.6g}%"] = self.interval(i, level, which)
        return row

    def interval(self, i: int, level: float, which: str) -> tuple[Estimate, Estimate]:
        """Both ends of the interval of row ``i``, ``"equal_tailed"`` or ``"hpd"``."""
        low, high = (self._estimate(lambda s, k=k: getattr(s, which)[level][i, k]) for k in (0, 1))
        return low, high

    def to_pandas(self) -> Any:
        """As of any summary, with a column ``..._error`` for each number."""
        table = Summary.to_pandas(self)
        if self.errors is None:
            return table
        errors = Summary.to_pandas(self.errors).drop(columns="unit").add_suffix("_error")
        return table.join(errors)

    def to_latex(self) -> str:
        """A table for a paper, every number with its error; needs the package booktabs."""
        head, *rows = self.rows()
        cells = [[text.replace("%", r"\,\%") for text in head]]
        for row, column in zip(rows, self.columns, strict=True):
            name = column.label or latex_text(column.name)
            numbers = ["$" + text.replace("±", r"\pm") + "$" for text in row[2:]]
            cells.append([name, latex_text(column.unit), *numbers])
        lines = [" & ".join(row) + r" \\" for row in cells]
        return "\n".join(
            [
                rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The printed table as text: the head, then a row per column."""
        head = ["parameter", "unit", "mean", "sd"]
        for level in self.equal_tailed:
            head += [f"{100 * level:.6g}% from", "to"]
        rows = [tuple(head)]
        for i, column in enumerate(self.columns):
            found = self[column.name]
            cells = [column.name, column.unit, str(found["mean"]), str(found["sd"])]
            for level in self.equal_tailed:
                cells += [str(end) for end in self.interval(i, level, "equal_tailed")]
            rows.append(tuple(cells))
        return rows

    def _estimate(self, number: Callable[[Summary], Any]) -> Estimate:
        error = np.nan if self.errors is None else float(number(self.errors))
        return Estimate(float(number(self)), error)


@dataclass(frozen=True, eq=False)
class EnsembleProfile:
    """The profiles of all members on one grid.

    Attributes:
        name: of the coordinate that is held.
        grid: where, ``(m,)``.
        members: the profile of each.
        exact: that of the density itself, where it is at hand.
    """

    name: str
    grid: Floats
    members: tuple[Profile, ...]
    exact: Profile | None = None

    @property
    def t(self) -> Floats:
        """The test statistic at each point, the mean over the members, ``(m,)``."""
        return np.mean([member.t for member in self.members], axis=0)

    @property
    def t_error(self) -> Floats:
        """Its error, the standard deviation over the members, ``(m,)``."""
        return np.std([member.t for member in self.members], axis=0, ddof=1)

    @property
    def best_fit(self) -> dict[str, Any]:
        """The best fit by parameter name: an estimate, or an array of them."""
        fits = [member.best_fit for member in self.members]
        return {name: _estimates(np.array([fit[name] for fit in fits])) for name in fits[0]}

    def interval(self, probability: float = 0.6826894921370859) -> tuple[Estimate, Estimate]:
        """Confidence interval by Wilks' theorem; an end beyond a member's grid is NaN.

        Raises:
            SettingError: the probability is not between 0 and 1.
        """
        low, high = _estimates(np.array([m.interval(probability) for m in self.members]))
        return low, high


def summarise_members(found: Sequence[Summary]) -> EnsembleSummary:
    """Means and spreads of the summaries of at least two members.

    Raises:
        SettingError: there are fewer.
    """
    if len(found) < 2:
        raise SettingError("the spread of members takes at least two")
    first = found[0]
    turned = [_turned(summary, first) for summary in found]

    def joined(how: Callable[[Any], Any]) -> dict[str, Any]:
        def of(name: str) -> Any:
            return how(np.array([getattr(summary, name) for summary in turned]))

        def intervals(name: str) -> Any:
            return {
                level: how(np.array([getattr(summary, name)[level] for summary in turned]))
                for level in first.equal_tailed
            }

        single = {name: of(name) for name in ("mean", "sd", "median", "covariance")}
        return single | {name: intervals(name) for name in ("equal_tailed", "hpd")}

    shared: dict[str, Any] = {
        "columns": first.columns,
        "size": sum(summary.size for summary in found),
        "effective": sum(summary.effective for summary in found),
    }
    notes = tuple(dict.fromkeys(note for summary in found for note in summary.notes))
    errors = Summary(**joined(lambda a: a.std(axis=0, ddof=1)), **shared)
    return EnsembleSummary(**joined(lambda a: a.mean(axis=0)), **shared, notes=notes, errors=errors)


def _turned(summary: Summary, first: Summary) -> Summary:
    """With positions on circles moved by whole turns to be near those of the first."""
    periods = np.array([column.period or np.inf for column in first.columns])
    if not np.isfinite(periods).any():
        return summary

    def near(x: Floats, reference: Floats, turn: Floats) -> Floats:
        turns = np.round(np.where(np.isfinite(turn), (reference - x) / turn, 0.0))
        return x + np.where(turns != 0, turns * np.where(np.isfinite(turn), turn, 0.0), 0.0)

    def ends(own: Any, reference: Any) -> dict[float, Floats]:
        return {
            level: own[level]
            + (near(middle, reference[level].mean(axis=1), periods) - middle)[:, None]
            for level in own
            for middle in [own[level].mean(axis=1)]
        }

    return Summary(
        columns=summary.columns,
        mean=near(summary.mean, first.mean, periods),
        sd=summary.sd,
        median=near(summary.median, first.median, periods),
        equal_tailed=ends(summary.equal_tailed, first.equal_tailed),
        hpd=ends(summary.hpd, first.hpd),
        covariance=summary.covariance,
        size=summary.size,
        effective=summary.effective,
        notes=summary.notes,
    )


def _estimates(values: Floats) -> Any:
    """Estimates over the first axis: one, or an array of them."""
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    if values.ndim == 1:
        return Estimate(float(mean), float(spread))
    found = np.empty(mean.shape, object)
    for index in np.ndindex(*mean.shape):
        found[index] = Estimate(float(mean[index]), float(spread[index]))
    return found
