"""Plain values to strict JSON and back: numbers that JSON lacks are written as tagged objects.

``nan`` and the infinities become ``{"float": "nan"}``, ``{"float": "inf"}``, ``{"float": "-inf"}``,
so that a file is JSON for every reader; arrays and tuples become lists.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["decode", "dumps", "encode", "loads", "parse"]


def encode(value: Any) -> Any:
    """Turn ``value`` into what strict JSON can hold.

    Takes None, bool, int, float, str, NumPy numbers and arrays (as nested lists), sequences, and
    mappings with string keys.

    Raises:
        TypeError: for anything else.

    >>> encode({"k_hat": float("inf"), "loss": (1.0, 0.5)})
    {'k_hat': {'float': 'inf'}, 'loss': [1.0, 0.5]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, np.generic | np.ndarray):
        return encode(value.tolist())
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of a mapping must be text, not {key!r}")
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if hasattr(value, "__array__"):
        return encode(np.asarray(value))
    raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}")


def decode(value: Any) -> Any:
    """Undo `encode` (lists stay lists).

    >>> decode({"k_hat": {"float": "inf"}})
    {'k_hat': inf}
    """
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("nan", "inf", "-inf"):
            return float(value["float"])
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Write ``value`` as strict JSON with two spaces of indent.

    Raises:
        TypeError: as `encode`.
    """
    return json.dumps(encode(value), indent=2, allow_nan=False, ensure_ascii=False)


def loads(text: str | bytes) -> Any:
    """Read strict JSON written by `dumps`.

    Raises:
        ValueError: as `parse`.
    """
    return decode(parse(text))


def parse(text: str | bytes) -> Any:
    """Read strict JSON, tagged numbers left as they are.

    Raises:
        ValueError: ``text`` is not JSON, is nested too deeply, or holds a bare NaN or infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
