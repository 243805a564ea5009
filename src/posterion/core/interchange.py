"""A result in the terms of other packages: ArviZ, NumPyro."""

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from posterion.core.errors import ShapeError

__all__ = ["arviz", "inference_data"]


def arviz() -> ModuleType:
    """ArviZ, imported when used: it is slow to load, and announces its next version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def inference_data(
    draws: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    attributes: Mapping[str, str],
) -> Any:
    """ArviZ InferenceData of independent draws, as one chain.

    Args:
        draws: name to ``(n, *shape)``, for the group ``posterior``.
        statistics: name to ``(n,)``, for the group ``sample_stats``.
        units: by name; kept as the attribute ``units`` of the variable.
        attributes: of the group ``posterior``.

    Raises:
        ShapeError: a name that ArviZ keeps for its own axes.
    """
    reserved = {"chain", "draw"} & set(draws)
    if reserved:
        raise ShapeError(f"ArviZ keeps the name {reserved.pop()!r} for an axis; rename it")
    dims = {
        name: [f"{name}_dim_{k}" for k in range(np.ndim(array) - 1)]
        for name, array in draws.items()
    }
    data = arviz().from_dict(
        posterior={name: np.asarray(array)[None] for name, array in draws.items()},
        sample_stats={name: np.asarray(array)[None] for name, array in statistics.items()},
        dims=dims,
    )
    for name, unit in units.items():
        data["posterior"][name].attrs["units"] = unit
    data["posterior"].attrs.update(attributes)
    return data
