"""Conditions that are classes, not numbers: a column of 0 and 1 for each, ``name=class``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posterion.core.errors import SampleError

__all__ = ["are_classes", "encoded", "encoded_as", "whole_name"]

_MOST = 100


def are_classes(column: Any) -> bool:
    """Whether a column holds text, or is one of pandas' categories."""
    if hasattr(getattr(column, "cat", None), "categories"):
        return True
    array = np.asarray(column)
    if array.dtype.kind in "US":
        return True
    return array.dtype.kind == "O" and any(isinstance(value, str) for value in array.flat)


def encoded(name: str, column: Any) -> dict[str, np.ndarray]:
    """A column of 0 and 1 for each class: pandas' own order, otherwise that of the alphabet.

    Raises:
        SampleError: a class is missing in some rows, or there are more than a hundred.
    """
    own = getattr(getattr(column, "cat", None), "categories", None)
    values = _texts(name, column)
    there = set(values.tolist())
    classes = sorted(there) if own is None else [text for text in map(str, own) if text in there]
    if len(classes) > _MOST:
        raise SampleError(
            f"the condition {name!r} has {len(classes)} classes, more than {_MOST}: give numbers, "
            "or join rare classes"
        )
    return {f"{name}={text}": (values == text).astype(np.float64) for text in classes}


def encoded_as(name: str, column: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of a condition whose classes are known by their ``names``; nothing if it is none.

    Raises:
        SampleError: a class that was not among them; the message names it.
    """
    classes = [known[len(name) + 1 :] for known in names if known.startswith(f"{name}=")]
    if not classes or name in names:
        return {}
    values = _texts(name, column)
    if strange := sorted(set(values.tolist()) - set(classes)):
        rows = np.flatnonzero(np.isin(values, strange))
        raise SampleError(
            f"{name}: {', '.join(map(repr, strange[:5]))} is no class that was there in training "
            f"({', '.join(map(repr, classes))}); {len(rows)} rows, the first is row {rows[0]}"
        )
    return {f"{name}={text}": (values == text).astype(np.float64) for text in classes}


def whole_name(column: str) -> str:
    """Of ``name=class``, ``name[0]`` and ``name`` the name."""
    return column.partition("=")[0].partition("[")[0]


def _texts(name: str, column: Any) -> np.ndarray:
    array = np.atleast_1d(np.asarray(column))
    if array.ndim != 1:
        raise SampleError(f"the condition {name!r} is of classes: one a row, not {array.shape}")
    values = array.tolist()
    lost = [i for i, value in enumerate(values) if value is None or value != value]
    if lost:
        raise SampleError(
            f"the condition {name!r} has no class in {len(lost)} rows, the first is row {lost[0]}: "
            "leave them out, or make it a class of its own"
        )
    return np.array([str(value) for value in values])
