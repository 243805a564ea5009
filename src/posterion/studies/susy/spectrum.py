"""Masses of the superpartners at tree level.

Conventions and formulas: S. P. Martin, A Supersymmetry Primer, hep-ph/9709356v7, sections 8.2
(neutralinos and charginos) and 8.4 (squarks and sleptons). The gluino is |M3|.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from posterion.studies.susy.constants import MBOTTOM, MTAU, MTOP_RUNNING, MW, MZ, SIN2W

__all__ = ["LIGHT_SQUARKS", "charginos", "neutralinos", "sfermions"]

LIGHT_SQUARKS = ("uL", "uR", "dL", "dR")
"""Squarks of the first two generations."""


def neutralinos(m1: Array, m2: Array, mu: Array, tanb: Array) -> Array:
    """Absolute masses of the four, rising, ``(n, 4)``: the matrix of Primer section 8.2."""
    cb, sb = _angles(tanb)
    sw, cw = jnp.sqrt(SIN2W), jnp.sqrt(1 - SIN2W)
    zero = jnp.zeros_like(m1)
    rows = [
        [m1, zero, -cb * sw * MZ, sb * sw * MZ],
        [zero, m2, cb * cw * MZ, -sb * cw * MZ],
        [-cb * sw * MZ, cb * cw * MZ, zero, -mu],
        [sb * sw * MZ, -sb * cw * MZ, -mu, zero],
    ]
    matrix = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    return jnp.sort(jnp.abs(jnp.linalg.eigvalsh(matrix)), -1)


def charginos(m2: Array, mu: Array, tanb: Array) -> Array:
    """Masses of the two, rising, ``(n, 2)``: singular values of Primer section 8.2."""
    cb, sb = _angles(tanb)
    half = (m2**2 + mu**2 + 2 * MW**2) / 2
    determinant = (mu * m2 - 2 * MW**2 * sb * cb) ** 2
    heavy = half + jnp.sqrt(jnp.maximum(half**2 - determinant, 0.0))
    return jnp.sqrt(jnp.stack([determinant / heavy, heavy], -1))


def sfermions(p: Mapping[str, Array]) -> dict[str, Array]:
    """Squared masses, negative for tachyons: Primer section 8.4.

    Args:
        p: columns by the names of `parameters`, ``(n,)`` each.

    Returns:
        ``uL`` ... ``nu`` of the first two generations, ``t1``, ``t2``, ``b1``, ``b2``, ``tau1``,
        ``tau2``, ``nu3``; of two the first is lighter.
    """
    cb, sb = _angles(p["tanb"])
    cot, cos2b = cb / sb, cb**2 - sb**2

    def d_term(isospin: float, charge: float) -> Array:
        return (isospin - charge * SIN2W) * cos2b * MZ**2

    up_l, up_r = d_term(1 / 2, 2 / 3), d_term(0.0, -2 / 3)
    down_l, down_r = d_term(-1 / 2, -1 / 3), d_term(0.0, 1 / 3)
    nu, e_l, e_r = d_term(1 / 2, 0.0), d_term(-1 / 2, -1.0), d_term(0.0, 1.0)
    found = {
        "uL": p["mQ1"] ** 2 + up_l,
        "uR": p["mU1"] ** 2 + up_r,
        "dL": p["mQ1"] ** 2 + down_l,
        "dR": p["mD1"] ** 2 + down_r,
        "eL": p["mL1"] ** 2 + e_l,
        "eR": p["mE1"] ** 2 + e_r,
        "nu": p["mL1"] ** 2 + nu,
        "nu3": p["mL3"] ** 2 + nu,
    }
    mixing = {
        "t": (p["mQ3"] ** 2 + up_l, p["mU3"] ** 2 + up_r, MTOP_RUNNING, p["At"] - p["mu"] * cot),
        "b": (p["mQ3"] ** 2 + down_l, p["mD3"] ** 2 + down_r, MBOTTOM, p["Ab"] - p["mu"] / cot),
        "tau": (p["mL3"] ** 2 + e_l, p["mE3"] ** 2 + e_r, MTAU, p["Atau"] - p["mu"] / cot),
    }
    for name, (left, right, mass, mix) in mixing.items():
        middle = (left + right) / 2 + mass**2
        split = jnp.sqrt(((left - right) / 2) ** 2 + (mass * mix) ** 2)
        found[f"{name}1"], found[f"{name}2"] = middle - split, middle + split
    return found


def _angles(tanb: Array) -> tuple[Array, Array]:
    """Cosine and sine of beta."""
    cb = 1 / jnp.sqrt(1 + tanb**2)
    return cb, tanb * cb
