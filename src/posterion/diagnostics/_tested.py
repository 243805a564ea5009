"""Several tests with one rate of false alarms, as a report to print and to show."""

from abc import ABC, abstractmethod

from posterion.diagnostics._arrays import Floats
from posterion.diagnostics._layout import Row, html_table, labelled, table, wrap

__all__ = ["Tested"]

_ACROSS = 82


class Tested(ABC):
    """A verdict over tests by Bonferroni's bound; printing it gives the report.

    Attributes:
        alpha: probability that what is right is rejected, at the most.
    """

    alpha: float

    @property
    def p_value(self) -> float:
        """The smallest of all tests, times their number (Bonferroni)."""
        return float(min(1.0, self._each().min() * len(self._each())))

    @property
    def ok(self) -> bool:
        """Whether nothing is rejected at the false-alarm rate ``alpha``."""
        return self.p_value > self.alpha

    @property
    @abstractmethod
    def heading(self) -> str:
        """What was measured."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """A sentence that says what to do."""

    @abstractmethod
    def table(self) -> list[Row]:
        """The printed table as text: the head, then the rows; one cell alone is a remark."""

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        widths, rows = self._lines()
        lines = [self.heading, "=" * min(len(self.heading), _ACROSS)]
        lines += [*wrap(self.verdict[0].upper() + self.verdict[1:] + ".", _ACROSS), ""]
        lines += [*table(rows, widths, _ACROSS), ""]
        for label, texts in self._legend():
            lines += labelled(label, texts, _ACROSS)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        facts = [(label, text) for label, texts in self._legend() for text in texts]
        return "\n".join(
            [
                '<div class="posterion-tests">',
                html_table([(self.heading,), (self.verdict,)], head=True),
                html_table(self.table(), head=True),
                html_table(facts, head=False),
                "</div>",
            ]
        )

    @abstractmethod
    def _each(self) -> Floats:
        """P-value of each test, ``(tests,)``."""

    @abstractmethod
    def _lines(self) -> tuple[tuple[int, ...], list[Row]]:
        """Widths of the columns, and the rows that are printed."""

    @abstractmethod
    def _legend(self) -> list[tuple[str, tuple[str, ...]]]:
        """What stands below the table: a label and its texts."""

    def _rejected(self, i: int) -> bool:
        return bool(self._each()[i] * len(self._each()) <= self.alpha)
