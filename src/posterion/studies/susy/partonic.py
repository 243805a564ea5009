"""Cross sections of quarks and gluons to squarks and gluinos at leading order.

W. Beenakker, R. Höpker, M. Spira and P. M. Zerwas, hep-ph/9610490, section 2 (squarks of one mass,
both chiralities), and for one squark alone W. Beenakker et al., hep-ph/9710451. Each function gives
``s * sigma / (pi alpha_s^2)``, without dimension, of squared masses over the squared energy:
``q = m_squark^2 / s`` and ``g = m_gluino^2 / s``.
"""

import jax.numpy as jnp
from jaxtyping import Array

__all__ = [
    "gg_to_gluinos",
    "gg_to_squark",
    "qg_to_both",
    "qq_to_gluinos",
    "qq_to_squark",
    "qqbar_to_squarks",
    "qquark_to_squarks",
]


def _beta(mass: Array) -> Array:
    return jnp.sqrt(jnp.maximum(1 - 4 * mass, 1e-30))


def _logarithm(offset: Array, beta: Array) -> Array:
    return jnp.log((1 + offset - beta) / (1 + offset + beta))


def gg_to_squark(q: Array) -> Array:
    """Two gluons to one kind of squark, of one chirality or mixed, and its antiparticle."""
    beta = _beta(q)
    return beta * (5 / 48 + 31 * q / 24) + (2 * q / 3 + q**2 / 6) * _logarithm(0.0 * q, beta)


def qq_to_squark(q: Array) -> Array:
    """A quark and its antiquark by a gluon to one kind of squark of another flavour."""
    return 2 / 27 * _beta(q) ** 3


def qqbar_to_squarks(q: Array, g: Array) -> tuple[Array, Array]:
    """A quark and an antiquark to their squarks by a gluino; the second if they are of one flavour.

    The second is the interference with the gluon's; the gluon's own, which makes every flavour, is
    `qq_to_squark`.
    """
    beta, d = _beta(q), g - q
    log = _logarithm(2 * d, beta)
    exchange = beta * (-4 / 9 - 4 * d**2 / (9 * (g + d**2))) + (-4 / 9 - 8 * d / 9) * log
    interference = beta * (4 / 27 + 8 * d / 27) + (8 * g / 27 + 8 * d**2 / 27) * log
    return exchange, interference


def qquark_to_squarks(q: Array, g: Array) -> tuple[Array, Array]:
    """Two quarks to their squarks; the second in addition if they are of one flavour."""
    beta, d = _beta(q), g - q
    log = _logarithm(2 * d, beta)
    exchange = beta * (-4 / 9 - 4 * d**2 / (9 * (g + d**2))) + (-4 / 9 - 8 * d / 9) * log
    return exchange, 8 * g / (27 * (1 + 2 * d)) * log


def gg_to_gluinos(g: Array) -> Array:
    """Two gluons to two gluinos."""
    beta = _beta(g)
    log = _logarithm(0.0 * g, beta)
    return beta * (-3 - 51 * g / 4) + (-9 / 4 - 9 * g + 9 * g**2) * log


def qq_to_gluinos(q: Array, g: Array) -> Array:
    """A quark and its antiquark to two gluinos."""
    beta, d = _beta(g), g - q
    log = _logarithm(-2 * d, beta)
    gluon = beta * (8 / 9 + 16 * g / 9)
    interference = beta * (-4 / 3 - 8 * d / 3) + (8 * g / 3 + 8 * d**2 / 3) * log
    squark = beta * (32 / 27 + 32 * d**2 / (27 * (q + d**2)))
    return gluon + interference + squark + (-64 * d / 27 - 8 * g / (27 * (1 - 2 * d))) * log


def qg_to_both(q: Array, g: Array) -> Array:
    """A quark and a gluon to a squark and a gluino."""
    d = g - q
    kappa = jnp.sqrt(jnp.maximum((1 - g - q) ** 2 - 4 * g * q, 1e-30))
    first = jnp.log((1 - d - kappa) / (1 - d + kappa))
    second = jnp.log((1 + d - kappa) / (1 + d + kappa))
    return (
        kappa * (-7 / 9 - 32 * d / 9)
        + (-8 * d / 9 + 2 * q * d + 8 * d**2 / 9) * first
        + (-1 - 2 * d + 2 * q * d) * second
    )
