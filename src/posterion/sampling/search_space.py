"""Coordinates for a search over many orders of magnitude, and its budget of density calls."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.bijections.support import SupportMap
from posterion.targets.frame import Frame
from posterion.targets.target import Target, x_and_log_det

Floats = NDArray[np.float64]

SMALLEST, LARGEST, FARTHEST = 1e-8, 1e8, 1e14


@dataclass
class Budget:
    """Density calls, and how many there may be."""

    limit: int
    calls: int = 0

    def affords(self, calls: int, share: float = 1.0) -> bool:
        """Whether so many more calls stay within a share of the limit."""
        return self.calls + calls <= share * self.limit


def traced_value(target: Target, frame: Frame, bound: Array, sign: Array, y: Array) -> Array:
    """Log-densities (n,) at points (n, dim) of a search space; traced, inside x64."""
    x, log_det = frame.to_x(y)
    return target.log_density64(bound + sign * x) + log_det


_values = partial(jax.jit, static_argnums=0)(traced_value)


class SearchSpace:
    """A target in coordinates ``y`` on the line.

    Along an unbounded coordinate without a scale ``y`` is the parameter itself; along a
    half-bounded one the logarithm of its distance from the bound; along any other that of the
    reference measure. Log-densities are per unit of ``y``.

    Attributes:
        kinds: of support, (dim,).
        bound: of the half-bounded coordinates, (dim,).
        unscaled: which coordinates are searched, (dim,).
    """

    def __init__(self, target: Target, budget: Budget):
        self.target, self.budget = target, budget
        self.unscaled = target.unscaled
        self.kinds = [kind for kind, _, _ in target.kinds]
        self.half = self.unscaled & np.isin(self.kinds, ("above", "below"))
        support = target.support()
        kinds = ["log" if half else kind for half, kind in zip(self.half, self.kinds, strict=True)]
        first = np.where(self.unscaled, 0.0, np.asarray(support.a))
        second = np.where(self.unscaled, 1.0, np.asarray(support.b))
        self.bound = np.where(self.half, np.asarray(support.a), 0.0)
        self.sign = np.where(np.asarray(self.kinds) == "below", -1.0, 1.0)
        self.sign = np.where(self.half, self.sign, 1.0)
        with jax.enable_x64(True):
            self.frame = Frame.plain(SupportMap(kinds, jnp.asarray(first), jnp.asarray(second)))

    def value(self, y: Floats) -> Floats:
        """Log-densities (n,) at (n, dim), on the host; -inf where they are not finite."""
        self.budget.calls += len(y)
        if self.target.has_gradient:
            value = self._traced(y)
        else:
            with np.errstate(all="ignore"):
                x, log_det = x_and_log_det(self.frame, y)
                value = self.target.evaluate(self.bound + self.sign * x) + log_det
        return np.where(np.isfinite(value), value, -np.inf)

    def _traced(self, y: Floats) -> Floats:
        """In batches of few sizes, lest every one compiles."""
        rows = next((n for n in (32, 256) if n >= len(y)), 2048)
        parts = []
        with jax.enable_x64(True):
            for start in range(0, len(y), rows):
                part = y[start : start + rows]
                padded = np.concatenate([part, np.repeat(part[-1:], rows - len(part), axis=0)])
                value = _values(self.target, self.frame, self.bound, self.sign, padded)
                parts.append(np.asarray(value)[: len(part)])
        return np.concatenate(parts)

    def starts(self, count: int, rng: np.random.Generator) -> Floats:
        """Points (count, dim): the origin, common magnitudes, and magnitudes of their own."""
        dim = len(self.unscaled)
        low, high = np.log10(SMALLEST), np.log10(LARGEST)
        common = np.linspace(low, high, count // 2)[:, None] + np.zeros(dim)
        own = rng.uniform(low, high, size=(count - 1 - len(common), dim))
        magnitude = np.concatenate([common, own])
        free = 10**magnitude * rng.choice([-1.0, 1.0], size=magnitude.shape)
        free = np.where(self.half, np.log(10) * magnitude, free)
        y = np.where(self.unscaled, free, rng.normal(size=free.shape))
        angles = rng.uniform(-np.pi, np.pi, size=free.shape)
        return np.concatenate([np.zeros((1, dim)), np.where(self.frame.circular, angles, y)])

    def wrapped(self, y: Floats) -> Floats:
        """The same points with circles in one turn."""
        turned = (y + np.pi) % (2 * np.pi) - np.pi
        return np.where(self.frame.circular, turned, y)
