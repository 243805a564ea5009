"""Profiles: how high a density rises where one coordinate is held, and the intervals that follow.

With ``L`` the largest density and ``L(mu)`` the largest where the coordinate is ``mu``, the test
statistic is ``t = 2 (log L - log L(mu))``: its level 1 bounds the 68.3 % confidence interval where
Wilks' theorem holds (Cowan et al., 1007.1727).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.stats import chi2

from posterion.bijections.base import apply_batch
from posterion.core.errors import DensityError, SettingError
from posterion.sampling.scales import find_scales
from posterion.targets.frame import Frame
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target, flatten_theta, unflatten_theta, x_of

__all__ = ["Profile", "profile"]

Floats = NDArray[np.float64]
Density = Callable[[Array], Array]

_DRAWS, _PIECE = 20_000, 2000
_GRID, _REACH, _LOOKS = 41, 3.0, 8
_EDGE = 1e-9  # of the interval: bounds themselves may have no density
_NOWHERE = 1e100


@dataclass(frozen=True, eq=False)
class Profile:
    """A profiled density.

    Attributes:
        name: of the coordinate that is held.
        grid: where, ``(m,)``.
        log_prob: largest log-density at each, ``(m,)``.
        points: where the other coordinates are then, ``(m, dim)``.
        best: the best fit, ``(dim,)``.
        best_log_prob: its log-density.
        parameters: of the coordinates.
        exact: the profile of the density itself beside that of what was learned from it.
    """

    name: str
    grid: Floats
    log_prob: Floats
    points: Floats
    best: Floats
    best_log_prob: float
    parameters: tuple[Parameter, ...]
    exact: "Profile | None" = None

    @property
    def t(self) -> Floats:
        """The test statistic at each point of the grid, ``(m,)``."""
        return 2 * (self.best_log_prob - self.log_prob)

    @property
    def best_fit(self) -> dict[str, np.ndarray]:
        """The best fit by parameter name."""
        theta = unflatten_theta(self.parameters, self.best[None])
        return {name: np.asarray(value[0]) for name, value in theta.items()}

    @property
    def error(self) -> Floats:
        """``t`` minus that of the exact density, ``(m,)``.

        Raises:
            DensityError: there is no exact one.
        """
        if self.exact is None:
            raise DensityError(f"the profile of {self.name!r} has no exact one beside it")
        return self.t - self.exact.t

    def interval(self, probability: float = 0.6826894921370859) -> tuple[float, float]:
        """Confidence interval by Wilks' theorem; an end beyond the grid is NaN.

        Raises:
            SettingError: the probability is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise SettingError(f"a probability is between 0 and 1, got {probability}")
        level = float(chi2.ppf(probability, 1))
        excess = self.t - level
        lowest = int(np.argmin(excess))
        ends = []
        for side in (slice(lowest, None, -1), slice(lowest, None)):
            t, x = excess[side], self.grid[side]
            above = np.flatnonzero(t > 0)
            if not len(above) or above[0] == 0:
                ends.append(np.nan)
                continue
            i = above[0]
            root = np.sqrt(np.maximum(t[i - 1 : i + 1] + level, 0.0))  # of a parabola, a line
            ends.append(float(np.interp(np.sqrt(level), root, x[i - 1 : i + 1])))
        return ends[0], ends[1]


def profile(source: Any, name: str, grid: ArrayLike | None = None, *, seed: int = 0) -> Profile:
    """The profile of one coordinate, by ascent along the gradient in float64.

    Each point starts from its neighbour's optimum and from the best draw nearby, so that a second
    mode is not overlooked where draws have been there.

    Args:
        source: a target, a posterior or a fit; its parameters' priors belong to the density.
        name: of the coordinate, such as ``"mu"``, or ``"x[2]"`` of a vector.
        grid: where it is held, ``(m,)``; by default 41 points as far as about ``t = 9``.
        seed: integer seed of the draws to start from.

    Returns:
        A `Profile`; of a result that has its target at hand, with the exact one in ``exact``.

    Raises:
        SettingError: no such coordinate, or a grid that is empty, not finite or out of bounds.
        GradientError: the density is plain code.
        DensityError: the density is finite nowhere near.

    >>> import posterion
    >>> x, y = posterion.Parameter("x", scale=1.0), posterion.Parameter("y", scale=1.0)
    >>> target = posterion.Target(lambda t: -(t["x"] ** 2) - (t["x"] - t["y"]) ** 2, [x, y])
    >>> posterion.profile(target, "x", [0.0, 0.5, 1.0]).t.round(4) + 0.0
    array([0. , 0.5, 2. ])
    """
    if isinstance(source, Target):
        source.require_gradient("a profile")
        return _profile(_of_target(source, seed), name, grid)
    learned = _profile(_of_result(source, seed), name, grid)
    if source.target is None or not source.target.has_gradient:
        return learned
    exact = _of_target(source.target, seed, np.concatenate([learned.best[None], learned.points]))
    found = _profile(exact, name, learned.grid)
    return Profile(**{**vars(learned), "exact": found})


@dataclass(frozen=True, eq=False)
class _Hill:
    """A density to climb, and where to begin: points ``(n, dim)`` with their log-densities.

    ``ends`` are the bounds of each coordinate, ``(dim, 2)``, a little inside.
    """

    density: Callable[[Floats], tuple[float, Floats]]
    parameters: tuple[Parameter, ...]
    starts: Floats
    values: Floats
    scale: Floats
    ends: Floats

    @property
    def columns(self) -> list[str]:
        return [column for parameter in self.parameters for column in parameter.columns]

    def climb(self, start: Floats, held: int | None = None) -> tuple[float, Floats]:
        """The nearest top, with one coordinate held where it is."""
        free = np.arange(len(start)) != (-1 if held is None else held)
        x, scale = start.copy(), self.scale[free]

        def down(step: Floats) -> tuple[float, Floats]:
            x[free] = step * scale
            value, slope = self.density(x)
            if not np.isfinite(value) or not np.isfinite(slope).all():
                return _NOWHERE, np.zeros(len(step))
            return -value, -slope[free] * scale

        if not free.any():
            return float(self.density(x)[0]), x
        limits = self.ends[free] / scale[:, None]
        begin = np.clip(start[free] / scale, limits[:, 0], limits[:, 1])
        options = {"maxiter": 2000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-7, "maxcor": 30}
        found = minimize(down, begin, jac=True, bounds=limits, method="L-BFGS-B", options=options)
        x[free] = found.x * scale
        return -float(found.fun), x


def _profile(hill: _Hill, name: str, grid: ArrayLike | None) -> Profile:
    if name not in hill.columns:
        raise SettingError(f"no coordinate {name!r}; there are {', '.join(hill.columns[:20])}")
    i = hill.columns.index(name)
    first = int(np.argmax(hill.values))
    top, best = hill.climb(hill.starts[first])
    if top <= -_NOWHERE:
        raise DensityError(f"the density is not finite where the profile of {name!r} begins")
    at = _grid(hill, i, best, top, grid)
    values, points = np.full(len(at), -np.inf), np.tile(best, (len(at), 1))
    nearest = int(np.argmin(np.abs(at - best[i])))
    for order in (range(nearest, len(at)), range(nearest - 1, -1, -1)):
        before = best
        for k in order:
            starts = [before, *_nearby(hill, i, at[k])]
            for start in starts:
                start = start.copy()
                start[i] = at[k]
                value, point = hill.climb(start, i)
                if value > values[k]:
                    values[k], points[k] = value, point
            before = points[k]
    highest = int(np.argmax(values))
    if values[highest] > top:
        top, best = hill.climb(points[highest])
    return Profile(name, at, values, points, best, top, hill.parameters)


def _grid(hill: _Hill, i: int, best: Floats, top: float, grid: ArrayLike | None) -> Floats:
    lower, upper = hill.ends[i]
    if grid is None:
        reach = _REACH * _width(hill, i, best, top)
        ends = max(best[i] - reach, lower), min(best[i] + reach, upper)
        return np.linspace(*ends, _GRID)
    at = np.unique(np.asarray(grid, np.float64))
    width = upper - lower
    slack = 4 * _EDGE * (width if np.isfinite(width) else 1.0)
    if at.size == 0 or not np.isfinite(at).all():
        raise SettingError("the grid of a profile needs finite numbers")
    if (at < lower - slack).any() or (at > upper + slack).any():
        raise SettingError(
            f"the grid of {hill.columns[i]!r} leaves its bounds [{lower:.6g}, {upper:.6g}]"
        )
    return np.clip(at, lower, upper)


def _width(hill: _Hill, i: int, best: Floats, top: float) -> float:
    """How far from the best fit the statistic is about 1, from two or three looks."""
    width = hill.scale[i]
    lower, upper = hill.ends[i]
    for _ in range(_LOOKS):
        up = upper - best[i] > best[i] - lower  # towards the farther end
        start = best.copy()
        start[i] = np.clip(best[i] + (width if up else -width), lower, upper)
        t = 2 * (top - hill.climb(start, i)[0])
        if 0.3 < t < 3 or start[i] in (lower, upper):
            break
        width /= np.sqrt(np.clip(t, 1e-4, 1e4))
    return float(width)


def _nearby(hill: _Hill, i: int, value: float) -> list[Floats]:
    """The best of the starts whose coordinate is within a fifth of its spread."""
    close = np.flatnonzero(np.abs(hill.starts[:, i] - value) < 0.2 * hill.scale[i])
    return [hill.starts[close[np.argmax(hill.values[close])]]] if len(close) else []


def _of_target(target: Target, seed: int, starts: Floats | None = None) -> _Hill:
    parameters = target.described_parameters
    scales = find_scales(target, seed=seed) if target.unscaled.any() else None
    support = target.support(*((scales.centre, scales.scale) if scales else ()))
    frame = Frame.plain(support)
    side = x_of(frame, np.array([[-1.0], [1.0]]) * np.ones((1, target.dim)))
    middle = x_of(frame, np.zeros((1, target.dim)))
    starts = middle if starts is None else np.concatenate([starts, middle])
    return _Hill(
        _climbable(target.log_density64),
        parameters,
        starts,
        np.nan_to_num(target.evaluate(starts), nan=-np.inf),
        np.maximum(0.5 * np.abs(side[1] - side[0]), 1e-300),
        _inside(frame),
    )


def flow_density(flow: Any, frame: Frame, context: np.ndarray | None = None) -> Density:
    """Log-density of coordinates ``(n, dim)`` of a flow in its frame, all of it in float64.

    Args:
        flow: in the frame's coordinates.
        frame: from there to the parameters.
        context: one condition as the flow sees it, ``(1, width)``.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, flow
        )

    def density(x: Array) -> Array:
        v, log_det = frame.to_v(x)
        rows = None
        if context is not None:
            rows = jnp.broadcast_to(jnp.asarray(context, jnp.float64), (len(x), context.shape[1]))
        return apply_batch(wide.log_prob, v, context=rows) + log_det

    return density


def _of_result(result: Any, seed: int) -> _Hill:
    x = flatten_theta(result.parameters, result.named(_DRAWS, seed=seed))
    density = result.density64()
    with jax.enable_x64(True):
        value = jax.jit(density)
        pieces = [np.asarray(value(jnp.asarray(piece))) for piece in np.split(x, _DRAWS // _PIECE)]
    values = np.nan_to_num(np.concatenate(pieces), nan=-np.inf)
    ends = _inside(result.frame)
    return _Hill(_climbable(density), result.parameters, x, values, x.std(axis=0), ends)


def _inside(frame: Frame) -> Floats:
    with jax.enable_x64(True):
        lower, upper = (np.asarray(end, np.float64) for end in frame.support.ends())
    free = frame.circular | np.array([origin is not None for origin in frame.origins])
    width = upper - lower
    gap = _EDGE * np.where(np.isfinite(width), width, 1.0)
    inside = np.stack([lower + gap, upper - gap], axis=1)
    return np.where(free[:, None], [-np.inf, np.inf], inside)


def _climbable(density: Density) -> Callable[[Floats], tuple[float, Floats]]:
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda x: density(x[None])[0]))

    def at(x: Floats) -> tuple[float, Floats]:
        with jax.enable_x64(True):
            value, slope = both(jnp.asarray(x))
        return float(value), np.asarray(slope)

    return at
