"""The neutrino target: what the tables of a global fit say of six oscillation parameters.

``log P = -1/2 [chi2(theta23, Dm2_3l, delta_CP) + chi2(theta12, Dm2_21) + chi2(theta13)]``

The tables are profiles of NuFIT's likelihood (arXiv:2007.14792) and stand for it here. The solar
pair separates from the others to better than 0.07 in chi-squared. theta13 and theta23 do not quite
(correlation -0.16 for normal, -0.21 for inverted ordering): this is neglected unless it is asked
for. The measure is flat in the stated parameters, in the box that the tables cover.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from posterion.core.errors import TableError
from posterion.studies.neutrinos.blocks import NAMES, Block
from posterion.studies.neutrinos.interpolation import Spline
from posterion.studies.neutrinos.tables import Tables
from posterion.targets import Parameter, Target

ATMOSPHERIC, SOLAR, REACTOR = NAMES[:3], NAMES[3:5], NAMES[5:]
"""The three groups of parameters whose chi-squared is added."""

PAIR = ("sin2_theta13", "sin2_theta23")
"""The axes of the optional fourth term."""

_LABELS = {
    "sin2_theta23": (r"$\sin^2\theta_{23}$", ""),
    "delta_CP": (r"$\delta_{CP}$", "deg"),
    "sin2_theta12": (r"$\sin^2\theta_{12}$", ""),
    "log10_Dm2_21": (r"$\log_{10}(\Delta m^2_{21}/\mathrm{eV}^2)$", ""),
    "sin2_theta13": (r"$\sin^2\theta_{13}$", ""),
}


@dataclass(frozen=True, eq=False)
class ChiSquared:
    """The chi-squared of one ordering as a sum of splines of tables, its own minimum removed.

    Fields: `tables`; `terms`, the splines by the names of their arguments.
    """

    tables: Tables
    terms: dict[tuple[str, ...], Spline]

    @classmethod
    def of(cls, tables: Tables, *, theta13_theta23: bool = False) -> ChiSquared:
        """The default sum of three terms.

        With `theta13_theta23` a fourth is added: the block of that pair less its own two profiles
        (over nodes, as NuFIT's projections are), so that nothing is counted twice.

        Raises TableError if a block is missing or blocks cover different ranges.
        """
        blocks = [tables.block(*names) for names in (ATMOSPHERIC, SOLAR, REACTOR)]
        if theta13_theta23:
            pair = tables.block(*PAIR)
            rows, columns = (pair.minimised(name).chi2 for name in PAIR)
            chi2 = pair.chi2 - rows[:, None] - columns[None, :]
            blocks.append(Block(PAIR, pair.axes, chi2, pair.periods))
            for name in PAIR:
                edges = next(block.edges(name) for block in blocks if name in block.names)
                if not np.allclose(edges, pair.edges(name)):
                    raise TableError(
                        f"{tables.source}: the block of {PAIR[0]} and {PAIR[1]} covers {name} = "
                        f"{pair.edges(name)}, the others {edges}; leave theta13_theta23 out."
                    )
        terms = {b.names: Spline.through(b.axes, b.chi2, b.periods) for b in blocks}
        return cls(tables, terms)

    def __call__(self, theta: Mapping[str, Any]) -> jax.Array:
        """Chi-squared in JAX; arrays of one shape by name."""
        return sum(spline(*(theta[n] for n in names)) for names, spline in self.terms.items())  # type: ignore

    def value(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Chi-squared in NumPy, float64; arrays of one shape by name."""
        parts = (spline.value(*(theta[n] for n in names)) for names, spline in self.terms.items())
        return np.sum(list(parts), axis=0)

    def log_density(self, theta: Mapping[str, Any]) -> jax.Array:
        """``-chi2 / 2`` in JAX, differentiable."""
        return -0.5 * self(theta)

    def plain_log_density(self, theta: Mapping[str, Any]) -> np.ndarray:
        """``-chi2 / 2`` in NumPy, without gradient."""
        return -0.5 * self.value(theta)

    def edges(self, name: str) -> tuple[float, float]:
        """The range that the tables cover, in the unit of the parameter (delta_CP: one turn)."""
        names, spline = next(item for item in self.terms.items() if name in item[0])
        breaks = spline.axes[names.index(name)].breaks
        return float(breaks[0]), float(breaks[-1])

    def parameters(self) -> tuple[Parameter, ...]:
        """The six parameters, bounded by the edges of the tables; delta_CP is periodic."""
        label = r"$\Delta m^2_{%s}$" % ("32" if self.tables.ordering == "IO" else "31")
        labels = {**_LABELS, "Dm2_3l": (label, "10⁻³ eV²")}
        made = []
        for name in NAMES:
            label, unit = labels[name]
            lower, upper = self.edges(name)
            periodic = name == "delta_CP"
            made.append(
                Parameter(name, label=label, unit=unit, lower=lower, upper=upper, periodic=periodic)
            )
        return tuple(made)


def neutrino_target(
    tables: Tables, *, theta13_theta23: bool = False, plain: bool = False
) -> Target:
    """The target of one ordering: six parameters, flat in the box of the tables.

    Args:
        tables: of one ordering, from `load_release` or `read_tables`.
        theta13_theta23: add the term that couples theta13 and theta23.
        plain: evaluate in NumPy, without gradient.

    Raises TableError if the tables lack a block.
    """
    chi2 = ChiSquared.of(tables, theta13_theta23=theta13_theta23)
    return Target(
        chi2.plain_log_density if plain else chi2.log_density,
        chi2.parameters(),
        vectorized=True,
        plain=plain or None,
        name=f"NuFIT {tables.release} {tables.ordering}",
    )
