"""What self-learning minimises: f-divergences by their path-gradient coefficients.

With ``x = T(z)`` and ``w = p/q`` of mean 1, the path gradient of ``E_q[f(w)]`` is
``-E_q[c(w) d(log w)/dx dx/dtheta]`` with ``c = f''(w) w^2``: a power of ``w`` for each member of
the alpha family. Reverse KL has ``c = 1`` ("sticking the landing", Roeder et al. 1703.09194),
forward KL ``c = w`` (Tucker et al. 1810.04152), Jeffreys their sum, chi-squared ``c = 2 w^2``.
The variance of each vanishes at ``q = p``.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.core.registry import register


@register("divergence")
@dataclass(frozen=True)
class Divergence:
    """A sum of members of the alpha family: pairs of coefficient and power of ``w``.

    Divergences add and scale: ``reverse_kl + 0.5 * forward_kl``.

    Attributes:
        terms: ``(coefficient, power)`` of each part of ``c(w)``.
    """

    terms: tuple[tuple[float, float], ...]

    def __add__(self, other: "Divergence") -> "Divergence":
        return Divergence(self.terms + other.terms)

    def __rmul__(self, factor: float | int) -> "Divergence":
        if not factor > 0:
            raise SettingError(f"a divergence scales by a positive factor, got {factor}")
        return Divergence(tuple((factor * a, power) for a, power in self.terms))

    def coefficient(self, log_w: Array, ramp: Array) -> Array:
        """``c(w)``; terms with weights count by ``ramp``, from 0 (bad start) to 1."""
        total = jnp.zeros_like(log_w)
        for a, power in self.terms:
            share = jnp.ones(()) if power == 0 else ramp
            total = total + a * share * jnp.exp(power * log_w)
        if all(power != 0 for _, power in self.terms):
            total = total + (1 - ramp)
        return total


reverse_kl = Divergence(((1.0, 0.0),))
"""KL(q || p): finds a mode and fits it."""

forward_kl = Divergence(((1.0, 1.0),))
"""KL(p || q), by the flow's own normalised weights: covers."""

jeffreys = reverse_kl + forward_kl
"""KL(q || p) + KL(p || q), of arXiv:2310.04635."""

chi_squared = Divergence(((2.0, 2.0),))
"""chi-squared(p || q): minimises the variance of the weights."""


def alpha(power: float | int) -> Divergence:
    """The member of the alpha family whose path coefficient is ``w**power``."""
    if not 0 <= power <= 2:
        raise SettingError(f"alpha wants a power from 0 (reverse KL) to 2, got {power}")
    return Divergence(((1.0, float(power)),))
