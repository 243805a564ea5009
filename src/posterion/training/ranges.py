"""Conditions outside of what a fit has seen in training: which, and a warning that says how far."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.training.categories import whole_name
from posterion.training.samples import conditions_of

__all__ = ["beyond", "classes_in", "strange_classes", "said_once", "warn", "warn_outside"]

_logger = logging.getLogger("posterion")
_said: ContextVar[bool] = ContextVar("said", default=False)
_ROUNDING = 1e-6
_BARELY, _FEW = 0.05, 0.01  # the end of a tail: no reason for a warning


def beyond(rows: np.ndarray, seen: np.ndarray) -> NDArray[np.float64]:
    """How far conditions lie outside, in lengths of the range; 0 within.

    Args:
        rows: ``(n, width)``.
        seen: least and greatest value of each column, ``(2, width)``.
    """
    low, high = seen
    length = high - low
    length = np.where(length > 0, length, np.maximum(np.abs(high), 1.0))
    far = np.maximum(np.maximum(low - rows, rows - high), 0.0) / length
    return np.where(far > _ROUNDING, far, 0.0)


def classes_in(columns: Sequence[str], rows: np.ndarray) -> tuple[str, ...]:
    """Conditions of which columns ``name=class`` hold one class in every row.

    Args:
        columns: of the context.
        rows: in training, ``(n, width)``.
    """
    names = dict.fromkeys(whole_name(column) for column in columns if "=" in column)
    found = [name for name in names if len(_columns_of(name, columns)) > 1]
    return tuple(name for name in found if _of_one_class(name, columns, rows).all())


def strange_classes(
    columns: Sequence[str], rows: np.ndarray, classes: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Of each of ``classes`` that has some, which rows ``(n,)`` are of no class, or of several."""
    fine = {name: _of_one_class(name, columns, rows) for name in classes}
    return {name: ~one for name, one in fine.items() if not one.all()}


def _of_one_class(name: str, columns: Sequence[str], rows: np.ndarray) -> NDArray[np.bool_]:
    given = rows[:, _columns_of(name, columns)]
    return np.asarray(np.isin(given, (0, 1)).all(axis=1) & (given.sum(axis=1) == 1))


def _columns_of(name: str, columns: Sequence[str]) -> list[int]:
    return [i for i, column in enumerate(columns) if column.startswith(f"{name}=")]


def warn_outside(
    name: str,
    columns: Sequence[str],
    rows: np.ndarray,
    seen: np.ndarray | None,
    classes: Sequence[str] = (),
) -> None:
    """Logs a warning where conditions lie outside of the range that was seen.

    A few rows of many, by less than a twentieth of the range, are the end of a tail and pass.

    Args:
        name: of the fit.
        columns: of the context.
        rows: ``(n, width)``.
        seen: as in `beyond`; ``None`` of a fit that does not know.
        classes: conditions of which each row has one class.
    """
    if seen is None or _said.get():
        return
    for what, strange in strange_classes(columns, rows, classes).items():
        _logger.warning(
            "%d of %d conditions have no %s, or several: of its columns one is 1 and the others "
            "are 0; %r takes the classes by name too, %s=[...]",
            strange.sum(),
            len(rows),
            what,
            name,
            what,
        )
    far = beyond(rows, seen)
    out = far > 0
    outside = out.any(axis=1)
    if not outside.any() or (far.max() <= _BARELY and outside.mean() <= _FEW):
        return
    worst = np.argsort(-far.max(axis=0), kind="stable")
    said = [
        f"{columns[i]} in {out[:, i].sum()} (seen: {seen[0, i]:.6g} to {seen[1, i]:.6g}; up to "
        f"{far[:, i].max():.2g} of that range beyond)"
        for i in worst[:5]
        if out[:, i].any()
    ]
    _logger.warning(
        "%d of %d conditions lie outside of what %r was trained on: %s; what it says there is "
        "extrapolation, and outside(context) says of which rows",
        outside.sum(),
        len(rows),
        name,
        ", ".join(said),
    )


def warn(text: str) -> None:
    """Logs a warning, unless it stands within `said_once`."""
    if not _said.get():
        _logger.warning("%s", text)


@contextmanager
def said_once(result: object, context: Any) -> Iterator[None]:
    """Warns of conditions now, and no more within: for what asks a fit many times over."""
    first = getattr(result, "members", (result,))[0]
    names, seen = getattr(first, "context", ()), getattr(first, "context_range", None)
    if context is not None and seen is not None:
        rows = conditions_of(first, context)
        classes = getattr(first, "classes", ())
        warn_outside(str(getattr(result, "name", "")), names, rows, seen, classes)
    token = _said.set(True)
    try:
        yield
    finally:
        _said.reset(token)
