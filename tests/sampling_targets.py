"""Targets with exact evidences and moments for the tests of the samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.special import i0e
from scipy.stats import norm

from posterion.targets import Frame, Parameter, Target

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Case:
    """A log-density of one vector ``x`` (n, dim), for JAX and NumPy alike, and its truth."""

    density: Callable[[Any, Any], Any]
    dim: int
    log_evidence: float
    mean: np.ndarray
    sd: np.ndarray
    lower: float | None = None
    upper: float | None = None
    scale: float | None = None

    def target(self, plain: bool = False, offset: float = 0.0) -> Target:
        library = np if plain else jnp
        x = Parameter("x", shape=(self.dim,), lower=self.lower, upper=self.upper, scale=self.scale)
        return Target(
            lambda theta: self.density(theta["x"], library) + offset,
            [x],
            vectorized=True,
            plain=plain or None,
            name="case",
        )


def frame_of(target: Target) -> Frame:
    return Frame.plain(target.support())


COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])
_PRECISION = np.linalg.inv(COVARIANCE)
_CENTRE = np.array([2.0, -1.0])

GAUSSIAN = Case(
    lambda x, np_: -0.5 * np_.sum((x - _CENTRE) @ _PRECISION * (x - _CENTRE), axis=-1),
    2,
    LOG_2PI + 0.5 * float(np.linalg.slogdet(COVARIANCE)[1]),
    _CENTRE,
    np.sqrt(np.diag(COVARIANCE)),
    scale=20.0,
)

BANANA = Case(
    lambda x, np_: -0.5 * (x[..., 0] - 1.0) ** 2 - 0.5 * ((x[..., 1] - x[..., 0] ** 2) / 0.3) ** 2,
    2,
    LOG_2PI + float(np.log(0.3)),
    np.array([1.0, 2.0]),
    np.array([1.0, np.sqrt(6.09)]),
    scale=50.0,
)

MODES = np.array([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [-5.0, -5.0]])


def _four(x: Any, np_: Any) -> Any:
    square = -0.5 * np_.sum((x[..., None, :] - MODES) ** 2, axis=-1)
    top = np_.max(square, axis=-1)
    return top + np_.log(np_.mean(np_.exp(square - top[..., None]), axis=-1))


FOUR = Case(_four, 2, LOG_2PI, np.zeros(2), np.full(2, np.sqrt(26.0)), scale=50.0)

_BOX_DIM, _BOX_SD = 5, 0.3
_BOX_PRECISION = np.linalg.inv(_BOX_SD**2 * (np.eye(_BOX_DIM) / 2 + 0.5))


def _box_truth() -> tuple[float, float, float]:
    """Log evidence, mean and sd of one coordinate: given the common part all are independent."""
    s = _BOX_SD / np.sqrt(2)

    def moments(g: float) -> np.ndarray:
        centre = 0.05 + s * g
        low, high = -centre / s, (1 - centre) / s
        mass = norm.cdf(high) - norm.cdf(low)
        first = centre * mass + s * (norm.pdf(low) - norm.pdf(high))
        ends = low * norm.pdf(low) - high * norm.pdf(high)
        second = centre**2 * mass + s**2 * (mass + ends)
        second += 2 * centre * s * (norm.pdf(low) - norm.pdf(high))
        return norm.pdf(g) * mass ** (_BOX_DIM - 1) * np.array([mass, first, second])

    z, first, second = (
        quad(lambda g, k=k: moments(g)[k], -10, 10, points=[0, 2, 4], limit=200)[0]
        for k in range(3)
    )
    constant = 0.5 * _BOX_DIM * LOG_2PI - 0.5 * float(np.linalg.slogdet(_BOX_PRECISION)[1])
    mean = first / z
    return float(np.log(z)) + constant, mean, float(np.sqrt(second / z - mean**2))


_BOX = _box_truth()

BOX = Case(
    lambda x, np_: -0.5 * np_.sum((x - 0.05) @ _BOX_PRECISION * (x - 0.05), axis=-1),
    _BOX_DIM,
    _BOX[0],
    np.full(_BOX_DIM, _BOX[1]),
    np.full(_BOX_DIM, _BOX[2]),
    lower=0.0,
    upper=1.0,
)

KAPPA, MU = 2.0, 3.0


def circles() -> Target:
    """A von Mises angle about a mean beside the cut, in degrees, and a uniform one in radians."""

    def log_density(theta: dict[str, Any]) -> Any:
        return KAPPA * np.cos(np.deg2rad(theta["phi"]) - MU) + 0.0 * theta["psi"]

    return Target(
        log_density,
        [
            Parameter("phi", unit="deg", lower=-180.0, upper=180.0, periodic=True),
            Parameter("psi", lower=0.0, upper=2 * np.pi, periodic=True),
        ],
        vectorized=True,
        plain=True,
        name="circles",
    )


CIRCLES_EVIDENCE = float(np.log(360.0 * i0e(KAPPA)) + KAPPA + LOG_2PI)
CIRCLES_RESULTANT = float(jax.scipy.special.i1e(KAPPA) / i0e(KAPPA))
"""Mean of cos(phi - mu)."""


def mixed(library: Any) -> Target:
    """A von Mises angle, an exponential on [0, 1], and half of a normal with two holes.

    The density is -inf where x < 0 and NaN where x > 6.
    """

    def log_density(theta: dict[str, Any]) -> Any:
        x = theta["x"]
        value = library.where(x < 0, -library.inf, -0.5 * x**2)
        value = library.where(x > 6, library.nan, value)
        angle = library.deg2rad(theta["phi"])
        return value + KAPPA * library.cos(angle - MU) - 3.0 * theta["t"]

    return Target(
        log_density,
        [
            Parameter("phi", unit="deg", lower=-180.0, upper=180.0, periodic=True),
            Parameter("t", lower=0.0, upper=1.0),
            Parameter("x", scale=5.0),
        ],
        vectorized=True,
        plain=True if library is np else None,
        name="mixed",
    )


MIXED_EVIDENCE = (
    float(np.log(360.0 * i0e(KAPPA)) + KAPPA)
    + float(np.log((1 - np.exp(-3)) / 3))
    + 0.5 * LOG_2PI
    - float(np.log(2))
)
MIXED_T = float(1 / 3 - 1 / np.expm1(3))
"""Mean of t."""
MIXED_X = float(np.sqrt(2 / np.pi))
"""Mean of x."""
