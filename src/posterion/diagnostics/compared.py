"""What a comparison of two samples found: a table to print, to show, and to keep."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.portable import encode
from posterion.diagnostics._layout import Row, html_table, labelled, table, wrap

__all__ = ["Comparison", "Metric"]

_INSIDE = 2.14  # sd above the floor of 20 repetitions: one in forty of a normal (Student's t)
_WIDTHS = (27, 10, 19, 9, 9)


@dataclass(frozen=True)
class Metric:
    """One metric of two samples, beside its floor.

    Attributes:
        key: its name in a program and in JSON.
        label: its name in a table.
        value: the median over the columns; or the number of all columns together.
        floor: of truth against truth: mean, and the spread from one repetition to the next.
        larger_is_better: as for a p-value.
        gaussian: the same of a plain normal.
        worst: over the columns.
        worst_floor: the worst of truth against truth.
        column: where the worst is.
        columns: the number of every column.
        kind: how it is judged: ``"test"`` with the verdict of all; ``"shown"`` beside its floor
            alone, where it repeats another or has no bound; ``"limit"`` not at all: its floor is a
            limit that no model reaches, such as ESS/N = 1.
    """

    key: str
    label: str
    value: float
    floor: Estimate
    larger_is_better: bool = False
    gaussian: float | None = None
    worst: float | None = None
    worst_floor: Estimate | None = None
    column: str | None = None
    columns: tuple[float, ...] = ()
    kind: Literal["test", "shown", "limit"] = "test"

    @property
    def pull(self) -> float:
        """By how many of the floor's standard deviations it is worse than the floor."""
        return self._pull(self.value, self.floor)

    @property
    def worst_pull(self) -> float:
        """Likewise of the worst column; NaN where there is none."""
        if self.worst is None or self.worst_floor is None:
            return math.nan
        return self._pull(self.worst, self.worst_floor)

    @property
    def at_floor(self) -> bool:
        """Whether median and worst lie within the spread of their floors."""
        return not self.pull > _INSIDE and not self.worst_pull > _INSIDE

    def _pull(self, value: float, floor: Estimate) -> float:
        pull = Estimate(value, 0.0).pull(floor) if self.kind != "limit" else math.nan
        return -pull if self.larger_is_better else pull

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        found: dict[str, Any] = {
            "label": self.label,
            "value": self.value,
            "floor": {"mean": self.floor.value, "sd": self.floor.error},
            "gaussian": self.gaussian,
        }
        if self.kind != "limit":
            found |= {"pull": self.pull, "at_floor": self.at_floor}
        if self.worst_floor is not None:
            found["worst"] = {
                "value": self.worst,
                "floor": {"mean": self.worst_floor.value, "sd": self.worst_floor.error},
                "pull": self.worst_pull,
                "column": self.column,
            }
        return encode(found | {"columns": list(self.columns)})


@dataclass(frozen=True, repr=False)
class Comparison:
    """A sample beside a reference; printing it gives the table.

    Attributes:
        names: of the columns.
        rows: of the sample and of the reference.
        effective: what they are worth: Kish's number where there are weights.
        metrics: of the table.
        limit: largest pull of truth against truth that is exceeded once in about twenty times.
        repeats: of the floor.
        batches: of the KS p-value.
        notes: whatever else the reader must know.
        labels: what the two samples are called.
    """

    names: tuple[str, ...]
    rows: tuple[int, int]
    effective: tuple[float, float]
    metrics: tuple[Metric, ...]
    limit: float
    repeats: int
    batches: int
    notes: tuple[str, ...] = ()
    labels: tuple[str, str] = ("first", "second")

    def __getitem__(self, key: str) -> Metric:
        for metric in self.metrics:
            if metric.key == key:
                return metric
        known = ", ".join(metric.key for metric in self.metrics)
        raise SettingError(f"there is no metric {key!r}; there is {known}")

    @property
    def largest(self) -> tuple[str, float]:
        """The figure that is furthest above its floor, and by how many spreads."""
        return max(self._pulls, key=lambda pull: pull[1])

    @property
    def at_floor(self) -> bool:
        """Whether its largest pull is no larger than truth against truth reaches."""
        return self.largest[1] <= self.limit

    @property
    def verdict(self) -> str:
        """A sentence."""
        name, pull = self.largest
        if self.at_floor:
            return (
                f"at the floor: the largest pull that judges is {pull:.1f} ({name}); truth against "
                f"truth exceeds {self.limit:.1f} once in about twenty times"
            )
        above = sum(pull > _INSIDE for _, pull in self._pulls)
        return (
            f"above the floor: {name} by {pull:.1f} spreads, where truth against truth exceeds "
            f"{self.limit:.1f} once in about twenty times; {above} of {len(self._pulls)} figures "
            f"are above {_INSIDE:g}"
        )

    @property
    def _beside(self) -> str:
        """What is shown without judging."""
        shown = [metric.label for metric in self.metrics if metric.kind == "shown"]
        return f"; shown, not judged: {'; '.join(shown)}" if shown else ""

    @property
    def _pulls(self) -> list[tuple[str, float]]:
        judged = [m for m in self.metrics if m.kind == "test"]
        found = [(m.label, m.pull) for m in judged]
        return found + [
            (f"{m.label} of {m.column}", m.worst_pull) for m in judged if m.worst is not None
        ]

    def extended(self, *metrics: Metric, notes: tuple[str, ...] = ()) -> "Comparison":
        """With more metrics and notes."""
        return replace(self, metrics=self.metrics + metrics, notes=self.notes + notes)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [self.heading, "=" * min(len(self.heading), 82)]
        lines += [*wrap(self.verdict[0].upper() + self.verdict[1:], 82), ""]
        lines += table(self._rows(), _WIDTHS, 82)
        lines += ["", *labelled("sizes", [self.sizes], 82), *labelled("floor", [self.basis], 82)]
        lines += labelled("note", self.notes, 82)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        facts = [("sizes", self.sizes), ("floor", self.basis), *(("note", n) for n in self.notes)]
        return "\n".join(
            [
                '<div class="posterion-comparison">',
                html_table([(self.heading,), (self.verdict,)], head=True),
                html_table(self._rows(), head=True),
                html_table(facts, head=False),
                "</div>",
            ]
        )

    @property
    def heading(self) -> str:
        """What is compared with what."""
        count = f"{len(self.names)} column{'s' if len(self.names) > 1 else ''}"
        return f"{self.labels[0]} against {self.labels[1]}, {count}"

    @property
    def sizes(self) -> str:
        """The numbers of rows, and what they are worth, in words."""
        said = []
        for label, n, worth in zip(self.labels, self.rows, self.effective, strict=True):
            beside = f" (worth {worth:.0f})" if round(worth) < n else ""
            said.append(f"{label} {n}{beside}")
        return ", ".join(said)

    @property
    def basis(self) -> str:
        """What the floor is, in words."""
        return (
            f"truth against truth, {self.repeats} pairs of bootstrap samples of the reference of "
            f"these sizes: mean and spread. Where there is a worst column, the line before is the "
            f"median; 'above' is by more than {_INSIDE:g} spreads, about one in twenty by chance"
            f"{self._beside}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN as in `posterion.core.portable`."""
        return {
            "at_floor": self.at_floor,
            "verdict": self.verdict,
            "limit": self.limit,
            "labels": list(self.labels),
            "names": list(self.names),
            "rows": list(self.rows),
            "effective": list(self.effective),
            "repeats": self.repeats,
            "batches": self.batches,
            "metrics": {metric.key: metric.to_json() for metric in self.metrics},
            "notes": list(self.notes),
        }

    def _rows(self) -> list[Row]:
        rows: list[Row] = [("metric", "found", "floor", "Gaussian", "verdict")]
        for m in self.metrics:
            beside = "" if m.gaussian is None else f"{m.gaussian:.3g}"
            verdict = _verdict(m.pull)
            rows.append((m.label, f"{m.value:.3g}", _floor(m), beside, verdict))
            if m.worst is not None and m.worst_floor is not None:
                floor, verdict = str(m.worst_floor), _verdict(m.worst_pull)
                rows.append((f"  worst: {m.column}", f"{m.worst:.3g}", floor, "", verdict))
        return rows


def _floor(metric: Metric) -> str:
    return str(metric.floor) if metric.floor.error != 0 else f"{metric.floor.value:g}"


def _verdict(pull: float) -> str:
    if math.isnan(pull):
        return ""
    return f"above {pull:.1f}" if pull > _INSIDE else "at floor"
