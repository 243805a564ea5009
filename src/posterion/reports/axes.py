"""Labels and ticks: units and powers of ten in the label, short numbers on the ticks."""

import math
import re
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axis import XAxis, YAxis
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator, MultipleLocator

from posterion.core.columns import Column

__all__ = ["axis_label", "dress_axis", "plain", "scaling", "unit_text"]

_MARGIN = 0.06
_MINUS = "\N{MINUS SIGN}"
_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def axis_label(column: Column, *, offset: float | int = 0.0, power: int = 0) -> str:
    """The label of a column's axis: its LaTeX label or name, and in brackets the unit.

    Text that Matplotlib cannot set as mathematics stands as it is.

    Args:
        column: name, label and unit.
        offset: number that was subtracted from the ticks.
        power: of ten that was divided out of them.

    >>> axis_label(Column("m", "MeV"), power=3)
    'm [$10^{3}$ MeV]'
    """
    text = plain(column.name) if column.label is None else checked(column.label)
    if offset:
        sign = "+" if offset < 0 else _MINUS
        text = f"{text} {sign} {abs(offset):.15g}"
    unit = column.unit
    if power:
        own, unit = _leading_power(unit)
        parts = [f"$10^{{{power + own}}}$" if power + own else "", unit_text(unit)]
        unit = " ".join(part for part in parts if part)
    else:
        unit = unit_text(unit)
    return checked(f"{text} [{unit}]") if unit else text


def unit_text(unit: str) -> str:
    """A unit as a physicist writes it: ``1e-3 eV^2`` with raised powers, ``deg`` as a sign.

    >>> unit_text("1e-3 eV^2"), unit_text("deg")
    ('$10^{-3}$ eV$^{2}$', '°')
    """
    if "$" in unit:
        return checked(unit)
    text = re.sub(r"\^\{?(-?\d+)\}?", r"$^{\1}$", unit)
    text = re.sub(r"\b1e([+-]?\d+)\b", lambda m: f"$10^{{{int(m[1])}}}$", text)
    return "°" if text in ("deg", "degree", "degrees") else text


def plain(text: str) -> str:
    r"""Text that Matplotlib shows letter by letter.

    >>> print(plain("cost in $"))
    cost in \$
    """
    return text.replace("$", r"\$")


def checked(text: str) -> str:
    """Text with mathematics if Matplotlib can set it, letter by letter if not."""
    return text if _can_be_set(text) else plain(text)


def dress_axis(
    axis: XAxis | YAxis,
    column: Column,
    lower: float | int,
    upper: float | int,
    *,
    ticks: int = 4,
    label: bool = True,
    inside: bool = False,
) -> None:
    """Set limits, ticks and label of an axis that shows a column.

    Numbers below 1e-3 or from 1e5 are divided by a power of ten, which goes to the label; where
    more than seven digits would be needed, so does an offset. Ticks beyond the cut of a circle show
    the number that they stand for. With ``inside`` none stands at the ends, where the panel beside
    has its own.
    """
    offset, power = scaling(lower, upper)
    (axis.axes.set_xlim if isinstance(axis, XAxis) else axis.axes.set_ylim)(lower, upper)
    turn = column.period
    whole = turn is not None and upper - lower > 0.75 * turn
    radians = turn is not None and math.isclose(turn, 2 * math.pi, rel_tol=1e-6)
    if turn is not None and (offset or power):
        turn = None
    if turn is not None and whole and radians:
        axis.set_major_locator(MultipleLocator(math.pi / 2))
        axis.set_major_formatter(_Radians())
    else:
        degrees = whole and turn is not None and math.isclose(turn, 360.0)
        steps = MultipleLocator(90) if degrees else MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10])
        axis.set_major_locator(steps)
        axis.set_major_formatter(_Short(offset, power, column, turn))
    if inside:
        margin = _MARGIN * (upper - lower)
        values = np.asarray(axis.get_major_locator().tick_values(lower, upper))
        kept = values[(values > lower + margin) & (values < upper - margin)]
        axis.set_major_locator(FixedLocator(kept.tolist()))
    if label:
        axis.set_label_text(axis_label(column, offset=offset, power=power))


class _Short(Formatter):
    """Plain decimals, as many as the ticks' spacing needs."""

    def __init__(self, offset: float, power: int, column: Column, turn: float | None):
        self._offset, self._power, self._column, self._turn = offset, power, column, turn

    def __call__(self, x: float, pos: Any = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Any) -> list[str]:
        scaled = [(self._shown(x) - self._offset) / 10.0**self._power for x in values]
        step = abs(values[1] - values[0]) / 10.0**self._power if len(values) > 1 else 0.01
        decimals = next(d for d in range(16) if d == 15 or _is_whole(step * 10**d))
        return [f"{x:z.{decimals}f}".replace("-", _MINUS) for x in scaled]

    def _shown(self, x: float) -> float:
        if self._turn is None or self._column.lower is None:
            return x
        start, tiny = float(self._column.lower), 1e-9 * self._turn
        while x > start + self._turn + tiny:
            x -= self._turn
        while x < start - tiny:
            x += self._turn
        return x


class _Radians(Formatter):
    """Multiples of pi / 2."""

    def __call__(self, x: float, pos: Any = None) -> str:
        halves = round(2 * x / math.pi)
        if halves == 0:
            return "0"
        sign, halves = (_MINUS if halves < 0 else ""), abs(halves)
        if halves % 2 == 0:
            return f"{sign}{'' if halves == 2 else halves // 2}π"
        return f"{sign}{'' if halves == 1 else halves}π/2"


def _is_whole(x: float) -> bool:
    return bool(abs(x - round(x)) < 1e-6 * max(abs(x), 1.0))


def scaling(lower: float | int, upper: float | int) -> tuple[float, int]:
    """The offset and the power of ten that leave short numbers on the ticks of an axis."""
    largest, span = float(max(abs(lower), abs(upper))), float(upper - lower)
    if not (math.isfinite(largest) and span > 0):
        return 0.0, 0
    power = _power(largest)
    step = math.floor(math.log10(span / 4))
    digits = math.floor(math.log10(largest)) - step + 1
    if digits <= 6:
        return 0.0, power
    unit = 10.0 ** math.ceil(math.log10(span))
    offset = round((lower + upper) / 2 / unit) * unit
    offset = float(f"{offset:.15g}")
    return offset, _power(max(abs(lower - offset), abs(upper - offset)))


def _leading_power(unit: str) -> tuple[int, str]:
    """The power of ten that a unit begins with, and the rest of it."""
    found = re.match(r"(?:1e(?P<e>[+-]?\d+)|10\^?(?P<raised>[-⁻⁰¹²³⁴⁵⁶⁷⁸⁹\d]+))\s+", unit)
    if found is None:
        return 0, unit
    digits = (found["e"] or found["raised"]).translate(_LOWERED)
    return int(digits), unit[found.end() :]


def _power(largest: float) -> int:
    if 1e-2 <= largest < 1e5:
        return 0
    return 3 * math.floor(math.log10(largest) / 3)


@cache
def _can_be_set(text: str) -> bool:
    try:
        MathTextParser("path").parse(text)
    except (ValueError, RuntimeError):
        return False
    return True
