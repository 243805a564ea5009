"""Settings of the wrong type or out of range, refused by name before anything is made of them."""

import math
import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError

__all__ = [
    "check_bool",
    "check_draws",
    "check_number",
    "check_positive",
    "check_share",
    "check_whole",
    "is_number",
    "is_whole",
    "path_of",
    "widths_of",
]


def is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a real and finite number, Python's or NumPy's, and no bool."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def check_whole(*, least: int | None = None, most: int | None = None, **values: Any) -> None:
    """Makes sure that settings are whole numbers, within bounds if there are any.

    Raises:
        SettingError: one is not; the message names it.
    """
    for name, value in values.items():
        fine = is_whole(value)
        fine = fine and (least is None or value >= least) and (most is None or value <= most)
        if not fine:
            bounds = [] if least is None else [f"at least {least}"]
            bounds += [] if most is None else [f"at most {most}"]
            told = ", ".join(["a whole number", *bounds])
            raise SettingError(f"{name} must be {told}; got {value!r}")


def check_draws(n: Any) -> None:
    """Makes sure that something can be drawn so many times.

    Raises:
        SettingError: no whole number of at least 1.
    """
    if not (is_whole(n) and n >= 1):
        raise SettingError(f"the number of draws must be positive and whole, got {n!r}")


def check_bool(**values: Any) -> None:
    """Makes sure that settings are True or False, Python's or NumPy's.

    Raises:
        SettingError: one is not; the message names it.
    """
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise SettingError(f"{name} must be True or False; got {value!r}")


def check_number(**values: Any) -> None:
    """Makes sure that settings are real and finite numbers.

    Raises:
        SettingError: one is not; the message names it.
    """
    for name, value in values.items():
        if not is_number(value):
            raise SettingError(f"{name} must be a finite number; got {value!r}")


def check_positive(**values: Any) -> None:
    """Makes sure that settings are positive numbers.

    Raises:
        SettingError: one is not; the message names it.
    """
    for name, value in values.items():
        if not (is_number(value) and value > 0):
            raise SettingError(f"{name} must be positive and finite, got {value!r}")


def check_share(**values: Any) -> None:
    """Makes sure that settings lie between 0 and 1, neither of them included.

    Raises:
        SettingError: one does not; the message names it.
    """
    for name, value in values.items():
        if not (is_number(value) and 0 < value < 1):
            raise SettingError(f"{name} must be a number between 0 and 1; got {value!r}")


def widths_of(name: str, values: Any, *, least: int = 1) -> tuple[int, ...]:
    """A sequence of whole numbers, such as widths of layers, as a tuple.

    Raises:
        SettingError: no sequence, or something else in it; the message names it.
    """
    several = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)
    found: list[Any] = list(values) if several else []
    if not several or not all(is_whole(value) and value >= least for value in found):
        raise SettingError(
            f"{name} must be a sequence of whole numbers, each at least {least}, such as (50, 50); "
            f"got {values!r}"
        )
    return tuple(int(value) for value in found)


def path_of(path: Any) -> Path:
    """The path of a file or a folder, ``~`` written out.

    Raises:
        SettingError: neither text nor a path.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise SettingError(
            f"a path is text or a pathlib.Path, such as 'emulator.posterion'; got {path!r}"
        )
    return Path(path).expanduser()
