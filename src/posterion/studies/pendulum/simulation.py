"""Pendulums: ten measured periods each, and what they say of gravity by hand.

The protocol of Caldeira and Nord, "Deeply Uncertain" (2004.10710).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

__all__ = ["FEATURES", "GRAVITY", "LENGTHS", "Pendulums", "analytic", "simulated"]

Floats = NDArray[np.float64]

GRAVITY = (5.0, 15.0)
"""m/s^2: the prior of what is asked for, uniform."""

LENGTHS = (0.2, 0.8)
"""m: of the training rows, uniform."""

LENGTH_ERROR = 0.02
"""Relative, of the measured length."""

LEAST_NOISE = 0.01
"""Relative, of a period; the most differs."""

_ANGLE, _MASS, _PERIODS = (5.0, 15.0), (0.02, 0.1), 10

FEATURES = ("theta", "L", "m", *(f"T{k}" for k in range(1, _PERIODS + 1)))
"""Columns of the features: angle (degrees), length (m), mass (kg), periods (s)."""


@dataclass(frozen=True, eq=False)
class Pendulums:
    """Simulated pendulums, arrays of one entry each.

    Attributes:
        g: gravity, m/s^2.
        features: what is measured, ``(n, 13)``, in the order of `FEATURES`.
        period: the true one, s.
        noise: relative, of a measured period.
    """

    g: Floats
    features: Floats
    period: Floats
    noise: Floats

    @property
    def length(self) -> Floats:
        """As measured, m."""
        return self.features[:, 1]

    @property
    def periods(self) -> Floats:
        """As measured, s, ``(n, 10)``."""
        return self.features[:, 3:]


def simulated(
    n: int, most_noise: float, *, lengths: tuple[float, float] = LENGTHS, seed: int
) -> Pendulums:
    """``n`` pendulums.

    Args:
        n: how many.
        most_noise: relative, of a period: each pendulum has its own, uniform from 1 % to this.
        lengths: m, from which to which; the default are those of training.
        seed: of all.
    """
    rng = np.random.default_rng([seed, 71])
    g = rng.uniform(*GRAVITY, n)
    angle, mass = rng.uniform(*_ANGLE, n), rng.uniform(*_MASS, n)
    length = rng.uniform(*lengths, n)
    noise = rng.uniform(LEAST_NOISE, most_noise, n)
    period = 2 * np.pi * np.sqrt(length / g)
    periods = period[:, None] * (1 + noise[:, None] * rng.normal(size=(n, _PERIODS)))
    measured = length * (1 + LENGTH_ERROR * rng.normal(size=n))
    features = np.column_stack([angle, measured, mass, periods])
    return Pendulums(g, features, period, noise)


def analytic(pendulums: Pendulums) -> tuple[Floats, Floats]:
    """Gravity by ``4 pi^2 L / T^2`` of the mean period, and its error by propagation.

    The error of the mean period is the spread about the true one, without its bias, over the root
    of their number.
    """
    mean = pendulums.periods.mean(axis=1)
    g = 4 * np.pi**2 * pendulums.length / mean**2
    n = pendulums.periods.shape[1]
    of_mean = np.exp(gammaln((n - 1) / 2) - gammaln(n / 2)) / np.sqrt(2)
    spread = (pendulums.periods - pendulums.period[:, None]).std(axis=1) * of_mean
    relative = np.hypot(2 * spread / mean, LENGTH_ERROR)
    return g, g * relative
