"""Targets whose evidence, draws and modes are known exactly.

Each is a density with a feature that breaks learners: modes far apart, of unequal weight, on a
ring, a funnel's many scales, curvature, walls, circles, many dimensions, a huge offset. Where the
support is the line the scale is 50 in each coordinate: no modes and no widths are told.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.special import i0, ive, ndtr

from posterion.core.errors import SettingError
from posterion.diagnostics import mode_fractions
from posterion.targets import Parameter, Target

__all__ = ["FUNNELS", "NAMES", "KnownTarget", "known_target"]

Floats = NDArray[np.float64]
LOG_2PI = float(np.log(2 * np.pi))
SCALE = 50.0
_BATCH = 8192


@dataclass(frozen=True, eq=False)
class KnownTarget:
    """A target with its exact truth.

    Attributes:
        name: as on the command line.
        target: one parameter ``x`` of shape ``(dim,)``.
        log_evidence: of its density, by analysis or quadrature.
        draw: ``draw(rng, n)``, independent exact draws ``(n, dim)``.
        centres: of the separated modes, ``(m, dim)``; one where it has a single mode.
        weights: the probability nearest to each centre, ``(m,)``.
        goal: ESS/N at exact draws that is asked for.
        feature: what is hard about it.
    """

    name: str
    target: Target
    log_evidence: float
    draw: Callable[[np.random.Generator, int], Floats]
    centres: Floats
    weights: Floats
    goal: float
    feature: str

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.target.dim

    def mode_fractions(self, x: Floats) -> Floats:
        """Share of points ``(n, dim)`` nearest to each centre, ``(m,)``."""
        (parameter,) = self.target.parameters
        period = 2 * np.pi if parameter.periodic else None
        return mode_fractions(x, self.centres, periods=[period] * self.dim)


def known_target(name: str) -> KnownTarget:
    """The target of that name; the same object each time, so that nothing compiles twice.

    Raises:
        SettingError: there is none of that name.
    """
    if name not in _BUILDERS:
        raise SettingError(f"no stress target {name!r}; there are {', '.join(NAMES)}")
    return _built(name)


@functools.cache
def _built(name: str) -> KnownTarget:
    return _BUILDERS[name](name)


def _make(
    name: str,
    log_density: Callable[[jax.Array], jax.Array],
    dim: int,
    *,
    log_evidence: float,
    draw: Callable[[np.random.Generator, int], Floats],
    feature: str,
    centres: Floats | None = None,
    weights: Floats | None = None,
    goal: float = 0.9,
    **bounds: float | bool,
) -> KnownTarget:
    """Wraps a batch-first log-density of ``(n, dim)``; on the line unless bounds are given."""
    options = bounds or {"scale": SCALE}
    parameter = Parameter("x", shape=(dim,), **options)  # type: ignore[arg-type]
    target = Target(lambda theta: log_density(theta["x"]), [parameter], vectorized=True, name=name)
    centres = np.zeros((1, dim)) if centres is None else centres
    weights = np.ones(1) if weights is None else weights
    return KnownTarget(name, target, log_evidence, draw, centres, weights, goal, feature)


def _until(
    n: int, propose: Callable[[int], tuple[Floats, NDArray[np.bool_]]], size: int = _BATCH
) -> Floats:
    """The first ``n`` accepted rows of batches of proposals."""
    kept: list[Floats] = []
    count = 0
    while count < n:
        x, accepted = propose(size)
        kept.append(x[accepted])
        count += int(accepted.sum())
    return np.concatenate(kept)[:n]


def _four_modes(name: str) -> KnownTarget:
    centres = np.array([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [-5.0, -5.0]])

    def log_density(x):
        squares = jnp.sum((x[:, None] - centres) ** 2, axis=-1)
        return jax.nn.logsumexp(-0.5 * squares, axis=1) - np.log(4) - LOG_2PI

    def draw(rng, n):
        return centres[rng.integers(0, 4, n)] + rng.normal(size=(n, 2))

    return _make(
        name,
        log_density,
        2,
        log_evidence=0.0,
        draw=draw,
        centres=centres,
        weights=np.full(4, 0.25),
        feature="four equal modes, 10 sigma apart",
    )


def _two_modes(name: str) -> KnownTarget:
    centres = np.stack([np.full(10, 1.6), np.full(10, -1.6)])

    def log_density(x):
        first = -0.5 * jnp.sum((x - 1.6) ** 2, -1) + np.log(0.7)
        second = -0.5 * jnp.sum((x + 1.6) ** 2, -1) + np.log(0.3)
        return jnp.logaddexp(first, second) - 5 * LOG_2PI

    def draw(rng, n):
        return centres[(rng.random(n) >= 0.7).astype(int)] + rng.normal(size=(n, 10))

    beyond = ndtr(-1.6 * np.sqrt(10.0))  # of each mode, nearer to the other's centre
    first = 0.7 * (1 - beyond) + 0.3 * beyond
    return _make(
        name,
        log_density,
        10,
        log_evidence=0.0,
        draw=draw,
        centres=centres,
        weights=np.array([first, 1 - first]),
        feature="two modes of weights 0.7 and 0.3 in 10 dimensions",
    )


def _ring(name: str) -> KnownTarget:
    radius, width = 5.0, 0.3

    def log_density(x):
        return -0.5 * ((jnp.sqrt(jnp.sum(x**2, -1)) - radius) / width) ** 2

    def draw(rng, n):
        def propose(size):  # radii have density r exp(-((r - 5) / 0.3)^2 / 2); 8 is 10 sigma off
            r, turn = radius + width * rng.normal(size=size), rng.uniform(0, 2 * np.pi, size)
            x = np.column_stack([r * np.cos(turn), r * np.sin(turn)])
            return x, rng.random(size) * 8.0 < r

        return _until(n, propose)

    s = radius / width
    line = width**2 * np.exp(-0.5 * s**2) + radius * width * np.sqrt(2 * np.pi) * ndtr(s)
    return _make(
        name,
        log_density,
        2,
        log_evidence=float(np.log(2 * np.pi * line)),
        draw=draw,
        feature="a ring around a hole",
    )


def _draw_bananas(rng: np.random.Generator, n: int, pairs: int) -> Floats:
    x = np.empty((n, 2 * pairs))
    x[:, 0::2] = 1 + rng.normal(size=(n, pairs))
    x[:, 1::2] = x[:, 0::2] ** 2 + 0.3 * rng.normal(size=(n, pairs))
    return x


def _bananas(
    name: str, pairs: int, feature: str, *, offset: float = 0.0, goal: float = 0.9
) -> KnownTarget:
    def log_density(x):
        a, b = x[:, 0::2], x[:, 1::2]
        terms = -0.5 * (a - 1) ** 2 - 0.5 * ((b - a**2) / 0.3) ** 2 - LOG_2PI - np.log(0.3)
        return jnp.sum(terms, -1) + offset

    return _make(
        name,
        log_density,
        2 * pairs,
        log_evidence=offset,
        draw=lambda rng, n: _draw_bananas(rng, n, pairs),
        feature=feature,
        goal=goal,
    )


def _box_corner(name: str) -> KnownTarget:
    mean, part, dim = 0.05, np.sqrt(0.045), 5  # each coordinate: mean + part (common + own)
    covariance = 0.09 * (np.eye(dim) / 2 + 0.5)
    precision = np.linalg.inv(covariance)

    def log_density(x):
        shift = x - mean
        return -0.5 * jnp.sum((shift @ precision) * shift, -1)

    def draw(rng, n):
        def propose(size):
            x = mean + part * (rng.normal(size=(size, 1)) + rng.normal(size=(size, dim)))
            return x, ((x > 0) & (x < 1)).all(axis=1)

        return _until(n, propose)

    # Given the common part the coordinates are independent: one integral remains.
    common = np.linspace(-12, 12, 40_001)
    low, high = (-mean / part) - common, ((1 - mean) / part) - common
    inside = (ndtr(high) - ndtr(low)) ** dim * np.exp(-0.5 * common**2) / np.sqrt(2 * np.pi)
    probability = np.trapezoid(inside, common)
    log_norm = 0.5 * dim * LOG_2PI + 0.5 * np.linalg.slogdet(covariance)[1]
    return _make(
        name,
        log_density,
        dim,
        log_evidence=float(np.log(probability) + log_norm),
        draw=draw,
        feature="a correlated normal cut by the corner of the unit box",
        lower=0.0,
        upper=1.0,
    )


def _torus(name: str) -> KnownTarget:
    def log_density(x):
        a, b = x[:, 0], x[:, 1]
        return 3 * jnp.cos(a - b) + jnp.cos(a + 2 * b)

    def draw(rng, n):
        def propose(size):
            x = rng.uniform(0, 2 * np.pi, (size, 2))
            value = 3 * np.cos(x[:, 0] - x[:, 1]) + np.cos(x[:, 0] + 2 * x[:, 1])
            return x, np.log(rng.random(size)) < value - 4

        return _until(n, propose)

    # (a, b) to (a - b, a + 2 b) covers the torus three times: the angles are independent there.
    log_evidence = 2 * LOG_2PI + np.log(ive(0, 3.0)) + 3 + np.log(i0(1.0))
    thirds = 2 * np.pi / 3 * np.arange(3.0)
    return _make(
        name,
        log_density,
        2,
        log_evidence=float(log_evidence),
        draw=draw,
        centres=np.stack([thirds, thirds], axis=1, dtype=np.float64),
        weights=np.full(3, 1 / 3),
        feature="three modes on a torus",
        lower=0.0,
        upper=2 * np.pi,
        periodic=True,
    )


def _gaussian(name: str) -> KnownTarget:
    dim = 50
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
    variances = np.logspace(0, 4, dim)
    log_norm = 0.5 * dim * LOG_2PI + 0.5 * np.log(variances).sum()

    def log_density(x):
        return -0.5 * jnp.sum((x @ axes) ** 2 / variances, -1) - log_norm

    def draw(rng, n):
        return (rng.normal(size=(n, dim)) * np.sqrt(variances)) @ axes.T

    return _make(
        name,
        log_density,
        dim,
        log_evidence=0.0,
        draw=draw,
        feature="50 dimensions, condition number 1e4",
    )


def _funnel(name: str) -> KnownTarget:
    def log_density(x):
        v, rest = x[:, 0], x[:, 1:]
        own = -0.5 * v**2 / 9 - np.log(3) - 5 * LOG_2PI
        return own - 0.5 * jnp.sum(rest**2, -1) * jnp.exp(-v) - 4.5 * v

    def draw(rng, n):
        v = 3 * rng.normal(size=(n, 1))
        return np.concatenate([v, np.exp(v / 2) * rng.normal(size=(n, 9))], axis=1)

    return _make(
        name,
        log_density,
        10,
        log_evidence=0.0,
        draw=draw,
        feature="a funnel: widths from 1e-4 to 1e4 in 9 dimensions",
        goal=0.8,
    )


_BUILDERS: dict[str, Callable[[str], KnownTarget]] = {
    "four-modes": _four_modes,
    "ring": _ring,
    "two-modes": _two_modes,
    "banana": lambda name: _bananas(name, 1, "a banana"),
    "box-corner": _box_corner,
    "torus": _torus,
    "gaussian": _gaussian,
    "offset": lambda name: _bananas(name, 1, "a banana at a log-density of 1e7", offset=1e7),
    "funnel": _funnel,
    "rosenbrock": lambda name: _bananas(name, 5, "five bananas in 10 dimensions", goal=0.8),
}

NAMES = tuple(_BUILDERS)
"""All stress targets."""

FUNNELS = ("funnel", "rosenbrock")
"""Those at which the prototype of the recipe failed."""
