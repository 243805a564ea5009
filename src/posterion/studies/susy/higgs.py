"""The mass of the light Higgs boson with the corrections of the third generation.

M. Carena, J. R. Espinosa, M. Quiros and C. E. M. Wagner, hep-ph/9504316: the quartic couplings of
the two doublets below the superpartners, at one loop with the leading two-loop logarithms, and the
masses that follow. Meant for stops that are split by less than half their mean squared mass.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from posterion.studies.susy.constants import (
    MBOTTOM,
    MTOP,
    MTOP_RUNNING,
    MW,
    MZ,
    VEV,
    strong_coupling,
)

__all__ = ["higgs_masses"]

_PI2 = math.pi**2
_GW2 = 2 * MW**2 / VEV**2
_GB2 = 2 * (MZ**2 - MW**2) / VEV**2
_GS2 = 4 * math.pi * strong_coupling(MTOP)


def higgs_masses(p: Mapping[str, Array]) -> Array:
    """Squared masses of the two CP-even bosons, the lighter first, ``(n, 2)``.

    Args:
        p: columns by the names of `parameters`, ``(n,)`` each.
    """
    cb = 1 / jnp.sqrt(1 + p["tanb"] ** 2)
    sb = p["tanb"] * cb
    ma2, v2 = p["MA"] ** 2, 2 * VEV**2
    l1, l2, l34, l5, l6, l7 = _couplings(p, cb, sb)
    dd = ma2 * sb**2 + v2 * (l1 * cb**2 + 2 * l6 * sb * cb + l5 * sb**2)
    uu = ma2 * cb**2 + v2 * (l2 * sb**2 + 2 * l7 * sb * cb + l5 * cb**2)
    du = -ma2 * sb * cb + v2 * (l34 * sb * cb + l6 * cb**2 + l7 * sb**2)
    middle, split = (dd + uu) / 2, jnp.sqrt(((dd - uu) / 2) ** 2 + du**2)
    return jnp.stack([middle - split, middle + split], -1)


def _couplings(p: Mapping[str, Array], cb: Array, sb: Array) -> tuple[Array, ...]:
    """The quartic couplings 1, 2, 3 + 4, 5, 6, 7."""
    scale2 = (p["mQ3"] ** 2 + p["mU3"] ** 2) / 2 + MTOP**2
    t = jnp.log(scale2 / MTOP**2)
    scale = jnp.sqrt(scale2)
    at, ab, mu = (p[name] / scale for name in ("At", "Ab", "mu"))
    ht2, hb2 = (MTOP_RUNNING / (VEV * sb)) ** 2, (MBOTTOM / (VEV * cb)) ** 2

    def running(top: float, bottom: float) -> Array:
        return 1 + (top * ht2 + bottom * hb2 - 16 * _GS2) * t / (16 * _PI2)

    def diagonal(h2: Array, other2: Array, a: Array, cross: Array) -> Array:
        """Couplings 1 and 2: the quarks' own loop, and the other ones' by mu."""
        x = 2 * a**2 * (1 - a**2 / 12)
        own = t + x / 2 + (1.5 * h2 + other2 / 2 - 8 * _GS2) * (x * t + t**2) / (16 * _PI2)
        return (
            (_GB2 + _GW2) / 4 * (1 - 3 * h2 * t / (8 * _PI2))
            + 3 * h2**2 / (8 * _PI2) * own
            - 3 * other2**2 * mu**4 / (96 * _PI2) * cross
        )

    l1 = diagonal(hb2, ht2, ab, running(9.0, -5.0))
    l2 = diagonal(ht2, hb2, at, running(-5.0, 9.0))
    gauge = 1 - 3 * (ht2 + hb2) * t / (16 * _PI2)
    # The terms in both Yukawa couplings cancel in the sum of couplings 3 and 4.
    of_top = 3 * ht2**2 / (96 * _PI2) * mu**2 * (3 - at**2) * running(6.0, -2.0)
    of_bottom = 3 * hb2**2 / (96 * _PI2) * mu**2 * (3 - ab**2) * running(-2.0, 6.0)
    l34 = (-_GW2 - _GB2) / 4 * gauge + 2 * (of_top + of_bottom)
    l5 = (
        -3
        / (96 * _PI2)
        * mu**2
        * (ht2**2 * at**2 * running(6.0, -2.0) + hb2**2 * ab**2 * running(-2.0, 6.0))
    )

    def mixed(h2: Array, a: Array, own: Array, other2: Array, b: Array, cross: Array) -> Array:
        """Couplings 6 and 7: a cube of mu in the one Yukawa coupling, one power in the other."""
        return 3 / (96 * _PI2) * mu * (
            h2**2 * mu**2 * a * own + other2**2 * (b**3 - 6 * b) * cross
        )  # fmt: skip

    l6 = mixed(ht2, at, running(7.5, -3.5), hb2, ab, running(-0.5, 4.5))
    l7 = mixed(hb2, ab, running(-3.5, 7.5), ht2, at, running(4.5, -0.5))
    return l1, l2, l34, l5, l6, l7
