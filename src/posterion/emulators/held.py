"""Rows that no network was trained on, kept with an emulator: for its page, and for a student."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.core.registry import register
from posterion.emulators.tables import uniform_of_rows

Floats = NDArray[np.float64]

ROWS, NUMBERS = 1000, 100_000
"""At most so many rows of the correction and of the test each, and so many numbers (0.8 MB)."""


@register("emulator_held_rows")
@dataclass(frozen=True, eq=False)
class HeldOut:
    """A bounded sample of the rows that were held out.

    Attributes:
        x: inputs, (rows, inputs), in their units.
        y: targets, (rows, targets).
        test: which rows are of the test; the others are of the correction.
    """

    x: np.ndarray
    y: np.ndarray
    test: np.ndarray


def held_out(
    x: Floats, y: Floats, correction: NDArray[np.bool_], test: NDArray[np.bool_]
) -> HeldOut:
    """The sample, whatever the order of the rows: by the bits of their inputs."""
    limit = min(ROWS, max(NUMBERS // (x.shape[1] + y.shape[1]), 1))
    chosen = []
    for part in (correction, test):
        rows = np.flatnonzero(part)
        chosen.append(rows[np.argsort(uniform_of_rows(x[rows]), kind="stable")[:limit]])
    rows = np.concatenate(chosen)
    return HeldOut(x[rows], y[rows], np.arange(len(rows)) >= len(chosen[0]))
