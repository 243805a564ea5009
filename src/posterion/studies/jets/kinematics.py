"""Four-vectors of jets, differences of angles, and who belongs to whom."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "UNITS", "jets_of_momenta", "match", "momenta", "wrapped"]

Floats = NDArray[np.float64]

NAMES = ("pt", "eta", "phi", "m")
"""Of the numbers of a jet: transverse momentum, pseudorapidity, azimuth, mass."""

UNITS = {"pt": "GeV", "eta": "", "phi": "rad", "m": "GeV"}

_TINY = 1e-12


def wrapped(angle: Floats | float | int) -> Any:
    """An angle, or a difference of two, within [-pi, pi).

    >>> round(float(wrapped(3.0 - (-3.0))), 4)
    -0.2832
    """
    return np.mod(np.asarray(angle, np.float64) + np.pi, 2 * np.pi) - np.pi


def jets_of_momenta(p: Floats) -> Floats:
    """``(px, py, pz, E)`` in GeV to ``(pT, eta, phi, m)``, along the last axis.

    A mass whose square is below zero by rounding is zero.
    """
    px, py, pz, e = np.moveaxis(np.asarray(p, np.float64), -1, 0)
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / np.maximum(pt, _TINY))
    # (E - |p|)(E + |p|) loses less than E^2 - p^2
    size = np.hypot(pt, pz)
    m = np.sqrt(np.maximum((e - size) * (e + size), 0.0))
    return np.stack([pt, eta, np.arctan2(py, px), m], axis=-1)


def momenta(jets: Floats) -> Floats:
    """``(pT, eta, phi, m)`` to ``(px, py, pz, E)`` in GeV, along the last axis."""
    pt, eta, phi, m = np.moveaxis(np.asarray(jets, np.float64), -1, 0)
    e = np.sqrt((pt * np.cosh(eta)) ** 2 + m**2)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), e], axis=-1)


def match(first: Floats, second: Floats, radius: float | int) -> NDArray[np.intp]:
    """Pairs of jets each of which is the other's nearest, within a distance.

    Args:
        first: ``(events, n, 4)``, NaN where an event has fewer.
        second: ``(events, m, 4)``, as ``first``.
        radius: largest distance ``sqrt(d_eta^2 + d_phi^2)``.

    Returns:
        ``(pairs, 3)``: event, place in ``first``, place in ``second``; by event and first place.
    """
    if first.shape[1] == 0 or second.shape[1] == 0:
        return np.zeros((0, 3), np.intp)
    d_eta = first[:, :, None, 1] - second[:, None, :, 1]
    d_phi = wrapped(first[:, :, None, 2] - second[:, None, :, 2])
    distance = np.hypot(d_eta, d_phi)
    distance = np.where(np.isnan(distance), np.inf, distance)
    nearest = distance.argmin(axis=2)
    back = distance.argmin(axis=1)
    event, place = np.nonzero(distance.min(axis=2) < radius)
    other = nearest[event, place]
    mutual = back[event, other] == place
    return np.stack([event, place, other], axis=1)[mutual]
