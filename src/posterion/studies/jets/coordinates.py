"""The coordinates in which jets are learned: pulls of one jet from the jet that it is given.

    pull_pt  = asinh(log(pT' / pT) / w_pt),
    pull_eta = asinh((eta' - eta) / w_eta),
    pull_phi = asinh((phi' - phi) / w_phi),
    pull_m   = asinh(log((m' + 2) / (m + 2)) / w_m)

(masses in GeV, the difference of azimuths wrapped), with widths ``w`` that fall with the pT of the
given jet as resolutions do: what is left for a network is of order one everywhere, and its tails
are short. The ratios are those of Kronheim et al., 2111.11415. A fit learns the pulls under the
conditions ``log_pt, eta, phi, log_m`` of the given jet.

>>> import numpy as np
>>> given = np.array([[50.0, 1.0, 3.1, 8.0]])
>>> jet = np.array([[47.0, 1.01, -3.1, 7.0]])
>>> to_jets(from_jets(jet, given), given).round(3)
array([[47.  ,  1.01, -3.1 ,  7.  ]])
>>> list(conditions_of(given))
['log_pt', 'eta', 'phi', 'log_m']
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError
from posterion.studies.jets.kinematics import wrapped

__all__ = [
    "CONDITIONS",
    "PULLS",
    "conditions_of",
    "draw_jets",
    "from_jets",
    "negative_masses",
    "to_jets",
]

Floats = NDArray[np.float64]

PULLS = ("pull_pt", "pull_eta", "pull_phi", "pull_m")
"""Names of what is learned."""

CONDITIONS = ("log_pt", "eta", "phi", "log_m")
"""Names of what it is given."""

MASS = 2.0
"""Added to masses in GeV, so that their logarithm is finite."""

_WIDTHS = np.array([0.06, 0.015, 0.015, 0.2])  # at 20 GeV
_POWERS = np.array([0.7, 0.7, 0.7, 0.0])


def conditions_of(given: Any) -> dict[str, Floats]:
    """Conditions by name, of jets ``(n, 4)``: pT and mass in GeV, in the order of `NAMES`."""
    jets = _jets(given, "given")
    return {
        "log_pt": np.log(jets[:, 0]),
        "eta": jets[:, 1],
        "phi": jets[:, 2],
        "log_m": np.log(jets[:, 3] + MASS),
    }


def from_jets(jets: Any, given: Any) -> dict[str, Floats]:
    """Pulls by name, of jets ``(n, 4)`` from those that they are given.

    Raises:
        SampleError: a pT that is not positive, a negative mass, no ``(n, 4)``, other lengths.
    """
    there, here = _jets(jets, "jets"), _jets(given, "given")
    if len(there) != len(here):
        raise SampleError(f"there are {len(there)} jets and {len(here)} that they are given")
    residual = np.stack(
        [
            np.log(there[:, 0] / here[:, 0]),
            there[:, 1] - here[:, 1],
            wrapped(there[:, 2] - here[:, 2]),
            np.log((there[:, 3] + MASS) / (here[:, 3] + MASS)),
        ],
        axis=1,
    )
    pulls = np.arcsinh(residual / _widths(here))
    return dict(zip(PULLS, pulls.T, strict=True))


def to_jets(pulls: Mapping[str, Any], given: Any) -> Floats:
    """Jets ``(n, 4)`` of pulls from those that they are given, the inverse of `from_jets`.

    A mass that comes out below zero is zero: such draws can be counted by `negative_masses`.
    """
    jets = _unbounded(pulls, given)
    jets[:, 3] = np.maximum(jets[:, 3], 0.0)
    return jets


def negative_masses(pulls: Mapping[str, Any], given: Any) -> float:
    """Share of jets whose mass `to_jets` sets to zero."""
    return float(np.mean(_unbounded(pulls, given)[:, 3] < 0))


def draw_jets(fit: Any, given: Any, *, seed: int, n: int = 1) -> Floats:
    """Jets drawn by a fit of this study, given others.

    Args:
        fit: of this study, such as ``posterion.load("jets.posterion")``.
        given: ``(rows, 4)``: pT, pseudorapidity, azimuth, mass, GeV.
        seed: of the draws.
        n: draws for each.

    Returns:
        ``(rows * n, 4)``; the draws given the first jet come first.
    """
    pulls = fit.sample(n, context=conditions_of(given), seed=seed)
    flat = {name: np.asarray(pulls[name]).reshape(-1) for name in PULLS}
    return to_jets(flat, np.repeat(_jets(given, "given"), n, axis=0))


def _unbounded(pulls: Mapping[str, Any], given: Any) -> Floats:
    here = _jets(given, "given")
    flat = np.stack([np.asarray(pulls[name], np.float64) for name in PULLS], axis=1)
    residual = np.sinh(flat) * _widths(here)
    return np.stack(
        [
            here[:, 0] * np.exp(residual[:, 0]),
            here[:, 1] + residual[:, 1],
            wrapped(here[:, 2] + residual[:, 2]),
            (here[:, 3] + MASS) * np.exp(residual[:, 3]) - MASS,
        ],
        axis=1,
    )


def _widths(given: Floats) -> Floats:
    return _WIDTHS * (given[:, :1] / 20.0) ** -_POWERS


def _jets(jets: Any, name: str) -> Floats:
    found = np.asarray(jets, np.float64)
    if found.ndim != 2 or found.shape[1] != 4:
        raise SampleError(f"{name} are rows (n, 4): pT, eta, phi, m; got {found.shape}")
    bad = ~np.isfinite(found).all(axis=1) | (found[:, 0] <= 0) | (found[:, 3] < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SampleError(
            f"row {row} of {name} is {found[row].tolist()}: pT is positive, masses are not "
            "negative, and all are finite"
        )
    return found
