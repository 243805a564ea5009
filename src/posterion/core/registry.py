"""Objects to plain data and back: how a bundle stores a flow without storing code.

A class is registered under a name; an object of it becomes a tree of JSON values, with its arrays
set aside by the path of the leaf. To rebuild, the name is looked up here: a file can only name
classes that Posterion registered, and their fields are set without running ``__init__``.

The tree holds None, booleans, integers, finite floats, strings and lists as themselves, and

- ``{"type": name, "version": 1, "fields": {...}}`` for an object of a registered class,
- ``{"array": path, "library": "numpy" | "jax"}`` for an array,
- ``{"tuple": [...]}``, ``{"dict": {...}}``, ``{"float": "nan" | "inf" | "-inf"}``.
"""

import enum
import importlib
import math
import pkgutil
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import nullcontext, suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from posterion.core.errors import BundleError, BundleVersionError

__all__ = ["ROOMS", "from_tree", "register", "to_tree"]

ROOMS = (
    "posterion.core",
    "posterion.networks",
    "posterion.bijections",
    "posterion.distributions",
    "posterion.targets",
    "posterion.diagnostics",
    "posterion.training",
    "posterion.emulators",
    "posterion.integration",
)
"""Where registered classes live: imported in this order until a stored name is known."""

_DEPTH = 100  # no honest object nests deeper
_KINDS = "biufc"  # bool, int, uint, float, complex
_ATOMS = (bool, int, str)

Fields = dict[str, Any]
C = TypeVar("C", bound=type[Any])


@dataclass(frozen=True)
class _Entry:
    name: str
    version: int
    to_fields: Callable[[Any], Mapping[str, Any]]
    from_fields: Callable[[Fields], Any]
    upgrade: Callable[[int, Fields], Fields] | None


_by_name: dict[str, _Entry] = {}
_by_class: dict[str, _Entry] = {}


def register(
    name: str,
    *,
    version: int = 1,
    upgrade: Callable[[int, Fields], Fields] | None = None,
    kept: Callable[[Any], Any] | None = None,
    check: Callable[[Any], None] | None = None,
) -> Callable[[C], C]:
    """Register a frozen dataclass, an Equinox module or an enumeration for storage, as decorator.

    Every dataclass field is stored, those with ``init=False`` too. A field that an old file lacks
    takes its default.

    Args:
        name: what stands in files, for good: choose it like a file format's keyword.
        version: raise it when the fields change their meaning.
        upgrade: turns the fields of an older version into those of this one.
        kept: gives the object that is stored in an object's stead, of the same class.
        check: raises where a rebuilt object is not sound; only for dataclasses.

    Raises:
        TypeError: the class is none of the three kinds.
        ValueError: the name belongs to another class.

    >>> @register("doctest_interval")
    ... @dataclass(frozen=True)
    ... class Interval:
    ...     lower: float
    ...     upper: float
    >>> arrays = {}
    >>> tree = to_tree(Interval(0.0, float("inf")), arrays)
    >>> tree["fields"]
    {'lower': 0.0, 'upper': {'float': 'inf'}}
    >>> from_tree(tree, arrays)
    Interval(lower=0.0, upper=inf)
    """

    def decorate(cls: C) -> C:
        kind: Any = cls
        if issubclass(kind, enum.Enum):
            to_fields, from_fields = _enum_fields, lambda values: kind[values["name"]]
        elif is_dataclass(kind):
            to_fields, from_fields = (
                partial(_dataclass_fields, kept),
                partial(_rebuild, kind, check),
            )
        else:
            raise TypeError(f"{cls.__name__} is no dataclass, Equinox module or enumeration")
        _add(_Entry(name, version, to_fields, from_fields, upgrade), _class_key(cls))
        return cls

    return decorate


def to_tree(obj: Any, arrays: MutableMapping[str, np.ndarray], name: str = "") -> Any:
    """Turn ``obj`` into a tree of JSON values, and add its arrays to ``arrays``.

    Args:
        obj: a registered object, an array (NumPy or JAX), None, a number, a string, or tuples,
            lists and dicts (with string keys) of these.
        arrays: receives each array under its leaf's path, dtype and shape kept.
        name: the path of ``obj`` itself, where several objects share ``arrays``.

    Raises:
        BundleError: a leaf cannot be stored; the message names it.
    """
    return _store(obj, arrays, name, 0)


def from_tree(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Rebuild the object that `to_tree` took apart; nothing but registered code runs.

    Raises:
        BundleError: an unknown type, a missing array or a malformed leaf; the message names it.
        BundleVersionError: an object was written by a newer version of its class.
    """
    return _restore(tree, arrays, "", 0)


def _add(entry: _Entry, key: str) -> None:
    known = _by_name.get(entry.name)
    if known is not None and _by_class.get(key) is not known:
        raise ValueError(f"the name {entry.name!r} is registered for another class already")
    _by_name[entry.name] = _by_class[key] = entry


def _class_key(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _find(name: str) -> _Entry | None:
    """Look a stored name up; import the rooms, and then their modules, until it is known."""
    for load in (_import_room, _import_modules):
        for room in ROOMS:
            if name in _by_name:
                break
            load(room)
    return _by_name.get(name)


def _import_room(room: str) -> None:
    try:
        importlib.import_module(room)
    except ModuleNotFoundError as error:
        if error.name != room:
            raise


def _import_modules(room: str) -> None:
    package = sys.modules.get(room)
    for module in pkgutil.iter_modules(package.__path__ if package else (), f"{room}."):
        with suppress(ImportError):  # it needs an optional package, so that its classes do too
            importlib.import_module(module.name)


def _dataclass_fields(kept: Callable[[Any], Any] | None, obj: Any) -> Fields:
    obj = obj if kept is None else kept(obj)
    return {field.name: getattr(obj, field.name) for field in fields(obj)}


def _enum_fields(obj: Any) -> Fields:
    return {"name": obj.name}


def _rebuild(cls: Any, check: Callable[[Any], None] | None, values: Fields) -> Any:
    obj = object.__new__(cls)
    for field in fields(cls):
        if field.name in values:
            value = values.pop(field.name)
        elif field.default is not MISSING:
            value = field.default
        elif field.default_factory is not MISSING:
            value = field.default_factory()
        else:
            raise ValueError(f"the field {field.name!r} is missing")
        object.__setattr__(obj, field.name, value)
    if values:
        raise ValueError(f"{cls.__name__} has no field {', '.join(map(repr, values))}")
    if check is not None:
        check(obj)
    return obj


def _store(value: Any, arrays: MutableMapping[str, np.ndarray], path: str, depth: int) -> Any:
    if depth > _DEPTH:
        raise BundleError(f"cannot store {path[:80]}...: nested too deeply, or a circle")
    entry = _by_class.get(_class_key(type(value)))
    if entry is not None:
        stored = {
            key: _store(item, arrays, _join(path, key), depth + 1)
            for key, item in entry.to_fields(value).items()
        }
        return {"type": entry.name, "version": entry.version, "fields": stored}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in _ATOMS:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is list:
        return _store_items(value, arrays, path, depth)
    if type(value) is tuple:
        return {"tuple": _store_items(value, arrays, path, depth)}
    if type(value) is dict:
        return {"dict": _store_dict(value, arrays, path, depth)}
    jax = sys.modules.get("jax")
    if isinstance(value, np.ndarray) or (jax is not None and isinstance(value, jax.Array)):
        return _store_array(value, arrays, path or "value")
    raise BundleError(
        f"cannot store {_leaf(path)}: a {type(value).__name__} is neither an array, a number, text "
        "nor of a class registered with posterion.core.registry.register"
    )


def _store_items(items: Any, arrays: Any, path: str, depth: int) -> list[Any]:
    return [_store(v, arrays, f"{path}[{i}]", depth + 1) for i, v in enumerate(items)]


def _store_dict(items: dict[Any, Any], arrays: Any, path: str, depth: int) -> Fields:
    for key in items:
        if type(key) is not str:
            raise BundleError(f"cannot store {_leaf(path)}: the key {key!r} is not text")
    return {k: _store(v, arrays, f"{path}[{k!r}]", depth + 1) for k, v in items.items()}


def _store_array(value: Any, arrays: MutableMapping[str, np.ndarray], path: str) -> Fields:
    library = "numpy" if isinstance(value, np.ndarray) else "jax"
    try:
        array = np.asarray(value, order="C")
    except Exception as error:  # a tracer, a typed key, a deleted buffer
        raise BundleError(f"cannot store the array {path}: {error}") from error
    if array.dtype.kind not in _KINDS or array.dtype in (np.complex128, np.longdouble):
        raise BundleError(f"cannot store the array {path}: its dtype is {array.dtype}")
    if path in arrays:
        raise BundleError(f"cannot store the array {path}: there is one of that name already")
    arrays[path] = array
    return {"array": path, "library": library}


def _restore(tree: Any, arrays: Mapping[str, np.ndarray], path: str, depth: int) -> Any:
    if depth > _DEPTH:
        raise BundleError(f"cannot rebuild {path[:80]}...: nested too deeply")
    if tree is None or type(tree) in (*_ATOMS, float):
        return tree
    if type(tree) is list:
        return [_restore(v, arrays, f"{path}[{i}]", depth + 1) for i, v in enumerate(tree)]
    match tree:
        case {"type": str(name), "version": int(version), "fields": dict(stored)}:
            return _restore_object(name, version, stored, arrays, path, depth)
        case {"array": str(name), "library": "numpy" | "jax" as library, **rest} if not rest:
            return _restore_array(name, library, arrays, path)
        case {"tuple": list(items), **rest} if not rest:
            return tuple(_restore(items, arrays, path, depth + 1))
        case {"dict": dict(items), **rest} if not rest:
            return {k: _restore(v, arrays, f"{path}[{k!r}]", depth + 1) for k, v in items.items()}
        case {"float": "nan" | "inf" | "-inf" as number, **rest} if not rest:
            return float(number)
    raise BundleError(f"cannot rebuild {_leaf(path)}: malformed leaf {str(tree)[:80]}")


def _restore_object(
    name: str, version: int, stored: Fields, arrays: Mapping[str, np.ndarray], path: str, depth: int
) -> Any:
    entry = _find(name)
    if entry is None:
        raise BundleError(
            f"cannot rebuild {_leaf(path)}: unknown type {name!r}; import the package that "
            "registers it, or update Posterion"
        )
    if version > entry.version:
        raise BundleVersionError(
            f"cannot rebuild {_leaf(path)}: {name} is of version {version}, this Posterion knows "
            f"up to {entry.version}; update Posterion"
        )
    values = {k: _restore(v, arrays, _join(path, k), depth + 1) for k, v in stored.items()}
    try:
        if version < entry.version and entry.upgrade is not None:
            values = entry.upgrade(version, values)
        return entry.from_fields(values)
    except Exception as error:
        raise BundleError(f"cannot rebuild {_leaf(path)} ({name}): {error}") from error


def _restore_array(name: str, library: str, arrays: Mapping[str, np.ndarray], path: str) -> Any:
    array = arrays.get(name)
    if array is None:
        raise BundleError(f"cannot rebuild {_leaf(path)}: the array {name!r} is missing")
    if library == "numpy":
        return array
    import jax

    with jax.enable_x64(True) if array.dtype.itemsize == 8 else nullcontext():
        return jax.numpy.asarray(array)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _leaf(path: str) -> str:
    return path or "the object itself"
