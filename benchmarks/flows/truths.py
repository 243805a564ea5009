"""Data whose density is known: two moons, a checkerboard, mixtures of three Gaussians."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import logsumexp

_BLOCK = 10_000


class Truth(Protocol):
    """Draws, and their exact log-densities in float64."""

    @property
    def dim(self) -> int:
        """Length of the event."""
        ...

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws ``(n, dim)``."""
        ...

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-densities ``(n,)`` of rows ``(n, dim)``."""
        ...


@dataclass(frozen=True)
class TwoMoons:
    """A point on one of two half circles of radius 1, and normal noise around it.

    The density is an integral along the arcs, by Gauss and Legendre.
    """

    noise: float = 0.1
    nodes: int = 200
    dim: int = 2

    @staticmethod
    def _arcs(angle: np.ndarray) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([np.stack([c, s], -1), np.stack([1 - c, 0.5 - s], -1)])

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        arcs = self._arcs(rng.uniform(0, np.pi, n))
        which = rng.integers(0, 2, n)
        return arcs[which, np.arange(n)] + self.noise * rng.normal(size=(n, 2))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        node, weight = np.polynomial.legendre.leggauss(self.nodes)
        centres = self._arcs((node + 1) * np.pi / 2).reshape(-1, 2)
        weights = np.tile(weight / 4, 2) / (2 * np.pi * self.noise**2)
        found = []
        for rows in np.array_split(x, max(1, len(x) // _BLOCK)):
            square = ((rows[:, None] - centres) ** 2).sum(-1)
            found.append(logsumexp(-0.5 * square / self.noise**2, axis=1, b=weights))
        return np.concatenate(found)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the eight dark squares of a board of four by four, on [-2, 2]."""

    dim: int = 2

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        column = rng.integers(0, 4, n)
        row = 2 * rng.integers(0, 2, n) + column % 2
        return np.stack([column, row], -1) - 2 + rng.uniform(size=(n, 2))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        square = np.floor(x).astype(int) + 2
        dark = (square.sum(-1) % 2 == 0) & ((square >= 0) & (square < 4)).all(-1)
        return np.where(dark, -np.log(8), -np.inf)


class ThreeGaussians:
    """Three diagonal Gaussians: means U[0, 10], standard deviations U[0, 1], weights U[0, 1],
    normalised (Coccaro et al., 2302.12024).
    """

    def __init__(self, dim: int, seed: int = 2302):
        rng = np.random.default_rng([seed, dim])
        self.dim = dim
        self.means = rng.uniform(0, 10, (3, dim))
        self.scales = rng.uniform(0, 1, (3, dim))
        weights = rng.uniform(0, 1, 3)
        self.weights = weights / weights.sum()

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        which = rng.choice(3, n, p=self.weights)
        return self.means[which] + self.scales[which] * rng.normal(size=(n, self.dim))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        each = [
            -0.5 * (((x - mean) / scale) ** 2).sum(-1) - np.log(scale).sum()
            for mean, scale in zip(self.means, self.scales, strict=True)
        ]
        norm = 0.5 * self.dim * np.log(2 * np.pi)
        return logsumexp(np.stack(each, -1), axis=1, b=self.weights) - norm


TRUTHS: dict[str, Truth] = {
    "two moons": TwoMoons(),
    "checkerboard": Checkerboard(),
    **{f"3 Gaussians, D = {dim}": ThreeGaussians(dim) for dim in (4, 16, 64)},
}
"""By name."""


def entropy(truth: Truth, rng: np.random.Generator, n: int) -> tuple[float, float]:
    """Minus the mean log-density of ``n`` exact draws, and its standard error."""
    values = np.concatenate(
        [truth.log_prob(truth.sample(rng, min(_BLOCK, n))) for _ in range(max(1, n // _BLOCK))]
    )
    return -values.mean(), values.std() / np.sqrt(len(values))
