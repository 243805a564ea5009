"""What is emulated: three columns of the theory, each over the points that have it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HIGGS_SEEN", "HIGGS_WINDOW", "TASKS", "Task"]

Floats = NDArray[np.float64]

HIGGS_WINDOW = (123.0, 127.0)
"""GeV: what the published emulator was asked to find."""

HIGGS_SEEN = 110.0
"""GeV: points with a lighter Higgs boson are not emulated; LEP excluded them."""


@dataclass(frozen=True)
class Task:
    """One emulator.

    Attributes:
        name: as the option has it.
        column: of the table.
        unit: of the column.
        log: whether its logarithm is learned.
        likelihood: of `posterion.emulate`.
        title: for pages.
        train: points that the published emulator was trained on.
    """

    name: str
    column: str
    unit: str
    log: bool
    likelihood: str
    title: str
    train: int

    def keep(self, found: Mapping[str, Floats]) -> NDArray[np.bool_]:
        """Which points of a scan the emulator is of.

        Cross sections of viable points; Higgs masses of points that are sound otherwise; all
        viable points, and as many that are not, spread evenly over the scan.
        """
        if self.name == "cross-section":
            return found["viable"] == 1
        if self.name == "higgs-mass":
            return (found["sound"] == 1) & (found["m_h"] > HIGGS_SEEN)
        viable = found["viable"] == 1
        share = viable.sum() / max((~viable).sum(), 1)
        passed = np.floor(np.cumsum(~viable) * min(share, 1.0))
        return viable | (np.diff(passed, prepend=0) > 0)


TASKS = {
    task.name: task
    for task in (
        Task("cross-section", "sigma", "pb", True, "gaussian", "Cross section", 160_000),
        Task("higgs-mass", "m_h", "GeV", False, "gaussian", "Higgs mass", 450_000),
        Task("viability", "viable", "", False, "bernoulli", "Viability", 400_000),
    )
}
"""By name, with the sizes of the talk of Kronheim, Kuchera, Prosper and Karbo."""
