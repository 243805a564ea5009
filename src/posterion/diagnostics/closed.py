"""What a closure test found: a table to print, to show, and to keep."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.portable import encode
from posterion.core.providers import provider
from posterion.diagnostics._arrays import Floats
from posterion.diagnostics._layout import Row
from posterion.diagnostics._tested import Tested
from posterion.diagnostics.calibrated import Calibration

__all__ = ["Closure", "ClosureTest", "LocalCoverage", "MarginalRatio"]

_WIDTHS = (36, 12, 10, 8)
_CROSSING = 1e-3


@dataclass(frozen=True)
class ClosureTest:
    """One test of draws against outcomes.

    Args:
        name: what is compared.
        value: of the statistic.
        p_value: probability of one as large, if the draws are right; at the least an upper bound.
        note: where, and of how much.
    """

    name: str
    value: float
    p_value: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class MarginalRatio:
    """Draws over outcomes, bin by bin, of one output.

    Args:
        name: of the output.
        where: ``""`` for all rows, or the cube in words.
        edges: of bins with as many outcomes each, ``(bins + 1,)``.
        ratio: of the counts, ``(bins,)``.
        error: of the ratio, from both counts.
        unit: of the output.
    """

    name: str
    where: str
    edges: Floats
    ratio: Floats
    error: Floats
    unit: str = ""


@dataclass(frozen=True, eq=False)
class LocalCoverage:
    """Share of outcomes within the central interval of their draws, in bins of one condition.

    Args:
        name: of the output.
        condition: name of the condition.
        level: probability of the interval.
        edges: least and greatest value of the condition in each bin, ``(bins, 2)``.
        covered: share in each bin, ``(bins,)``.
        error: the binomial error of the level, ``(bins,)``.
    """

    name: str
    condition: str
    level: float
    edges: Floats
    covered: Floats
    error: Floats


@dataclass(frozen=True, eq=False, repr=False)
class Closure(Tested):
    """Whether draws under conditions are those of the outcomes; printing it gives the report.

    Attributes:
        name: of what was measured.
        tests: each with its p-value.
        marginals: ratios of every output, of all rows and in the cube.
        coverage: in bins of every condition.
        calibration: the ranks of outcomes among draws (`Calibration`).
        rows: pairs of outcome and condition.
        inside: of them in the cube; 0 without one.
        cube: in words.
        alpha: probability that a right model is rejected, at the most.
        crossing: share of neighbouring quantiles that cross; ``None`` where none can.
        notes: whatever else the reader must know.
    """

    name: str
    tests: tuple[ClosureTest, ...]
    marginals: tuple[MarginalRatio, ...]
    coverage: tuple[LocalCoverage, ...]
    calibration: Calibration
    rows: int
    inside: int
    cube: str
    alpha: float
    crossing: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        rate = f"{100 * self.alpha:g} % of right models are rejected at the most"
        if self.ok:
            return (
                f"closes as far as {self.rows} rows tell (p = {self.p_value:.2g}; {rate}): draws "
                "under a condition cannot be told from what happened under it"
            )
        bad = [self.tests[i] for i in map(int, np.argsort(self._each())) if self._rejected(i)]
        said = ", ".join(f"{test.name} (p = {test.p_value:.2g})" for test in bad[:4])
        return (
            f"does not close (p = {self.p_value:.2g}; {rate}): {said}. The table says where; train "
            "it longer, on more rows or with a larger network, and mind whether the difference "
            "matters for its use: with enough rows any model is rejected"
        )

    def __getitem__(self, name: str) -> ClosureTest:
        """One test by its name."""
        for test in self.tests:
            if test.name == name:
                return test
        raise SettingError(
            f"there is no test {name!r}; there is {', '.join(test.name for test in self.tests)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return encode(
            {
                "name": self.name,
                "ok": self.ok,
                "verdict": self.verdict,
                "p_value": self.p_value,
                "alpha": self.alpha,
                "rows": self.rows,
                "cube": self.cube,
                "inside": self.inside,
                "crossing": self.crossing,
                "tests": [vars(test) for test in self.tests],
                "marginals": [_plain(ratio) for ratio in self.marginals],
                "coverage": [_plain(part) for part in self.coverage],
                "notes": list(self.notes),
            }
        )

    @property
    def heading(self) -> str:
        within = f", {self.inside} of them in the cube {self.cube}" if self.cube else ""
        return f"Closure of {self.name}: {self.rows} rows{within}"

    def table(self) -> list[Row]:
        rows: list[Row] = [("test", "value", "p", "verdict")]
        for k, test in enumerate(self.tests):
            verdict = "bad" if self._rejected(k) else "good"
            rows.append((test.name, f"{test.value:.3g}", f"{test.p_value:.2g}", verdict))
            rows += [(test.note,)] if test.note else []
        for where in dict.fromkeys(ratio.where for ratio in self.marginals):
            worst = max((r for r in self.marginals if r.where == where), key=_largest)
            i = int(np.argmax(np.abs(worst.ratio - 1)))
            rows.append((f"worst ratio of a bin{where}", f"{worst.ratio[i]:.3f}", "", ""))
            ends = f"{worst.edges[i]:.4g} to {worst.edges[i + 1]:.4g}"
            rows.append((f"{worst.name} from {ends}: ± {worst.error[i]:.3f}",))
        if self.crossing is not None:
            verdict = "warn" if self.crossing > _CROSSING else "good"
            rows.append(("quantiles that cross", f"{self.crossing:.2g}", "", verdict))
        return rows

    def plot(self, **options: Any) -> Any:
        """The ratios of the marginals; as `posterion.reports.closure_plot`."""
        return provider("closure_plot")(self, **options)

    def _each(self) -> Floats:
        return np.array([test.p_value for test in self.tests])

    def _lines(self) -> tuple[tuple[int, ...], list[Row]]:
        return _WIDTHS, self.table()

    def _legend(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("p", (_P,)), ("note", self.notes)]


def _largest(ratio: MarginalRatio) -> float:
    return float(np.abs(ratio.ratio - 1).max())


def _plain(part: Any) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(part).items()}


_P = (
    "of each test; the verdict multiplies the smallest by the number of tests. Each outcome is "
    "held against draws under its own condition"
)
