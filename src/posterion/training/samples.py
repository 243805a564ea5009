"""What is fitted: arrays, tables, chains and files, as rows of coordinates, context and weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.point_sets import PointSets
from posterion.io.columns import guessed_shapes
from posterion.io.streams import Rows, open_rows
from posterion.sampling.chain import Chain
from posterion.targets.parameter import Parameter
from posterion.training.categories import are_classes, encoded, encoded_as
from posterion.training.pairing import joined, read_if_path, require_same_order

_WEIGHT = "(weight)"
_CONTEXT = "context"


@dataclass(frozen=True)
class Samples:
    """Rows to learn from.

    Attributes:
        rows: the coordinates, then the context, then the weight, a column each.
        parameters: of the coordinates.
        context: names of the context's columns.
        weighted: whether there is a weight.
        form: what draws are given as: ``"array"`` where an array came in.
        notes: what to know about them.
        sets: how the context holds a set of points, where it does.
    """

    rows: Rows
    parameters: tuple[Parameter, ...]
    context: tuple[str, ...]
    weighted: bool
    form: Literal["array", "dict"]
    notes: tuple[str, ...] = ()
    sets: PointSets | None = None

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return sum(parameter.size for parameter in self.parameters)

    def cut(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates, context and weights (1 where there are none) of a chunk of rows."""
        end = self.dim + len(self.context)
        weights = chunk[:, end] if self.weighted else np.ones(len(chunk), chunk.dtype)
        return chunk[:, : self.dim], chunk[:, self.dim : end], weights

    def finite(self, chunk: np.ndarray) -> NDArray[np.bool_]:
        """Which rows of a chunk are finite, but for points that a set lacks, ``(n,)``."""
        finite = np.isfinite(chunk)
        if self.sets is not None:
            finite[:, self.dim : self.dim + len(self.context)] = self.sets.sound(
                self.cut(chunk)[1]
            )[:, None]
        return np.asarray(finite.all(axis=1))

    def conditions(self, context: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the context's location and scale are of, and weights: all points of sets alike."""
        if self.sets is None:
            return context, weights
        points, row = self.sets.each(context)
        return points, weights[row]


def gather_samples(
    samples: Any,
    *,
    weights: Any = None,
    context: Any = None,
    parameters: Sequence[Parameter] | None = None,
    sets: PointSets | None = None,
    key: str | Sequence[str] | None = None,
) -> Samples:
    """Rows of whatever holds them.

    Args:
        samples: an array (n, dim), a dict of arrays or a DataFrame, a :class:`Chain`, the path of a
            table or a list of such paths.
        weights: (n,), or the name of a column.
        context: (n, width), a dict, a DataFrame or a table's path of n rows, or names of columns.
            Columns of text, and pandas' categories, become a column of 0 and 1 for each class.
        parameters: what the coordinates are; of a table only these columns are taken.
        sets: how the context holds a set of points, where it does.
        key: column, or columns, by which rows of samples and context are paired.

    Raises:
        SampleError: not numbers, no rows, of different lengths, or not paired.
        SettingError: names of columns for an array, or arrays for a file.
        ThetaError: a column that is not there.
    """
    if isinstance(samples, Chain):
        parameters = samples.parameters if parameters is None else parameters
        samples = {n: a.reshape(-1, *a.shape[2:]) for n, a in samples.draws.items()}
    if key is not None:
        samples, context = joined(samples, context, key)
    elif (beside := read_if_path(context)) is not context:
        samples, context = read_if_path(samples), beside
    require_same_order(samples=samples, context=context, weights=weights)
    if isinstance(samples, str | Path) or _is_paths(samples):
        return replace(_of_files(samples, weights, context, parameters), sets=sets)
    notes: list[str] = []
    form: Literal["array", "dict"] = "dict"
    if isinstance(samples, Mapping) or hasattr(samples, "columns"):
        named = [context] if isinstance(context, str) else context
        table = {
            str(name): samples[name]
            if _is_names(named) and name in named and are_classes(samples[name])
            else _numbers(samples[name], str(name), notes)
            for name in samples
        }
    else:
        array = _numbers(samples, "samples", notes)
        if array.ndim != 2:
            raise SampleError(f"samples must be rows of coordinates (n, dim), got {array.shape}")
        if parameters is None:
            form, parameters = "array", (Parameter("x", shape=(array.shape[1],)),)
        if sum(p.size for p in parameters) != array.shape[1]:
            names = ", ".join(c for p in parameters for c in p.columns)
            raise SampleError(f"samples have {array.shape[1]} columns, the parameters are {names}")
        table, start = {}, 0
        for parameter in parameters:
            part = array[:, start : start + parameter.size]
            table[parameter.name] = part.reshape(-1, *parameter.shape)
            start += parameter.size
    if sets is not None and not (context is None or _is_named(context)):
        context = sets.rows(context)
    taken, beside = _context_of(context, table, notes)
    weight = _weight_of(weights, table, notes)
    if parameters is None:
        taken += [weights] if isinstance(weights, str) else []
        kept = [n for n in table if n not in taken]
        parameters = tuple(Parameter(n, shape=table[n].shape[1:]) for n in kept)
    flat: dict[str, np.ndarray] = {}
    for parameter in parameters:
        if parameter.name not in table:
            raise ThetaError(f"there is no column {parameter.name!r}; known: {', '.join(table)}")
        array = table[parameter.name]
        if array.shape[1:] != parameter.shape:
            raise SampleError(
                f"the column {parameter.name!r} has the shape {array.shape}, the parameter "
                f"{parameter.shape}"
            )
        columns = array.reshape(len(array), parameter.size)
        flat |= {name: columns[:, i] for i, name in enumerate(parameter.columns)}
    if not flat:
        raise SampleError("no column is left to be learned; all are context or weight")
    flat |= {f"({_CONTEXT}) {name}": column for name, column in beside.items()}
    if weight is not None:
        flat[_WEIGHT] = weight
    lengths = {name: len(column) for name, column in flat.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise SampleError(f"samples, context and weights have different numbers of rows: {listed}")
    if not next(iter(lengths.values())):
        raise SampleError("the samples have no rows")
    rows = open_rows(flat, dtype=np.float64)
    known = tuple(parameters), tuple(beside), weight is not None, form, tuple(notes)
    return Samples(rows, *known, sets)


def conditions_of(result: Any, context: Any) -> np.ndarray:
    """Conditions of a conditional result as `context_rows`: what it takes as its context."""
    return context_rows(context, result.context, sets=getattr(result, "sets", None))


def context_rows(
    context: Any,
    names: Sequence[str],
    *,
    what: str = "context",
    sets: PointSets | None = None,
) -> np.ndarray:
    """A condition a row, ``(rows, width)``, float64, in the order of ``names``.

    Args:
        context: rows, or by name.
        names: of its columns.
        what: for the messages.
        sets: how it holds a set of points, where it does.

    Raises:
        ThetaError: a name missing or unknown.
        SampleError: of another width, or not finite.
    """
    if isinstance(context, Mapping) or hasattr(context, "columns"):
        flat: dict[str, np.ndarray] = {}
        for name in map(str, context):
            one_hot = encoded_as(name, context[name], names)
            flat |= one_hot or _flattened({name: np.asarray(context[name])}, what)
        unknown, missing = sorted(set(flat) - set(names)), sorted(set(names) - set(flat))
        if unknown or missing:
            raise ThetaError(
                f"{what} has unknown names {unknown} and lacks {missing}; expected "
                f"{', '.join(names)}"
            )
        if len({len(column) for column in flat.values()}) > 1:
            listed = ", ".join(f"{name} {len(column)}" for name, column in flat.items())
            raise SampleError(f"columns of the {what} differ in their number of rows: {listed}")
        array = np.stack([flat[name] for name in names], axis=-1)
    else:
        array = np.asarray(context) if sets is None else sets.rows(context, what)
    if array.dtype.kind not in "biuf":
        raise SampleError(f"the {what} is no array of numbers: dtype {array.dtype}")
    array = np.atleast_2d(array) if array.ndim != 1 or len(names) != 1 else array[:, None]
    if array.ndim != 2 or array.shape[1] != len(names):
        raise SampleError(
            f"the {what} has the shape {array.shape}; expected (rows, {len(names)}): "
            f"{', '.join(names)}"
        )
    if not len(array):
        raise SampleError(f"the {what} has no rows")
    sound = np.isfinite(array).all(axis=1) if sets is None else sets.sound(array)
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        raise SampleError(f"the {what} is not finite in row {row}")
    return array.astype(np.float64)


def _is_paths(samples: Any) -> bool:
    return (
        isinstance(samples, list | tuple)
        and len(samples) > 0
        and all(isinstance(item, str | Path) for item in samples)
    )


def _of_files(
    source: Any, weights: Any, context: Any, parameters: Sequence[Parameter] | None
) -> Samples:
    wanted = [] if context is None else [context] if isinstance(context, str) else context
    if not (weights is None or isinstance(weights, str)) or not _is_names(wanted):
        raise SettingError("weights and context of samples in a file are named by its columns")
    known = open_rows(source).names
    shapes = guessed_shapes(known)
    beside = [element for name in wanted for element in _elements(name, shapes, known)]
    last = [] if weights is None else _elements(weights, shapes, known)
    if parameters is None:
        kept = [n for n in shapes if n not in wanted and n != weights]
        kept = [n for n in kept if not set(_elements(n, shapes, known)) & {*beside, *last}]
        parameters = tuple(Parameter(n, shape=shapes[n]) for n in kept)
    first = [column for parameter in parameters for column in parameter.columns]
    if not first:
        raise SampleError("no column is left to be learned; all are context or weight")
    rows = open_rows(source, [*first, *beside, *last], dtype=np.float64)
    return Samples(rows, tuple(parameters), tuple(beside), bool(last), "dict")


def _is_named(context: Any) -> bool:
    """Whether a context comes by the names of its columns."""
    held = isinstance(context, str | Mapping) or hasattr(context, "columns")
    return held or _is_names(context)


def _is_names(names: Any) -> bool:
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


def _elements(name: str, shapes: Mapping[str, tuple[int, ...]], known: Sequence[str]) -> list[str]:
    if name in known:
        return [name]
    if name in shapes:
        return Parameter(name, shape=shapes[name]).columns
    raise ThetaError(f"there is no column {name!r}; known: {', '.join(known)}")


def _numbers(value: Any, name: str, notes: list[str]) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise SampleError(f"the column {name!r} is ragged: its rows differ in length") from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise SampleError(
            f"the column {name!r} has dtype {array.dtype} and shape {array.shape}; give numbers "
            "of shape (rows, ...)"
        )
    if array.dtype == np.float16:
        notes.append(f"{name} came as float16: three digits, of which the fit sees the steps")
    return array


def _flattened(table: Mapping[str, Any], what: str) -> dict[str, np.ndarray]:
    flat = {}
    for name, array in table.items():
        if what == _CONTEXT and are_classes(array):
            flat |= encoded(name, array)
            continue
        if array.ndim == 0:
            raise SampleError(f"{what} {name!r} is one number; give one a row")
        names = Parameter(name, shape=array.shape[1:]).columns
        flat |= dict(zip(names, array.reshape(len(array), len(names)).T, strict=True))
    return flat


def _context_of(
    context: Any, table: Mapping[str, np.ndarray], notes: list[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of the table's columns that it takes, and its columns."""
    if context is None:
        return [], {}
    names: Any = [context] if isinstance(context, str) else context
    if _is_names(names):
        missing = [name for name in names if name not in table]
        if missing:
            raise ThetaError(f"there is no column {missing[0]!r}; known: {', '.join(table)}")
        return list(names), _flattened({name: table[name] for name in names}, _CONTEXT)
    if isinstance(context, Mapping) or hasattr(context, "columns"):
        held: Any = context
        given = {
            str(k): held[k] if are_classes(held[k]) else _numbers(held[k], str(k), notes)
            for k in held
        }
        return [], _flattened(given, _CONTEXT)
    array = _numbers(context, _CONTEXT, notes)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise SampleError(f"the context must be rows (n, width), got {array.shape}")
    return [], _flattened({_CONTEXT: array}, _CONTEXT)


def _weight_of(weights: Any, table: Mapping[str, np.ndarray], notes: list[str]) -> Any:
    if weights is None:
        return None
    if isinstance(weights, str):
        if weights not in table:
            raise ThetaError(f"there is no column {weights!r}; known: {', '.join(table)}")
        weights = table[weights]
    array = _numbers(weights, "weights", notes)
    if array.ndim != 1:
        raise SampleError(f"there must be one weight a row, got {array.shape}")
    return array
