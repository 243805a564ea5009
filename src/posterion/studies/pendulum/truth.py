"""The exact posterior of gravity given what was measured, by quadrature.

``g`` enters by the period ``T = 2 pi sqrt(L / g)`` alone, so that the integral over the unknown
noise is one function of ``T``, and that over the length is of it:

    p(g | L', T_k) ~ int dL p(L' | L) M(2 pi sqrt(L / g)),  M(T) = int dnu prod_k N(T_k; T, nu T).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from posterion.core.cores import chunks
from posterion.studies.pendulum.simulation import (
    GRAVITY,
    LEAST_NOISE,
    LENGTH_ERROR,
    LENGTHS,
    Pendulums,
)

__all__ = ["Exact", "posterior"]

Floats = NDArray[np.float64]

_GRAVITIES, _LENGTHS, _NOISES, _ROWS = 301, 48, 24, 250


@dataclass(frozen=True, eq=False)
class Exact:
    """Exact posteriors, arrays of one entry a pendulum.

    Attributes:
        mean: of gravity.
        sd: its standard deviation.
        below: probability below the true gravity: uniform, over pendulums from the prior.
    """

    mean: Floats
    sd: Floats
    below: Floats


def posterior(pendulums: Pendulums, most_noise: float) -> Exact:
    """The posterior of each pendulum under the prior of the training rows.

    Args:
        pendulums: of any length; the posterior holds them for those of the training range.
        most_noise: of the prior of the noise.
    """
    n = len(pendulums.g)
    mean, sd, below = np.empty(n), np.empty(n), np.empty(n)
    for _, start, stop in chunks(n, _ROWS):
        rows = slice(start, stop)
        log_p, g = _log_posterior(pendulums, rows, most_noise)
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        step = g[1] - g[0]
        weight = np.full(len(g), step)
        weight[[0, -1]] /= 2  # trapezoids
        total = p @ weight
        mean[rows] = (p @ (weight * g)) / total
        sd[rows] = np.sqrt((p * (g - mean[rows, None]) ** 2) @ weight / total)
        cumulative = np.concatenate(
            [np.zeros((len(p), 1)), np.cumsum((p[:, 1:] + p[:, :-1]) * step / 2, axis=1)], axis=1
        )
        below[rows] = [
            np.interp(true, g, c / c[-1])
            for true, c in zip(pendulums.g[rows], cumulative, strict=True)
        ]
    return Exact(mean, sd, below)


def _log_posterior(pendulums: Pendulums, rows: slice, most_noise: float) -> tuple[Floats, Floats]:
    """Of ``(rows, gravities)``, up to a constant a row; and the gravities."""
    g = np.linspace(*GRAVITY, _GRAVITIES)
    measured, periods = pendulums.length[rows], pendulums.periods[rows]
    # Lengths about the measured one, within the range of the prior.
    low = np.clip(measured * (1 - 6 * LENGTH_ERROR), *LENGTHS)
    high = np.clip(measured * (1 + 6.5 * LENGTH_ERROR), *LENGTHS)
    nodes, weights = np.polynomial.legendre.leggauss(_LENGTHS)
    length = 0.5 * (low + high)[:, None] + 0.5 * (high - low)[:, None] * nodes
    log_length = np.log(weights) - np.log(length)
    log_length = log_length - 0.5 * ((measured[:, None] / length - 1) / LENGTH_ERROR) ** 2
    nu, share = np.polynomial.legendre.leggauss(_NOISES)
    nu = 0.5 * (LEAST_NOISE + most_noise) + 0.5 * (most_noise - LEAST_NOISE) * nu
    count = periods.shape[1]
    first, second = periods.sum(axis=1), (periods**2).sum(axis=1)
    # log M on a grid of log T, about where it is not negligible, then at all pairs of g and L.
    wanted = 0.5 * (np.log(length)[:, None, :] - np.log(g)[None, :, None]) + np.log(2 * np.pi)
    ends = wanted.min(axis=(1, 2)), wanted.max(axis=(1, 2))
    grid = np.linspace(*ends, 600, axis=1)
    period = np.exp(grid)
    squares = second[:, None] / period**2 - 2 * first[:, None] / period + count
    log_m = logsumexp(
        np.log(share) - count * (np.log(nu) + grid[..., None]) - 0.5 * squares[..., None] / nu**2,
        axis=2,
    )
    place = (wanted - ends[0][:, None, None]) / (grid[:, 1] - grid[:, 0])[:, None, None]
    left = np.clip(place.astype(int), 0, grid.shape[1] - 2)
    along = place - left
    row = np.arange(len(measured))[:, None, None]
    at = (1 - along) * log_m[row, left] + along * log_m[row, left + 1]
    return logsumexp(at + log_length[:, None, :], axis=2), g
