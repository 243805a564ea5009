"""A number with its standard error."""

import math
from dataclasses import dataclass

from posterion.core.errors import SettingError
from posterion.core.registry import register

__all__ = ["Estimate"]

_TINY = 1e-4  # below it, and with errors above _HUGE, a common power of ten is pulled out
_HUGE = 1e6


@register("estimate")
@dataclass(frozen=True)
class Estimate:
    """A value and its standard error (one sigma), in the same unit.

    Printed with two digits of the error, as in a table of results.

    Args:
        value: the central value; may be infinite or NaN where that is what came out.
        error: its standard error; NaN where it is unknown.

    Raises:
        SettingError: the error is negative.

    >>> print(Estimate(-14.575823, 0.000312))
    -14.57582 ± 0.00031
    >>> print(Estimate(1234.5, 123.4), Estimate(3.2e-8, 1e-10), sep="; ")
    1230 ± 120; (3.200 ± 0.010)e-08
    >>> Estimate(1.0, 0.5).pull(Estimate(2.0, 0.0))
    -2.0
    """

    value: float | int
    error: float | int = math.nan

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "error", float(self.error))
        if self.error < 0:
            raise SettingError(f"the standard error of an estimate is negative: {self.error:g}")

    def __str__(self) -> str:
        return self.text()

    def text(self, *, ascii: bool = False) -> str:
        """The value and its error; with ``ascii`` the sign between them is ``+-``."""
        sign = "+-" if ascii else "±"
        if not (math.isfinite(self.value) and math.isfinite(self.error)):
            error = "unknown" if math.isnan(self.error) else f"{self.error:.2g}"
            return f"{self.value:.8g} {sign} {error}"
        if self.error == 0:
            return f"{self.value:.10g} {sign} 0"
        largest = max(abs(self.value), self.error)
        if largest < _TINY or self.error >= _HUGE:
            power = _exponent(largest)
            value, error = _rounded(self.value / 10.0**power, self.error / 10.0**power)
            return f"({value} {sign} {error})e{power:+03d}"
        value, error = _rounded(self.value, self.error)
        return f"{value} {sign} {error}"

    def pull(self, other: "Estimate") -> float:
        """The difference of two independent estimates in units of its standard error.

        Zero where both agree exactly, infinite where they differ and neither has an error.
        """
        difference = self.value - other.value
        error = math.hypot(self.error, other.error)
        if difference == 0:
            return 0.0
        return math.copysign(math.inf, difference) if error == 0 else difference / error


def _exponent(x: float) -> int:
    """The power of ten of ``x`` after rounding to two digits (0.0996 has -1)."""
    return int(f"{x:.1e}".partition("e")[2])


def _rounded(value: float, error: float) -> tuple[str, str]:
    decimals = 1 - _exponent(error)
    if decimals < 0:  # 1234 +- 123 is 1230 +- 120
        return f"{round(value, decimals):z.0f}", f"{round(error, decimals):.0f}"
    return f"{value:z.{decimals}f}", f"{error:.{decimals}f}"
