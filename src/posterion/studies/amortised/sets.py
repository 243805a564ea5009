"""Sets of measurements: mean and spread of a normal from a few draws, or from many.

    sigma^2 ~ InvGamma(a, b),  mu | sigma ~ N(0, sigma^2 / k),  x_i | mu, sigma ~ N(mu, sigma^2):

the prior is conjugate, so that the posterior is of the same kind.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_likelihood", "posterior", "simulated"]

Floats = NDArray[np.float64]

_SHAPE, _SCALE, _WEIGHT = 5.0, 4.0, 0.25
_FEWEST = 2


def _drawn(
    shape: float, scale: float, weight: float, middle: float, n: int, rng: np.random.Generator
) -> Floats:
    """Means and spreads ``(n, 2)``."""
    sd = np.sqrt(scale / rng.gamma(shape, size=n))
    return np.column_stack([middle + sd / np.sqrt(weight) * rng.normal(size=n), sd])


def simulated(n: int, points: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """``n`` means and spreads ``(n, 2)``, and sets of 2 to ``points`` draws ``(n, points, 1)``.

    What a set lacks to ``points`` is NaN.
    """
    theta = _drawn(_SHAPE, _SCALE, _WEIGHT, 0.0, n, rng)
    x = theta[:, :1] + theta[:, 1:] * rng.normal(size=(n, points))
    size = rng.integers(_FEWEST, points + 1, n)
    return theta, np.where(np.arange(points) < size[:, None], x, np.nan)[..., None]


def log_likelihood(theta: Floats, x: Floats) -> Floats:
    """``log p(x | mu, sigma)`` at parameters ``(n, 2)`` and one set, ``(points, 1)``."""
    x = x[~np.isnan(x)]
    away = (x - theta[:, :1]) / theta[:, 1:]
    return -0.5 * np.square(away).sum(axis=1) - len(x) * np.log(theta[:, 1] * np.sqrt(2 * np.pi))


def posterior(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """``n`` independent draws of the exact posterior of one set."""
    x = x[~np.isnan(x)]
    count, mean = len(x), x.mean()
    weight = _WEIGHT + count
    scale = _SCALE + 0.5 * np.square(x - mean).sum()
    scale += 0.5 * _WEIGHT * count / weight * mean**2
    return _drawn(_SHAPE + count / 2, scale, weight, count * mean / weight, n, rng)
