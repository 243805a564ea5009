"""The 19 parameters of the phenomenological MSSM, their ranges, and draws of them.

The upper ends are those of the study of Kronheim, Kuchera, Prosper and Karbo (arXiv:2007.04506 and
their talk); the lower ends are near those of the ATLAS scan (arXiv:1508.06608), about what LEP
excluded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "PARAMETERS", "UNITS", "Parameter", "draw"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """One of them.

    Attributes:
        name: of its column.
        low: least absolute value.
        high: greatest absolute value.
        signed: whether either sign is drawn.
        unit: GeV, or nothing.
        meaning: in words.
    """

    name: str
    low: float
    high: float
    signed: bool
    unit: str
    meaning: str


def _mass(name: str, low: float, meaning: str) -> Parameter:
    return Parameter(name, low, 4000.0, False, "GeV", meaning)


PARAMETERS = (
    Parameter("M1", 10.0, 4000.0, True, "GeV", "bino mass"),
    Parameter("M2", 70.0, 4000.0, True, "GeV", "wino mass"),
    Parameter("M3", 200.0, 4000.0, False, "GeV", "gluino mass; positive by choice of phases"),
    Parameter("mu", 80.0, 4000.0, True, "GeV", "higgsino mass"),
    Parameter("MA", 100.0, 4000.0, False, "GeV", "mass of the CP-odd Higgs boson"),
    Parameter("tanb", 1.0, 60.0, False, "", "ratio of the vacuum expectation values"),
    Parameter("At", 0.0, 7000.0, True, "GeV", "trilinear coupling of stops"),
    Parameter("Ab", 0.0, 7000.0, True, "GeV", "trilinear coupling of sbottoms"),
    Parameter("Atau", 0.0, 7000.0, True, "GeV", "trilinear coupling of staus"),
    _mass("mL1", 90.0, "left sleptons, first two generations"),
    _mass("mE1", 90.0, "right sleptons, first two generations"),
    _mass("mL3", 90.0, "left stau"),
    _mass("mE3", 90.0, "right stau"),
    _mass("mQ1", 200.0, "left squarks, first two generations"),
    _mass("mU1", 200.0, "right up squarks, first two generations"),
    _mass("mD1", 200.0, "right down squarks, first two generations"),
    _mass("mQ3", 100.0, "left stop and sbottom"),
    _mass("mU3", 100.0, "right stop"),
    _mass("mD3", 100.0, "right sbottom"),
)
"""All of them, in the order of the columns."""

NAMES = tuple(p.name for p in PARAMETERS)
"""Their names."""

UNITS = {p.name: p.unit for p in PARAMETERS if p.unit}
"""Units by name."""


def draw(count: int, seed: int, part: int = 0) -> Floats:
    """Points ``(count, 19)``, flat within the ranges; each ``part`` of a scan has its own."""
    rng = np.random.default_rng([seed, part])
    low, high = (np.array([getattr(p, end) for p in PARAMETERS]) for end in ("low", "high"))
    signs = np.where(rng.random((count, len(NAMES))) < 0.5, -1.0, 1.0)
    signed = np.array([p.signed for p in PARAMETERS])
    points = low + (high - low) * rng.random((count, len(NAMES)))
    return np.where(signed, signs, 1.0) * points
