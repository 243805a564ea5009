"""What follows from draws of the six parameters, beside ranges that rest on no measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from posterion.studies.neutrinos import physics
from posterion.studies.neutrinos.learning import Case
from posterion.studies.neutrinos.ranges import profile_range
from posterion.studies.neutrinos.tables import Tables

WORDS = {"NO": "normal", "IO": "inverted"}
LIGHTEST = np.geomspace(1e-4, 1.0, 61)
"""Lightest masses in eV of the plots."""

_DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class Derived:
    """Functions of the draws of one ordering, or of the mixture of both.

    Fields: `magnitudes` |U| (n, 3, 3); `jarlskog` and `jarlskog_max` (n,); `ranges`, the ranges
    (2, 3, 3) of |U|, (2,) of J and J_max at Delta chi2 = 9; `lightest` masses in eV and the
    effective masses `against` them, (2, len(lightest)) each (empty for a mixture).
    """

    magnitudes: np.ndarray
    jarlskog: np.ndarray
    jarlskog_max: np.ndarray
    ranges: dict[str, np.ndarray]
    lightest: np.ndarray
    against: dict[str, np.ndarray]

    @classmethod
    def of(cls, draws: Mapping[str, np.ndarray], cases: Sequence[Case], *, seed: int) -> Derived:
        """From draws; of one case, or of the mixture of two."""
        against: dict[str, np.ndarray] = {}
        if len(cases) == 1:
            some = {name: x[:_DRAWS] for name, x in draws.items()}
            against = physics.against_lightest(some, cases[0].ordering, LIGHTEST, seed=seed)
        return cls(
            physics.mixing_magnitudes(draws),
            physics.jarlskog(draws),
            physics.jarlskog_max(draws),
            ranges_of([case.tables for case in cases]),
            LIGHTEST,
            against,
        )


def ranges_of(tables: Sequence[Tables]) -> dict[str, np.ndarray]:
    """Ranges at Delta chi2 = 9 of |U|, J and its largest value, over the given orderings."""
    several = list(tables)
    return {
        "magnitudes": profile_range(several, physics.mixing_magnitudes),
        "jarlskog": profile_range(several, physics.jarlskog),
        "jarlskog_max": profile_range(several, physics.jarlskog_max),
    }
