"""The log-density of a HistFactory model, for many points at once.

Sums and products over modifiers go only through those that act on a sample and channel, where a
dense tensor of modifiers, samples and bins is mostly ones. Formulae: K. Cranmer et al.,
CERN-OPEN-2012-016, section 4; interpolation codes as pyhf 0.7 defines them.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray
from scipy.special import gammaln

from posterion.core.errors import DensityError

_DEPTH = 4  # factors to one logarithm
# From a polynomial's values, slopes and curvatures at 1 and -1 to its coefficients (code 4).
_CODE4 = np.linalg.inv(
    [
        [1, 1, 1, 1, 1, 1],
        [-1, 1, -1, 1, -1, 1],
        [1, 2, 3, 4, 5, 6],
        [1, -2, 3, -4, 5, -6],
        [0, 2, 6, 12, 20, 30],
        [0, 2, -6, 12, -20, 30],
    ]
)


class Rates:
    """Expected rates of a HistFactory model's bins.

    Args:
        channels: of the specification, in the order of the bins.
        places: of the parameters of each set, by its name.
        codes: interpolation codes of ``normsys`` and ``histosys``.

    Raises:
        DensityError: a set of parameters that is shorter than a channel that it acts on.
    """

    def __init__(
        self,
        channels: Sequence[Mapping[str, Any]],
        places: Mapping[str, NDArray[np.int64]],
        codes: Mapping[str, str],
    ):
        samples = [list({s["name"]: s for s in c["samples"]}.values()) for c in channels]
        sizes = [len(group[0]["data"]) for group in samples]
        starts = np.cumsum([0, *sizes])
        slots, bins = max(map(len, samples)), int(starts[-1])
        # Cells are (slot, bin): a channel's samples fill the slots; what is left expects nothing.
        nominal = np.zeros((slots, bins))
        norms: dict[int, list[tuple[int, float, float]]] = {}
        shapes: dict[int, NDArray[np.float64]] = {}
        factors: dict[tuple[int, int], list[int]] = {}
        begins: dict[tuple[str, str], dict[int, int]] = {}
        for c, s, sample in (
            (c, s, x) for c, group in enumerate(samples) for s, x in enumerate(group)
        ):
            cells = np.arange(starts[c], starts[c + 1])
            nominal[s, cells] = sample["data"]
            modifiers = {(m["type"], m["name"]): m["data"] for m in sample["modifiers"]}
            for (kind, name), data in modifiers.items():
                own = places[name]
                if kind == "normsys":
                    entry = int(own[0]), data["lo"], data["hi"]
                    norms.setdefault(s * len(channels) + c, []).append(entry)
                    continue
                if kind == "histosys":
                    shape = shapes.setdefault(int(own[0]), np.zeros((2, slots, bins)))
                    low, high = (np.asarray(data[k]) for k in ("lo_data", "hi_data"))
                    shape[:, s, cells] = (high - low) / 2, (high + low) / 2 - nominal[s, cells]
                    continue
                if kind in ("staterror", "shapesys"):  # one element a bin, over its channels
                    known = begins.setdefault((kind, name), {})
                    own = own[known.setdefault(c, sum(sizes[k] for k in known)) :]
                elif kind != "shapefactor":
                    own = np.repeat(own, len(cells))
                if len(own) < len(cells):
                    raise DensityError(
                        f"the {kind} {name!r} has {len(own)} elements, and the channel "
                        f"{channels[c]['name']!r} {len(cells)} bins; give it a {kind} of its own"
                    )
                for cell, place in zip(cells, own, strict=False):
                    factors.setdefault((s, int(cell)), []).append(int(place))
        self._nominal = nominal[..., None]
        self._norms = _Norms(norms, slots * len(channels), codes["normsys"]) if norms else None
        self._channel_of_bin = np.repeat(np.arange(len(channels)), sizes)
        self._shape_places = np.array(list(shapes), np.int64)
        stacked = np.array(list(shapes.values())).reshape(-1, 2, slots * bins)
        self._shapes = np.concatenate([stacked[:, 0], stacked[:, 1]]).T
        self._shape_code = codes["histosys"]
        self._factor_places = np.full((max(map(len, factors.values()), default=0), slots, bins), -1)
        for (s, b), entries in factors.items():
            self._factor_places[: len(entries), s, b] = entries

    def __call__(self, pars: Array) -> Array:
        """Rates ``(bins, n)`` at all parameters ``(parameters, n)``; traced."""
        rates = jnp.asarray(self._nominal)
        slots, bins, count = *rates.shape[:2], pars.shape[1]
        if len(self._shape_places):
            basis = _histosys(pars[self._shape_places], self._shape_code)
            delta = jnp.asarray(self._shapes) @ jnp.concatenate(basis)
            rates = rates + delta.reshape(slots, bins, count)
        if self._norms is not None:
            norms = self._norms(pars).reshape(slots, -1, count)
            rates = rates * (norms if norms.shape[1] == bins else norms[:, self._channel_of_bin])
        extended = jnp.concatenate([pars, jnp.ones_like(pars[:1])])  # the last, -1, is no factor
        for places in self._factor_places:
            rates = rates * extended[places]
        return jnp.sum(jnp.broadcast_to(rates, (slots, bins, count)), axis=0)


class _Norms:
    """The product of the ``normsys`` factors of each group (a sample in a channel)."""

    def __init__(self, norms: Mapping[int, list[tuple[int, float, float]]], groups: int, code: str):
        self.groups, self.code = groups, code
        # Entries of a group stand in columns of _DEPTH, so that a column needs one logarithm.
        columns = [
            (group, (entries[k : k + _DEPTH] + [(0, 1.0, 1.0)] * _DEPTH)[:_DEPTH])
            for group, entries in sorted(norms.items())
            for k in range(0, len(entries), _DEPTH)
        ]
        self.group = np.array([group for group, _ in columns])
        table = np.array([column for _, column in columns], np.float64).T[..., None]
        self.places = table[0, ..., 0].astype(np.int64)
        low, high = table[1], table[2]
        self.log_low, self.log_high = np.log(low), np.log(high)
        ends = [high - 1, low - 1, high * self.log_high, -low * self.log_low]
        ends += [high * self.log_high**2, low * self.log_low**2]
        self.polynomial = np.tensordot(_CODE4, np.stack(ends), 1)
        alpha = np.linspace(-1, 1, 401)
        inside = sum(c * alpha ** (k + 1) for k, c in enumerate(self.polynomial))
        self.signed = bool(np.any(1 + inside <= 0))

    def __call__(self, pars: Array) -> Array:
        alpha = pars[self.places]
        factors = jnp.exp(self._by_group(_log_products(self, alpha)))
        if not self.signed:
            return factors
        below = jnp.sum((jnp.abs(alpha) < 1) & (self.inside(alpha)[0] < 0), axis=0)
        return jnp.where(self._by_group(below) % 2 == 1, -factors, factors)

    def _by_group(self, columns: Array) -> Array:
        return jax.ops.segment_sum(columns, self.group, self.groups, indices_are_sorted=True)

    def outside(self, alpha: Array) -> tuple[Array, Array]:
        """Logarithm of the exponential factors, and its slope."""
        high, low = jnp.asarray(self.log_high), jnp.asarray(self.log_low)
        return jnp.abs(alpha) * jnp.where(alpha > 0, high, low), jnp.where(alpha > 0, high, -low)

    def inside(self, alpha: Array) -> tuple[Array, Array]:
        """The polynomial factors, and their slope."""
        value = slope = jnp.zeros_like(alpha)
        for coefficient in (*self.polynomial[::-1], 1.0):
            slope = slope * alpha + value
            value = value * alpha + jnp.asarray(coefficient)
        return value, slope


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_products(norms: _Norms, alpha: Array) -> Array:
    """Logarithm of the modulus of each column's product, ``(columns, n)``."""
    logs, _ = norms.outside(alpha)
    if norms.code == "code1":
        return jnp.sum(logs, axis=0)
    near = jnp.abs(alpha) < 1
    factors, _ = norms.inside(jnp.where(near, alpha, 0))
    return jnp.sum(jnp.where(near, 0, logs), axis=0) + jnp.log(jnp.abs(math.prod(factors)))


@_log_products.defjvp
def _(norms, primals, tangents):
    (alpha,) = primals
    _, slope = norms.outside(alpha)
    if norms.code == "code4":
        near = jnp.abs(alpha) < 1
        value, rise = norms.inside(jnp.where(near, alpha, 0))
        slope = jnp.where(near, rise / value, slope)
    return _log_products(norms, alpha), jnp.sum(slope * tangents[0], axis=0)


def _histosys(alpha: Array, code: str) -> tuple[Array, Array]:
    """What multiplies half the difference of the two, and half their sum less the nominal."""
    size = jnp.abs(alpha)
    if code == "code0":
        return alpha, size
    if code == "code2":
        # Below -1 pyhf multiplies by alpha, where the formula has alpha + 1: the same here.
        odd = jnp.where(alpha > 1, alpha - 1, alpha)
        return odd, jnp.where(size > 1, 2 * jnp.abs(odd), alpha**2)
    square = jnp.where(size < 1, alpha, 0) ** 2
    return alpha, jnp.where(size < 1, square * (15 + square * (3 * square - 10)) / 8, size)


class HistFactory:
    """The log-density of a HistFactory model at its observed data, without what is a prior.

    Args:
        names: of the target's parameters, in the order of its coordinates.
        rates: expected rates of the bins.
        observed: counts in the bins.
        initial: values of all parameters; the fixed ones keep theirs.
        free: which of them are the target's coordinates, in their order.
        constant: added to the log-density.
        poi: the parameter of interest, None where the model has none.
        fixed: names and values of what is fixed.

    A point where a bin expects less than nothing is excluded (-inf).
    """

    def __init__(
        self,
        names: Sequence[str],
        rates: Rates,
        observed: NDArray[np.float64],
        initial: NDArray[np.float64],
        free: NDArray[np.int64],
        *,
        constant: float,
        poi: str | None,
        fixed: Mapping[str, float],
    ):
        self.names = tuple(names)
        self.rates = rates
        self.observed = observed[:, None]
        self.initial = initial
        self.constant = constant - float(np.sum(gammaln(observed + 1)))
        self.poi = poi
        self.fixed = dict(fixed)
        others = np.setdiff1d(np.arange(len(initial)), free)
        self._held = initial[others, None]
        self._order = np.argsort(np.concatenate([free, others]))

    def __call__(self, theta: Mapping[str, Any]) -> Array:
        """``(n,)`` at the parameters by name, each ``(n, *shape)``."""
        parts = [jnp.asarray(theta[name]) for name in self.names]
        return self.at_coordinates(
            jnp.concatenate([p.reshape(p.shape[0], -1) for p in parts], axis=1)
        )

    def at_coordinates(self, x: Array) -> Array:
        """``(n,)`` at coordinates ``(n, dim)``; traced."""
        pars = x.T
        if len(self._held):
            held = jnp.broadcast_to(jnp.asarray(self._held), (len(self._held), x.shape[0]))
            pars = jnp.concatenate([pars, held])[self._order]
        rates, observed = self.rates(pars), jnp.asarray(self.observed)
        positive = rates > 0
        log_rates = jnp.log(jnp.where(positive, rates, 1.0))
        nothing = jnp.where((rates == 0) & (observed == 0), -rates, -jnp.inf)
        terms = jnp.where(positive, observed * log_rates - rates, nothing)
        return jnp.sum(terms, axis=0) + self.constant
