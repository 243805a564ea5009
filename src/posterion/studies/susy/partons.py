"""Partons in a proton and their luminosities: the leading-order set of Glück, Reya and Vogt.

Z. Phys. C 67 (1995) 433 ("GRV 94 LO"), an evolved fit in closed form: the momentum densities are
polynomials, powers and exponentials of x with coefficients that are polynomials in
``s = log(log(Q2 / L2) / log(mu2 / L2))``. Fitted for Q2 below 10^6 GeV^2 and used up to 10^7 here.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

__all__ = ["alpha_s", "densities"]

Floats = NDArray[np.float64]

_MU2, _LAMBDA2 = 0.23, 0.2322**2
_LAMBDA5 = 0.153  # of the set's coupling with five flavours, GeV

# Coefficients of 1, s, s^2, s^3; of the valence: norm, two powers, a, b, c, fall at x = 1.
_VALENCE = {
    "u": ((2.284, 0.802, 0.055), (0.590, -0.024), (0.131, 0.063), (-0.449, -0.138, -0.076),
          (0.213, 2.669, -0.728), (8.854, -9.135, 1.979), (2.997, 0.753, -0.076)),
    "d": ((0.371, 0.083, 0.039), (0.376,), (0.486, 0.062), (-0.509, 3.310, -1.248),
          (12.41, -10.52, 2.267), (6.373, -6.208, 1.418), (3.691, 0.799, -0.071)),
    "difference": ((0.082, 0.014, 0.008), (0.409, -0.005), (0.799, 0.071),
                   (-38.07, 36.13, -0.656), (90.31, -74.15, 7.645), (0.0,),
                   (7.486, 1.217, -0.159)),
}  # fmt: skip
# Powers of s, two powers, a, b, c, fall at x = 1, and the two of the exponential.
_GLUE_LIKE = {
    "sum": (1.451, 0.271, (0.410, -0.232), (0.534, -0.457), (0.890, -0.140), (-0.981,),
            (0.320, 0.683), (4.752, 1.164, 0.286), (4.119, 1.713), (0.682, 2.978)),
    "g": (0.524, 1.088, (1.742, -0.930), (0.0, 0.0, -0.399), (7.486, -2.185),
          (16.69, -22.74, 5.779), (-25.59, 29.71, -7.296), (2.792, 2.215, 0.422, -0.104),
          (0.807, 2.005), (3.841, 0.316)),
}  # fmt: skip
# Threshold in s, powers of s, power of the logarithm, a and b in powers of sqrt(s), the rest as
# above.
_HEAVY = {
    "s": (0.0, 0.914, 0.577, (1.798, -0.596), (-5.548, 3.669, -0.616), (18.92, -16.73, 5.168),
          (6.379, -0.350, 0.142), (3.981, 1.638), (6.402,)),
    "c": (0.888, 1.01, 0.37, (0.0,), (0.0,), (4.24, 0.0, -0.804), (3.46, -1.076), (4.61, 1.49),
          (2.555, 1.961)),
    "b": (1.351, 1.00, 0.51, (0.0,), (0.0,), (1.848,), (2.929, 1.396), (4.71, 1.514),
          (4.02, 1.239)),
}  # fmt: skip


def alpha_s(scale: Array) -> Array:
    """The set's strong coupling at a scale in GeV."""
    return 12 * math.pi / (23 * jnp.log(scale**2 / _LAMBDA5**2))


def densities(x: Floats, scale: Floats) -> dict[str, Floats]:
    """Momentum densities ``x f(x)`` at a scale in GeV.

    Returns:
        Of ``g``, ``u``, ``d``, ``ubar``, ``dbar``, ``s``, ``c``, ``b``; the last three are the
        same for antiquarks.
    """
    s = np.log(np.log(scale**2 / _LAMBDA2) / math.log(_MU2 / _LAMBDA2))
    lx = np.log(1 / x)

    def of(coefficients: tuple[float, ...], variable: Floats = s) -> Floats:
        return np.asarray(np.polynomial.polynomial.polyval(variable, coefficients), np.float64)

    def valence(name: str) -> Floats:
        norm, first, second, a, b, c, fall = (of(row) for row in _VALENCE[name])
        shape = 1 + a * x**second + x * (b + c * np.sqrt(x))
        return norm * x**first * shape * (1 - x) ** fall

    def glue_like(name: str) -> Floats:
        alpha, beta, *rows = _GLUE_LIKE[name]
        first, second, a, b, c, fall, e, es = (of(row) for row in rows)
        soft = x**first * (a + x * (b + x * c)) * lx**second
        return (soft + s**alpha * np.exp(-e + np.sqrt(es * s**beta * lx))) * (1 - x) ** fall

    def heavy(name: str) -> Floats:
        threshold, alpha, beta, power, a, b, *rows = _HEAVY[name]
        fall, e, es = (of(row) for row in rows)
        shape = 1 + of(a, np.sqrt(s)) * np.sqrt(x) + of(b, np.sqrt(s)) * x
        above = np.maximum(s - threshold, 0.0) ** alpha / lx ** of(power)
        return above * shape * (1 - x) ** fall * np.exp(-e + np.sqrt(es * s**beta * lx))

    both, more = glue_like("sum"), valence("difference")
    ubar, dbar = (both - more) / 2, (both + more) / 2
    quarks = {"u": valence("u") + ubar, "d": valence("d") + dbar, "ubar": ubar, "dbar": dbar}
    return {"g": glue_like("g")} | quarks | {name: heavy(name) for name in _HEAVY}
