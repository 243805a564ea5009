"""Delta chi-squared ranges of derived quantities, profiled on the tables.

The range of a quantity at Delta chi2 = 9 is that of its values over all points of chi-squared at
most 9 above the minimum (the "3-sigma range" of NuFIT). It is a constrained optimum: found on the
nodes of the tables, then polished on their splines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from posterion.studies.neutrinos.blocks import Block
from posterion.studies.neutrinos.interpolation import Spline
from posterion.studies.neutrinos.tables import Tables

MIXING = ("sin2_theta23", "delta_CP", "sin2_theta12", "sin2_theta13")
"""The parameters of the mixing matrix; the others are profiled away."""

Quantity = Callable[[dict[str, np.ndarray]], np.ndarray]
"""From arrays (n,) by parameter name to values (n, ...)."""

_FINE = 50
_STARTS = 3
_SHIFT = 1e-3
_SECTORS = 8
_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class MixingChiSquared:
    """Chi-squared of the four parameters of the mixing matrix, its minimum removed.

    Fields: `blocks` (theta23 and delta_CP; theta12; theta13), profiled over the two mass splittings
    and shifted to a minimum of 0; `splines` through them.
    """

    blocks: tuple[Block, ...]
    splines: tuple[Spline, ...]

    @classmethod
    def of(cls, tables: Tables) -> MixingChiSquared:
        """From the tables of one ordering; NuFIT's own projections where the file has them."""
        parts = (
            (MIXING[:2], ("sin2_theta23", "Dm2_3l", "delta_CP")),
            (MIXING[2:3], ("sin2_theta12", "log10_Dm2_21")),
            (MIXING[3:], ("sin2_theta13",)),
        )
        blocks = []
        for names, larger in parts:
            own = tables.has(*names)
            block = tables.block(*names) if own else tables.block(*larger).minimised(*names)
            chi2 = block.chi2 - block.chi2.min()
            blocks.append(Block(block.names, block.axes, chi2, block.periods))
        splines = tuple(Spline.through(b.axes, b.chi2, b.periods) for b in blocks)
        return cls(tuple(blocks), splines)

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Chi-squared and its gradient at one point (4,), in the order of `MIXING`."""
        value, gradient = 0.0, np.empty(len(MIXING))
        for block, spline in zip(self.blocks, self.splines, strict=True):
            index = [MIXING.index(name) for name in block.names]
            part, slope = spline.value_and_gradient(*(x[i : i + 1] for i in index))
            value += float(part[0])
            gradient[index] = [g[0] for g in slope]
        return value, gradient

    def nodes_below(self, level: float) -> dict[str, np.ndarray]:
        """All nodes of the product grid with chi-squared of at most `level`, each (n,)."""
        index, total = np.zeros((1, 0), dtype=np.int64), np.zeros(1)
        for block in self.blocks:
            chi2 = block.chi2.ravel()
            near = np.flatnonzero(chi2 <= level)
            total = total[:, None] + chi2[near]
            keep = np.argwhere(total <= level)
            index = np.column_stack([index[keep[:, 0]], near[keep[:, 1]]])
            total = total[total <= level]
        theta = {}
        for block, flat in zip(self.blocks, index.T, strict=True):
            for k, i in enumerate(np.unravel_index(flat, block.chi2.shape)):
                theta[block.names[k]] = block.axes[k][i]
        return theta


def parameter_range(tables: Tables, name: str, delta_chi2: float = 9.0) -> tuple[float, float]:
    """The range of one parameter where NuFIT's own profile is at most `delta_chi2` (one ordering).

    The hull of that set. On a periodic axis it is cut where the profile is largest, so the upper
    end may lie beyond the axis; the whole turn if nothing exceeds `delta_chi2`.
    """
    block = tables.block(name)
    spline = Spline.through(block.axes, block.chi2 - block.chi2.min(), block.periods)
    axis = spline.axes[0]
    x = np.linspace(axis.breaks[0], axis.breaks[-1], _FINE * axis.intervals + 1)
    if axis.period is not None:
        cut = x[np.argmax(spline.value(x))]
        x = np.linspace(cut, cut + axis.period, len(x))
    excess = spline.value(x) - delta_chi2
    inside = np.flatnonzero(excess <= 0)

    def crossing(k: int) -> float:
        step = (x[k + 1] - x[k]) * excess[k] / (excess[k] - excess[k + 1])
        return float(x[k] + step)

    first, last = int(inside[0]), int(inside[-1])
    low = crossing(first - 1) if first > 0 else float(x[0])
    high = crossing(last) if last < len(x) - 1 else float(x[-1])
    return low, high


def profile_range(
    tables: Tables | Sequence[Tables],
    quantity: Quantity,
    delta_chi2: float = 9.0,
) -> np.ndarray:
    """The range of `quantity` over all points with chi-squared at most `delta_chi2` above the best.

    Args:
        tables: of one ordering; or of both, and the best is the better one's, by the offsets.
        quantity: a smooth function from arrays (n,) of the four parameters of the mixing matrix, by
            name, to values (n, ...).
        delta_chi2: 9 for NuFIT's 3-sigma ranges, 1 for 1 sigma.

    Returns:
        The smallest and the largest value, of shape (2, ...).
    """
    several = [tables] if isinstance(tables, Tables) else list(tables)
    best = min(one.offset for one in several)
    found = [
        _range(MixingChiSquared.of(one), quantity, delta_chi2 - (one.offset - best))
        for one in several
        if one.offset - best < delta_chi2
    ]
    low, high = zip(*found, strict=True)
    return np.stack([np.min(low, axis=0), np.max(high, axis=0)])


def _range(chi2: MixingChiSquared, quantity: Quantity, level: float) -> np.ndarray:
    nodes = chi2.nodes_below(level)
    count = len(nodes[MIXING[0]])
    values = np.concatenate(
        [
            np.asarray(quantity({n: x[start : start + _CHUNK] for n, x in nodes.items()}))
            for start in range(0, count, _CHUNK)
        ]
    )
    shape = values.shape[1:]
    values = values.reshape(count, -1)
    points = np.column_stack([nodes[name] for name in MIXING])
    sector = ((nodes["delta_CP"] % 360.0) // (360.0 / _SECTORS)).astype(int)
    sectors = [np.flatnonzero(sector == k) for k in np.unique(sector)]
    result = np.empty((2, values.shape[1]))
    for k in range(values.shape[1]):
        for side, sign in enumerate((1.0, -1.0)):
            best = [part[np.argmin(sign * values[part, k])] for part in sectors]
            best.sort(key=lambda i: sign * values[i, k])
            ends = [_polished(chi2, quantity, k, sign, points[i], level) for i in best[:_STARTS]]
            result[side, k] = sign * min(*ends, sign * values[best[0], k])
    return result.reshape(2, *shape)


def _polished(
    chi2: MixingChiSquared,
    quantity: Quantity,
    component: int,
    sign: float,
    origin: np.ndarray,
    level: float,
) -> float:
    """The smallest `sign * quantity` near a node, inside the level; infinite if not found."""
    axes = {
        name: axis
        for block, spline in zip(chi2.blocks, chi2.splines, strict=True)
        for name, axis in zip(block.names, spline.axes, strict=True)
    }
    step = np.array([axes[n].length / axes[n].intervals for n in MIXING])

    def objective(x: np.ndarray) -> np.ndarray:
        points = (origin + step * np.atleast_2d(x)).T
        values = np.asarray(quantity(dict(zip(MIXING, points, strict=True))))
        return sign * values.reshape(len(values), -1)[:, component]

    def slope(x: np.ndarray) -> np.ndarray:
        shift = _SHIFT * np.eye(len(x))
        ahead, behind = np.split(objective(np.concatenate([x + shift, x - shift])), 2)
        return (ahead - behind) / (2 * _SHIFT)

    @functools.lru_cache(maxsize=2)  # the optimiser asks for value and slope of one point in turn
    def constraint(x: bytes) -> tuple[float, np.ndarray]:
        value, gradient = chi2.value_and_gradient(origin + step * np.frombuffer(x))
        return level - value, -step * gradient

    scale = abs(float(objective(np.zeros(4))[0])) or 1.0
    bounds = [
        (None, None)
        if axes[n].period is not None
        else ((axes[n].breaks[0] - o) / s, (axes[n].breaks[-1] - o) / s)
        for n, o, s in zip(MIXING, origin, step, strict=True)
    ]
    found = minimize(
        lambda x: objective(x)[0] / scale,
        np.zeros(4),
        jac=lambda x: slope(x) / scale,
        method="SLSQP",
        bounds=bounds,
        constraints={
            "type": "ineq",
            "fun": lambda x: constraint(x.tobytes())[0],
            "jac": lambda x: constraint(x.tobytes())[1],
        },
        options={"ftol": 1e-10, "maxiter": 200},
    )
    inside = constraint(found.x.tobytes())[0] > -1e-4
    return float(objective(found.x)[0]) if inside else np.inf
