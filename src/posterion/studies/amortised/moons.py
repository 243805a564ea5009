"""Two moons: two parameters, two numbers, and a posterior of two crescents.

The case ``two_moons`` of Lueckmann et al., 2101.04653: both parameters uniform on [-1, 1],

    x = (r cos a + 1/4, r sin a) + (-|theta_1 + theta_2|, theta_2 - theta_1) / sqrt 2,
    r ~ N(0.1, 0.01),  a ~ U(-pi/2, pi/2).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_likelihood", "posterior", "simulated"]

Floats = NDArray[np.float64]

_RADIUS, _WIDTH, _OFFSET = 0.1, 0.01, 0.25


def _noise(n: int, rng: np.random.Generator) -> Floats:
    r, a = rng.normal(_RADIUS, _WIDTH, n), rng.uniform(-np.pi / 2, np.pi / 2, n)
    return np.column_stack([r * np.cos(a) + _OFFSET, r * np.sin(a)])


def _shift(theta: Floats) -> Floats:
    sums = np.column_stack([-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]])
    return sums / np.sqrt(2)


def simulated(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """``n`` parameters from their prior and what they produce, ``(n, 2)`` each."""
    theta = rng.uniform(-1, 1, (n, 2))
    return theta, _noise(n, rng) + _shift(theta)


def log_likelihood(theta: Floats, x: Floats) -> Floats:
    """``log p(x | theta)`` at parameters ``(n, 2)`` and one ``x``, ``(2,)``."""
    u, v = (x - _shift(theta) - [_OFFSET, 0]).T
    r = np.hypot(u, v)
    log_r = -0.5 * ((r - _RADIUS) / _WIDTH) ** 2 - np.log(_WIDTH * np.sqrt(2 * np.pi))
    return np.where(u > 0, log_r - np.log(np.pi * np.where(u > 0, r, 1.0)), -np.inf)


def posterior(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """``n`` independent draws of the exact posterior of one ``x``.

    For given noise, ``x`` says what the parameters are, but for the sign of their sum; turning
    changes no area and the prior is flat, so that noise of which the parameters lie inside is
    distributed as given ``x``.
    """
    found: list[Floats] = []
    while sum(map(len, found)) < n:
        noise = _noise(2 * n, rng)
        total = np.sqrt(2) * (noise[:, 0] - x[0])
        difference = np.sqrt(2) * (x[1] - noise[:, 1])
        total, possible = total * rng.choice([-1, 1], 2 * n), total >= 0
        theta = np.column_stack([total - difference, total + difference]) / 2
        found.append(theta[possible & (np.abs(theta) <= 1).all(axis=1)])
    return np.concatenate(found)[:n]
