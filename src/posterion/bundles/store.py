"""Bundles to files and back."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from posterion.bundles.archive import MAX_BYTES, pack, read_file, unpack
from posterion.bundles.card import card_bytes, card_from_bytes
from posterion.core import registry
from posterion.core.errors import BundleError
from posterion.core.files import write_bytes

__all__ = ["load_object", "read", "read_card", "save_object", "write"]

Path = str | os.PathLike[str]


def write(path: Path, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a bundle whole or not at all; the same content gives the same bytes.

    Args:
        path: the file to write, by custom ``NAME.posterion``.
        card: follows ``card-1.schema.json``; ``kind``, ``name`` and ``object`` are needed, the rest
            is completed.
        arrays: by name, of booleans, integers, floats up to 64 bits or complex64.

    Raises:
        BundleError: the card does not follow the schema, or an array has an unusable dtype.
        OutputError: the file could not be written; what was there before is still there.
    """
    from safetensors.numpy import save

    text = card_bytes(card)
    try:
        data = save({name: np.asarray(a, order="C") for name, a in arrays.items()})
    except Exception as error:
        raise BundleError(f"the arrays cannot be written: {error}") from error
    write_bytes(path, pack(text, data))


def read(path: Path, *, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a bundle, every byte checked; nothing in it is run.

    Args:
        path: the file.
        max_bytes: refuse a larger file.

    Returns:
        The card, and the arrays by name.

    Raises:
        BundleError: missing, too large, or no bundle; its subclasses `BundleCorruptError`
            (truncated or altered) and `BundleVersionError` (written by a newer Posterion).
    """
    from safetensors.numpy import load

    text, data = unpack(read_file(path, max_bytes), path)
    card = card_from_bytes(text, path)
    try:
        return card, load(data)
    except Exception as error:
        raise BundleError(f"{path}: its arrays cannot be read: {error}") from error


def read_card(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read the card alone, without importing JAX; the whole file is checked all the same.

    Raises:
        BundleError: as `read`.
    """
    text, _ = unpack(read_file(path, max_bytes), path)
    return card_from_bytes(text, path)


def save_object(path: Path, obj: Any, card: Mapping[str, Any]) -> None:
    """Write ``obj``, of a class registered in `posterion.core.registry`, with its card.

    Args:
        path: the file to write.
        obj: what `load_object` gives back.
        card: the card without its ``object``; needs ``kind`` and ``name``.

    Raises:
        BundleError: a part of ``obj`` cannot be stored (the message names it), or as `write`.
        OutputError: as `write`.
    """
    arrays: dict[str, np.ndarray] = {}
    write(path, {**card, "object": registry.to_tree(obj, arrays)}, arrays)


def load_object(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a bundle and rebuild the object that `save_object` stored.

    Raises:
        BundleError: as `read`, or the object is of an unknown or newer type.
    """
    card, arrays = read(path, max_bytes=max_bytes)
    try:
        return registry.from_tree(card["object"], arrays)
    except BundleError as error:
        raise type(error)(f"{path}: {error}") from error
