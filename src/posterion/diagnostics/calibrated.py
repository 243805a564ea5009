"""What a calibration found: a table to print, to show, and to keep."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.portable import encode
from posterion.core.providers import provider
from posterion.diagnostics._arrays import Floats
from posterion.diagnostics._layout import Row
from posterion.diagnostics._tested import Tested

__all__ = ["COVERAGES", "LOG_DENSITY", "TARP", "Calibration"]

COVERAGES = (0.6826894921370859, 0.9544997361036416, 0.9973002039367398)
"""Probabilities of one, two and three standard deviations."""
LOG_DENSITY, TARP = "log-density", "distance"

_SHOWN = 20
_WIDTHS = (16, 8, 12, 12, 14, 9)


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Tested):
    """Whether posteriors are as sure as they may be; printing it gives the report.

    Attributes:
        name: of what was measured.
        names: of the quantities: first the coordinates, then joint ones.
        coordinates: how many of them are coordinates.
        pit: where each truth lies among its draws, as a fraction, ``(n, quantities)``: uniform if
            calibrated.
        p_values: of each quantity, by the band of its empirical distribution, ``(quantities,)``.
        draws: for each pair.
        alpha: probability that a right posterior is rejected, at the most, over all quantities.
        shrinkage: spread of the draws over that of the truths, by coordinate: 1 where nothing was
            learned.
        notes: whatever else the reader must know.
    """

    name: str
    names: tuple[str, ...]
    coordinates: int
    pit: Floats
    p_values: Floats
    draws: int
    alpha: float
    shrinkage: Floats
    notes: tuple[str, ...] = ()

    @property
    def pairs(self) -> int:
        """Number of pairs of parameters and context."""
        return len(self.pit)

    @property
    def verdict(self) -> str:
        rate = f"{100 * self.alpha:g} % of right posteriors are rejected at the most"
        if self.ok:
            return (
                f"calibrated as far as {self.pairs} pairs tell (p = {self.p_value:.2g}; {rate}): "
                "its regions hold the probability they state, averaged over the prior"
            )
        bad = [i for i in map(int, np.argsort(self.p_values)) if self._rejected(i)]
        said = ", ".join(f"{self.names[i]} ({self.reads(i)})" for i in bad[:4])
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        return (
            f"not calibrated (p = {self.p_value:.2g}; {rate}): {said}{more}. Do not quote its "
            "regions: train it on more pairs, longer, or with a larger flow"
        )

    def coverage(self, name: str, level: float | int = COVERAGES[0]) -> Estimate:
        """Share of the truths in the region of probability ``level``, with the binomial error.

        The region is the central interval; of the log-density that of highest density, of the
        distance the ball around its point.

        Raises:
            SettingError: no such quantity, or a level that is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise SettingError(f"a level lies between 0 and 1, got {level}")
        u = self[name]
        if name == LOG_DENSITY:
            inside = u >= 1 - level
        elif name == TARP:
            inside = u <= level
        else:
            inside = np.abs(2 * u - 1) <= level
        return Estimate(float(inside.mean()), float(np.sqrt(level * (1 - level) / self.pairs)))

    def __getitem__(self, name: str) -> Floats:
        """Where the truths lie among the draws of one quantity, ``(n,)``."""
        if name not in self.names:
            raise SettingError(f"there is no quantity {name!r}; there is {', '.join(self.names)}")
        return self.pit[:, self.names.index(name)]

    def plot(self, **options: Any) -> Any:
        """The empirical distributions with their band; as `posterion.reports.calibration_plot`."""
        return provider("calibration_plot")(self, **options)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return encode(
            {
                "name": self.name,
                "ok": self.ok,
                "verdict": self.verdict,
                "p_value": self.p_value,
                "alpha": self.alpha,
                "pairs": self.pairs,
                "draws": self.draws,
                "quantities": {name: self._facts(i) for i, name in enumerate(self.names)},
                "notes": list(self.notes),
            }
        )

    @property
    def heading(self) -> str:
        return f"Calibration of {self.name}: {self.pairs} pairs, {self.draws} draws each"

    def table(self) -> list[Row]:
        levels = [f"{100 * level:.1f} %" for level in COVERAGES]
        rows: list[Row] = [("quantity", "p", *levels, "sd/prior")]
        order = list(range(len(self.names)))
        if len(order) > _SHOWN:
            order = sorted(order, key=lambda i: self.p_values[i])
        for i in order:
            cells = [self.names[i], f"{self.p_values[i]:.2g}"]
            for level in COVERAGES:
                found = self.coverage(self.names[i], level)
                cells.append(f"{100 * found.value:.1f} ± {100 * found.error:.1f}")
            cells.append(f"{self.shrinkage[i]:.3f}" if i < self.coordinates else "")
            rows.append(tuple(cells))
        return rows

    def _each(self) -> Floats:
        return self.p_values

    def _lines(self) -> tuple[tuple[int, ...], list[Row]]:
        rows = self.table()
        hidden = len(rows) - 1 - _SHOWN
        more = [(f"and {hidden} more with larger p-values: see to_json()",)] if hidden > 0 else []
        return _WIDTHS, [*rows[: _SHOWN + 1], *more]

    def _legend(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("coverage", (_COVERAGE,)), ("p", (_P,)), ("note", self._said)]

    @property
    def _said(self) -> tuple[str, ...]:
        coarse = [level for level in COVERAGES if (1 - level) * (self.draws + 1) < 1]
        if not coarse:
            return self.notes
        return (
            f"{self.draws} draws barely reach the tails beyond {100 * coarse[0]:.1f} %: for them "
            f"take at least {int(np.ceil(1 / (1 - coarse[-1])))}",
            *self.notes,
        )

    def _facts(self, i: int) -> dict[str, Any]:
        name = self.names[i]
        covered = {level: self.coverage(name, level) for level in COVERAGES}
        found: dict[str, Any] = {
            "p_value": float(self.p_values[i]),
            "reads": self.reads(i),
            "coverage": {
                f"{level:.4f}": {"value": e.value, "error": e.error} for level, e in covered.items()
            },
        }
        return found | ({"shrinkage": float(self.shrinkage[i])} if i < self.coordinates else {})

    def reads(self, i: int) -> str:
        """What the ranks of one quantity say of the draws; empty where they are not rejected."""
        if not self._rejected(i):
            return ""
        u, n, name = self.pit[:, i], self.pairs, self.names[i]
        shift = (u.mean() - 0.5) * np.sqrt(12 * n)
        spread = (np.square(u - 0.5).mean() - 1 / 12) * np.sqrt(180 * n)
        if name == LOG_DENSITY:
            return "too narrow" if shift < 0 else "too wide"
        if name == TARP:
            return "truths too far" if shift > 0 else "truths too near"
        if abs(shift) > abs(spread):
            return "too high" if shift < 0 else "too low"
        return "too narrow" if spread > 0 else "too wide"


_COVERAGE = (
    "share of the truths in central intervals; of the log-density in regions of highest density, "
    "of the distance in balls around a point that depends on the context (TARP); with the binomial "
    "error of the stated level"
)
_P = (
    "of uniform ranks, by the simultaneous band of their distribution; the verdict multiplies the "
    "smallest by the number of quantities. sd/prior: spread of the draws over that of the truths"
)
