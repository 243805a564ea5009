"""The cross section of all coloured superpartners in proton collisions at 13 TeV.

Leading order, with the scale at the mean mass of the pair, times a factor that stands for the next
order. The four light squarks of each chirality are taken at their mean mass, as the formulas want.

Because scale and threshold both follow from the mean mass, the luminosities at the nodes of the
integral over the energy depend on it alone: they are tabulated once and interpolated.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.studies.susy import partonic
from posterion.studies.susy.partons import alpha_s, densities

__all__ = ["CHANNELS", "cross_sections"]

ENERGY = 13_000.0  # GeV
_PICOBARN = 3.8938e8  # GeV^-2
_NODES = 32
_LOW, _HIGH, _POINTS = 20.0, 6400.0, 192  # mean masses that are tabulated, in equal ratios

CHANNELS = ("gluinos", "squark_antisquark", "squarks", "squark_gluino", "third_generation")
"""What is produced."""

# The next order over the leading one as a fit to the tables of NNLL-fast 1.1 (Beenakker et al.,
# 1607.07741; 0.5 to 3 TeV) that is right to 1 to 5 % (standard deviation): coefficients of
# 1, x, x^2, r, r^2, x r with x = tanh log(mean mass / TeV) and r = tanh log(gluino / squark).
_NEXT_ORDER = {
    "gluinos": (1.560, 0.163, 0.249, 0.047, 0.371, -0.285),
    "squark_antisquark": (1.528, 0.159, 0.229, -0.038, -0.016, -0.020),
    "squarks": (1.395, 0.113, 0.212, -0.274, -0.040, -0.068),
    "squark_gluino": (1.405, 0.123, 0.216, -0.142, 0.209, -0.034),
    "third_generation": (1.471, 0.072, 0.192, 0.0, 0.0, 0.0),
}


class _Pair(NamedTuple):
    """A pair of one mean mass at the nodes, ``(n, nodes)``: partonic energies and luminosities."""

    energy2: Array
    gg: Array
    flavour: Array  # quark and its antiquark
    any_flavour: Array  # quark and any antiquark
    quarks: Array  # two quarks or two antiquarks of one flavour
    any_quarks: Array  # of any
    qg: Array

    def total(self, scaled: Array) -> Array:
        """The integral of luminosity times ``scaled``, the cross section times the energy^2."""
        return jnp.sum(scaled / self.energy2, -1)


def cross_sections(
    squark: Array,
    gluino: Array,
    third: Sequence[Array],
    *,
    flavours: int = 4,
    next_order: bool = True,
) -> dict[str, Array]:
    """Cross sections in pb of each of `CHANNELS`, ``(n,)``.

    Args:
        squark: mean mass of the light squarks, GeV.
        gluino: its mass.
        third: masses of squarks that are made in pairs of their own, stops and sbottoms.
        flavours: of light squarks, of two chiralities each.
        next_order: whether to multiply by the factor for the next order.
    """
    g2, q2 = gluino[:, None] ** 2, squark[:, None] ** 2

    def factor(name: str, mean: Array) -> Array:
        leading = _PICOBARN * math.pi * alpha_s(mean) ** 2
        if not next_order:
            return leading
        x, r = jnp.tanh(jnp.log(mean / 1000)), jnp.tanh(jnp.log(gluino / squark))
        terms = (1.0, x, x**2, r, r**2, x * r)
        return leading * sum(c * term for c, term in zip(_NEXT_ORDER[name], terms, strict=True))

    def single(pair: _Pair, q: Array) -> Array:
        return pair.gg * partonic.gg_to_squark(q) + pair.flavour * partonic.qq_to_squark(q)

    pair = _pair(gluino)
    q, g = q2 / pair.energy2, g2 / pair.energy2
    value = pair.gg * partonic.gg_to_gluinos(g) + pair.flavour * partonic.qq_to_gluinos(q, g)
    found = {"gluinos": factor("gluinos", gluino) * pair.total(value)}

    pair = _pair(squark)
    q, g = q2 / pair.energy2, g2 / pair.energy2
    exchange, interference = partonic.qqbar_to_squarks(q, g)
    value = 2 * flavours * single(pair, q) + pair.any_flavour * exchange
    value = value + pair.flavour * interference
    found["squark_antisquark"] = factor("squark_antisquark", squark) * pair.total(value)
    exchange, same = partonic.qquark_to_squarks(q, g)
    value = pair.any_quarks * exchange + pair.quarks * same
    found["squarks"] = factor("squarks", squark) * pair.total(value)

    mean = (squark + gluino) / 2
    pair = _pair(mean)
    value = pair.qg * partonic.qg_to_both(q2 / pair.energy2, g2 / pair.energy2)
    found["squark_gluino"] = factor("squark_gluino", mean) * pair.total(value)

    total = jnp.zeros_like(gluino)
    for mass in third:
        pair = _pair(mass)
        value = pair.total(single(pair, mass[:, None] ** 2 / pair.energy2))
        total = total + factor("third_generation", mass) * value
    return found | {"third_generation": total}


def _pair(mean: Array) -> _Pair:
    """Energies and luminosities for a mean mass ``(n,)``."""
    beta, logs = _table()
    threshold = (2 * mean / ENERGY) ** 2
    most = jnp.sqrt(jnp.maximum(1 - threshold, 0.0))[:, None]
    energy2 = 4 * mean[:, None] ** 2 / (1 - (most * beta) ** 2)
    place = jnp.log(mean / _LOW) / math.log(_HIGH / _LOW) * (_POINTS - 1)
    place = jnp.clip(place, 1.0, _POINTS - 2.001)
    start = jnp.floor(place).astype(int)
    u = (place - start)[:, None, None]
    rows = jnp.asarray(logs)[start[:, None] + jnp.arange(-1, 3)]  # (n, 4, nodes, kinds)
    weights = (  # of Lagrange's cubic through the four neighbours
        -u * (u - 1) * (u - 2) / 6,
        (u + 1) * (u - 1) * (u - 2) / 2,
        -(u + 1) * u * (u - 2) / 2,
        (u + 1) * u * (u - 1) / 6,
    )
    values = jnp.exp(sum(w * rows[:, i] for i, w in enumerate(weights)))
    return _Pair(energy2, *jnp.moveaxis(values, -1, 0))


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) of the velocity over its greatest, ``(nodes,)``, and the logarithms of
    weight times luminosity, ``(masses, nodes, kinds)``.
    """
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    beta = (points + 1) / 2
    mean = np.geomspace(_LOW, _HIGH, _POINTS)[:, None]
    threshold = (2 * mean / ENERGY) ** 2
    most = np.sqrt(1 - threshold)
    velocity = most * beta
    tau = threshold / (1 - velocity**2)
    # d tau / tau = 2 beta d beta / (1 - beta^2)
    measure = most * weights / 2 * 2 * velocity / (1 - velocity**2)
    found = _luminosities(tau, mean)
    return beta, np.log(np.stack([measure * value for value in found], -1))


def _luminosities(tau: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, ...]:
    """``tau dL / d tau`` of the kinds of `_Pair`, at parton energies ``tau ENERGY^2``."""
    points, weights = np.polynomial.legendre.leggauss(96)
    half = -np.log(tau) / 2
    y = half[..., None] * points
    root = np.sqrt(tau)[..., None]
    first = densities(root * np.exp(y), scale[..., None])
    second = {name: value[..., ::-1] for name, value in first.items()}  # y to -y

    def integral(product: Any) -> np.ndarray:
        return half * np.sum(weights * product, -1)

    def summed(beam: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
        return sum((beam[name] for name in names), np.zeros(()))

    quarks, antiquarks = ("u", "d", "s", "c", "b"), ("ubar", "dbar", "s", "c", "b")
    pairs = list(zip(quarks, antiquarks, strict=True))
    all_first, anti_first = summed(first, quarks), summed(first, antiquarks)
    all_second, anti_second = all_first[..., ::-1], anti_first[..., ::-1]
    every = all_first + anti_first
    return (
        integral(first["g"] * second["g"]),
        2 * integral(sum(first[q] * second[a] for q, a in pairs)),
        2 * integral(all_first * anti_second),
        integral(sum(first[n] * second[n] for n in (*quarks, *antiquarks))),
        integral(all_first * all_second + anti_first * anti_second),
        2 * integral(every * second["g"]),
    )
