"""The exact posterior of the neutrino target by summation over its splines.

The target factorises into groups of at most three parameters, each summed by Gauss-Legendre rules
on every interval of its tables: evidence, moments and marginals without sampling. The term that
couples theta13 and theta23 is folded in exactly.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from posterion.core.errors import SettingError
from posterion.studies.neutrinos.blocks import NAMES
from posterion.studies.neutrinos.interpolation import Axis, Spline
from posterion.studies.neutrinos.target import ATMOSPHERIC, PAIR, REACTOR, SOLAR, ChiSquared

NEGLIGIBLE = 45.0
"""Intervals where chi-squared exceeds its minimum by more (weight 2e-10) are left out."""

ORDER = 3
"""Points of the Gauss-Legendre rule per interval."""

_FINE = 12


@dataclass(frozen=True, eq=False)
class Marginal:
    """An exact one-dimensional marginal.

    Fields: `name`; `x`, ascending points in the unit of the parameter; `density` and `cdf` there;
    `lower`, `upper`: the range of the parameter, outside of which (and of `x`) the density is 0.
    """

    name: str
    x: np.ndarray
    density: np.ndarray
    cdf: np.ndarray
    lower: float
    upper: float

    def pdf(self, x: np.ndarray | float) -> np.ndarray:
        """The density at `x`, per unit of the parameter."""
        return np.asarray(np.interp(x, self.x, self.density, left=0.0, right=0.0))

    def probability_below(self, x: np.ndarray | float) -> np.ndarray:
        """The cumulative distribution at `x`."""
        inside = np.clip(x, *self.ends)
        smooth = CubicHermiteSpline(self.x, self.cdf, self.density)(inside)
        return np.asarray(np.clip(smooth, 0.0, 1.0))

    def quantile(self, p: np.ndarray | float) -> np.ndarray:
        """The values below which the probability is `p`."""
        rising = np.concatenate([[True], np.diff(self.cdf) > 0])
        x = np.asarray(np.interp(p, self.cdf[rising], self.x[rising]))
        limit = np.diff(self.x).max()
        for _ in range(3):  # Newton's steps from a value that is close
            density = np.maximum(self.pdf(x), 1e-9 * self.density.max())
            step = np.clip((self.probability_below(x) - p) / density, -limit, limit)
            x = np.clip(x - step, *self.ends)
        return np.asarray(x)

    @property
    def ends(self) -> tuple[float, float]:
        """The first and last point of `x`."""
        return float(self.x[0]), float(self.x[-1])

    def bins(self, n: int = 50) -> np.ndarray:
        """The n + 1 edges of n bins of equal probability; the outer ones are the range's ends."""
        return np.array(
            [self.lower, *self.quantile(np.arange(1, n) / n), self.upper], dtype=np.float64
        )

    def divergence(self, draws: np.ndarray, n: int = 50) -> float:
        """Jensen-Shannon divergence in nats of `draws` from the exact marginal.

        In `n` bins of equal exact probability; perfect draws give about (n - 1) / (8 len(draws)).
        """
        counts = np.histogram(draws, self.bins(n))[0]
        p, q = counts / len(draws), np.full(n, 1.0 / n)
        middle = (p + q) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(p > 0, p * np.log(p / middle), 0.0) + q * np.log(q / middle)
        return float(0.5 * terms.sum())


@dataclass(frozen=True, eq=False)
class Truth:
    """The exact posterior of one ordering; made by `exact`.

    Fields: `chi2`, the target's; `log_evidence`, with the offset of the ordering removed, in the
    units of the parameters (theta23, 1e-3 eV^2, degrees, theta12, log10, theta13); `nodes`, the
    points of each parameter's rule; `weights`, those of the rule; `joint`, the probability of each
    node of the three groups, and of (theta13, theta23) where that term is on.
    """

    chi2: ChiSquared
    log_evidence: float
    nodes: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    joint: dict[tuple[str, ...], np.ndarray]

    @property
    def log_evidence_with_offset(self) -> float:
        """The log evidence with the offset of the ordering: comparable between orderings."""
        return self.log_evidence - 0.5 * self.chi2.tables.offset

    @functools.cached_property
    def _masses(self) -> dict[str, np.ndarray]:
        return {name: self._mass(name) for name in NAMES}

    def _mass(self, *names: str) -> np.ndarray:
        """Probabilities of the nodes of one or two parameters, in the order of `names`."""
        for group, mass in self.joint.items():
            if set(names) <= set(group):
                others = tuple(k for k, n in enumerate(group) if n not in names)
                reduced = mass.sum(axis=others)
                kept = [n for n in group if n in names]
                return reduced if kept == list(names) else reduced.T
        first, second = names
        if PAIR in self.joint and PAIR[0] in names and {first, second} & set(ATMOSPHERIC):
            if first != PAIR[0]:
                return self._mass(second, first).T
            pair, mass = self.joint[PAIR], self._mass(PAIR[1], second)
            return pair @ (mass / np.maximum(pair.sum(0), 1e-300)[:, None])
        return self._mass(first)[:, None] * self._mass(second)[None, :]

    @property
    def mean(self) -> dict[str, float]:
        """The means (of delta_CP: on the range of the tables, cut at its ends)."""
        return {n: float(m @ self.nodes[n]) for n, m in self._masses.items()}

    @property
    def sd(self) -> dict[str, float]:
        """The standard deviations (of delta_CP: on the range of the tables)."""
        mean = self.mean
        return {
            n: float(np.sqrt(m @ (self.nodes[n] - mean[n]) ** 2)) for n, m in self._masses.items()
        }

    @property
    def correlation(self) -> np.ndarray:
        """The matrix (6, 6) of correlations in the order of `NAMES`."""
        mean, sd = self.mean, self.sd
        result = np.eye(len(NAMES))
        for i, a in enumerate(NAMES):
            for j, b in enumerate(NAMES[:i]):
                left, right = (self.nodes[n] - mean[n] for n in (a, b))
                result[i, j] = left @ self._mass(a, b) @ right / (sd[a] * sd[b])
                result[j, i] = result[i, j]
        return result

    @functools.cached_property
    def marginals(self) -> dict[str, Marginal]:
        """The exact one-dimensional marginals by name."""
        return {name: self._marginal(name) for name in NAMES}

    @property
    def upper_octant_probability(self) -> float:
        """P(sin^2 theta23 > 1/2)."""
        return float(1.0 - self.marginals["sin2_theta23"].probability_below(0.5))

    def marginal2d(self, a: str, b: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The exact marginal of two parameters: nodes of each, and the density (n_a, n_b)."""
        area = self.weights[a][:, None] * self.weights[b][None, :]
        return self.nodes[a], self.nodes[b], self._mass(a, b) / area

    def profile(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """NuFIT's own one-dimensional Delta chi-squared: nodes and values, offset removed.

        Raises TableError if the file has no such block.
        """
        block = self.chi2.tables.block(name)
        return block.axes[0], block.chi2

    def _marginal(self, name: str) -> Marginal:
        lower, upper = self.chi2.edges(name)
        x, mass = self.nodes[name], self._masses[name]
        known = mass > 1e-290
        x, log_density = x[known], np.log(mass[known] / self.weights[name][known])
        axis = _axis_of(self.chi2, name)
        if axis.period is not None:
            x = np.concatenate([x[-ORDER:] - axis.period, x, x[:ORDER] + axis.period])
            log_density = np.concatenate([log_density[-ORDER:], log_density, log_density[:ORDER]])
        inside = (axis.breaks >= x[0] - np.diff(axis.breaks).max()) & (
            axis.breaks <= x[-1] + np.diff(axis.breaks).max()
        )
        breaks = axis.breaks[inside]
        steps = np.arange(_FINE) / _FINE
        fine = np.append((breaks[:-1, None] + np.diff(breaks)[:, None] * steps).ravel(), breaks[-1])
        density = np.exp(CubicSpline(x, log_density)(fine))
        cdf = CubicSpline(fine, density).antiderivative()(fine)
        cdf = np.maximum.accumulate(cdf)
        return Marginal(name, fine, density / cdf[-1], cdf / cdf[-1], lower, upper)


def exact(chi2: ChiSquared, order: int = ORDER) -> Truth:
    """The exact posterior of `chi2`, with `order` points of the rule per interval."""
    nodes, weights = {}, {}
    for name in NAMES:
        nodes[name], weights[name] = _rule(_axis_of(chi2, name), _profile(chi2, name), order)
    groups: tuple[tuple[str, ...], ...] = (ATMOSPHERIC, SOLAR, REACTOR)
    mass: dict[tuple[str, ...], np.ndarray] = {
        names: _mass(chi2, names, nodes, weights) for names in groups
    }
    if PAIR in chi2.terms:
        coupling = np.exp(-0.5 * chi2.terms[PAIR].on_grid(*(nodes[n] for n in PAIR)))
        pair = mass[REACTOR][:, None] * coupling * mass[ATMOSPHERIC].sum((1, 2))
        mass[ATMOSPHERIC] *= (mass[REACTOR] @ coupling)[:, None, None]
        mass[REACTOR] = pair.sum(1)
        total = mass[ATMOSPHERIC].sum() * mass[SOLAR].sum()
        mass[PAIR] = pair
    else:
        total = np.prod([m.sum() for m in mass.values()])
    for part in mass.values():
        part /= part.sum()
    return Truth(chi2, float(np.log(total)), nodes, weights, mass)


def ordering_probability(truths: Mapping[str, Truth]) -> tuple[float, float]:
    """P(inverted ordering) with equal prior odds, and the log evidence ratio normal / inverted.

    `truths` by ordering, "NO" and "IO". The offset of each ordering enters once.
    """
    if set(truths) != {"NO", "IO"}:
        raise SettingError(f"Both orderings are needed, NO and IO; got {sorted(truths)}.")
    log_ratio = truths["NO"].log_evidence_with_offset - truths["IO"].log_evidence_with_offset
    return float(1.0 / (1.0 + np.exp(log_ratio))), float(log_ratio)


def _term(chi2: ChiSquared, name: str) -> tuple[tuple[str, ...], Spline]:
    return next(item for item in chi2.terms.items() if name in item[0])


def _axis_of(chi2: ChiSquared, name: str) -> Axis:
    names, spline = _term(chi2, name)
    return spline.axes[names.index(name)]


def _mass(
    chi2: ChiSquared,
    names: tuple[str, ...],
    nodes: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
) -> np.ndarray:
    """exp(-chi2/2) of one term at all its nodes, times their weights."""
    mass = chi2.terms[names].on_grid(*(nodes[n] for n in names))
    mass *= -0.5
    np.exp(mass, out=mass)
    for factor in np.ix_(*(weights[n] for n in names)):
        mass *= factor
    return mass


def _profile(chi2: ChiSquared, name: str) -> np.ndarray:
    """The smallest chi-squared at the nodes of one axis, one per break."""
    profile = chi2.tables.block(*_term(chi2, name)[0]).minimised(name).chi2
    return np.append(profile, profile[0]) if _axis_of(chi2, name).period is not None else profile


def _rule(axis: Axis, profile: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights on the intervals that matter, and on one more at each end."""
    near = np.flatnonzero(profile < profile.min() + NEGLIGIBLE)
    first, last = max(near[0] - 2, 0), min(near[-1] + 2, axis.intervals)
    left, width = axis.breaks[first:last, None], np.diff(axis.breaks[first : last + 1])[:, None]
    point, weight = np.polynomial.legendre.leggauss(order)
    return (left + width * (point + 1) / 2).ravel(), (width * weight / 2).ravel()
