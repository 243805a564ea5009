"""What follows from the six oscillation parameters: mixing matrix, CP violation, effective masses.

Plain NumPy. `theta` is a dict of arrays of one shape by parameter name, as drawn from a posterior;
results have that shape first. Conventions of the Particle Data Group: three Majorana neutrinos,
U = R23 U13(delta) R12 diag(1, e^{i a21/2}, e^{i a31/2}).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from posterion.core.errors import SettingError

Theta = Mapping[str, np.ndarray]

THREE_SIGMA = 0.9973002039367398
"""Probability of the central 3-sigma interval of a normal distribution."""


def _angles(theta: Theta) -> tuple[np.ndarray, ...]:
    """s12, c12, s13, c13, s23, c23 and delta in radians."""
    parts = []
    for pair in ("12", "13", "23"):
        square = np.asarray(theta[f"sin2_theta{pair}"], dtype=np.float64)
        parts += [np.sqrt(square), np.sqrt(1.0 - square)]
    return (*parts, np.deg2rad(theta["delta_CP"]))


def mixing_magnitudes(theta: Theta) -> np.ndarray:
    """The magnitudes |U| of the leptonic mixing matrix: (..., 3, 3), rows e, mu, tau."""
    s12, c12, s13, c13, s23, c23, delta = _angles(theta)
    phase = np.exp(1j * delta)
    rows = [
        [c12 * c13 + 0j, s12 * c13 + 0j, s13 + 0j],
        [-s12 * c23 - c12 * s23 * s13 * phase, c12 * c23 - s12 * s23 * s13 * phase, s23 * c13],
        [s12 * s23 - c12 * c23 * s13 * phase, -c12 * s23 - s12 * c23 * s13 * phase, c23 * c13],
    ]
    return np.stack([np.stack([np.abs(u) for u in row], axis=-1) for row in rows], axis=-2)


def jarlskog_max(theta: Theta) -> np.ndarray:
    """The largest Jarlskog invariant that the mixing angles allow: J at sin(delta_CP) = 1."""
    s12, c12, s13, c13, s23, c23, _ = _angles(theta)
    return c12 * s12 * c23 * s23 * c13**2 * s13


def jarlskog(theta: Theta) -> np.ndarray:
    """The Jarlskog invariant J = J_max sin(delta_CP)."""
    return jarlskog_max(theta) * np.sin(np.deg2rad(theta["delta_CP"]))


def masses(lightest: np.ndarray | float, theta: Theta, ordering: str) -> np.ndarray:
    """m1, m2, m3 in eV, (..., 3), from the lightest mass in eV (m1 for "NO", m3 for "IO")."""
    solar = 10.0 ** np.asarray(theta["log10_Dm2_21"], dtype=np.float64)
    large = 1e-3 * np.asarray(theta["Dm2_3l"], dtype=np.float64)
    square = np.square(lightest)
    if ordering == "NO":
        squares = (square + 0 * solar, square + solar, square + large)
    elif ordering == "IO":
        squares = (square - large - solar, square - large, square + 0 * solar)
    else:
        raise SettingError(f"ordering '{ordering}' is unknown; it is NO or IO.")
    return np.sqrt(np.stack(np.broadcast_arrays(*squares), axis=-1))


def _electron_row(theta: Theta) -> np.ndarray:
    """|U_e1|^2, |U_e2|^2, |U_e3|^2 on the last axis."""
    s12, s13 = (np.asarray(theta[f"sin2_theta{p}"], dtype=np.float64) for p in ("12", "13"))
    return np.stack([(1 - s12) * (1 - s13), s12 * (1 - s13), s13], axis=-1)


def m_beta(mass: np.ndarray, theta: Theta) -> np.ndarray:
    """The effective mass of beta decay in eV, sqrt(sum |U_ei|^2 m_i^2); `mass` from `masses`."""
    return np.sqrt((_electron_row(theta) * mass**2).sum(-1))


def majorana_phases(n: int, *, seed: int) -> np.ndarray:
    """`n` pairs of phases, each uniform on the circle, in radians: (2, n)."""
    return np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, size=(2, n))


def m_betabeta(mass: np.ndarray, theta: Theta, phases: np.ndarray) -> np.ndarray:
    """The effective mass of neutrinoless double beta decay in eV: |sum U_ei^2 m_i|.

    `mass` from `masses`; `phases`, (2, ...) in radians, those of the second and third term of the
    sum relative to the first.
    """
    term = _electron_row(theta) * mass
    turned = np.exp(1j * np.asarray(phases))
    return np.abs(term[..., 0] + term[..., 1] * turned[0] + term[..., 2] * turned[1])


def m_betabeta_band(mass: np.ndarray, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest m_betabeta (eV) over all Majorana phases.

    Three lengths close to a triangle, or the longest exceeds the others by the minimum.
    """
    term = _electron_row(theta) * mass
    total = term.sum(-1)
    return np.maximum(2.0 * term.max(-1) - total, 0.0), total


def interval(values: np.ndarray, probability: float = THREE_SIGMA) -> np.ndarray:
    """The central interval of draws, (2, ...), over their first axis."""
    tail = (1.0 - probability) / 2.0
    return np.quantile(values, [tail, 1.0 - tail], axis=0)


def against_lightest(
    theta: Theta,
    ordering: str,
    lightest: np.ndarray,
    *,
    seed: int,
    probability: float = THREE_SIGMA,
) -> dict[str, np.ndarray]:
    """The effective masses in eV against the lightest mass in eV, from draws of shape (n,).

    Each entry has shape (2, len(lightest)), lower and upper: "m_beta" and "m_betabeta" are central
    intervals of the draws (Majorana phases uniform and independent); "band" reaches from the lower
    end of the interval of the smallest m_betabeta over all phases to the upper end of that of the
    largest.
    """
    phases = majorana_phases(len(np.asarray(theta["sin2_theta12"])), seed=seed)
    result = {name: np.empty((2, len(lightest))) for name in ("m_beta", "m_betabeta", "band")}
    for k, m0 in enumerate(lightest):
        mass = masses(float(m0), theta, ordering)
        low, high = m_betabeta_band(mass, theta)
        result["m_beta"][:, k] = interval(m_beta(mass, theta), probability)
        result["m_betabeta"][:, k] = interval(m_betabeta(mass, theta, phases), probability)
        result["band"][:, k] = (
            interval(low, probability)[0],
            interval(high, probability)[1],
        )
    return result
