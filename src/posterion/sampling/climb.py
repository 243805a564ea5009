"""From dispersed starts to the optima of a density whose scales are unknown."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.sampling.search_space import FARTHEST, SearchSpace, traced_value
from posterion.targets.frame import Frame
from posterion.targets.target import Target

Floats = NDArray[np.float64]

_ROUNDS = 50
_FACTORS = np.array([1.0, 4.0, 0.25, 0.03, 1e-3])
_GAIN = 1e-3
_PASSES = 12
_TINY = 1e-10


@dataclass(frozen=True)
class Top:
    """An optimum.

    Attributes:
        y: where, (dim,).
        value: the log-density there.
        lower: Cholesky factor of the Laplace covariance; None where there is no maximum.
        log_mass: Laplace's log-evidence, or the value alone.
    """

    y: Floats
    value: float
    lower: Floats | None
    log_mass: float


def climb(space: SearchSpace, starts: Floats, value: Floats) -> list[Top] | None:
    """Newton's method with the absolute eigenvalues of the Hessian, from each start.

    Steps are invariant under a change of any parameter's unit, and of order of the distance from
    the origin in power-law tails.

    Args:
        space: of the search.
        starts: (n, dim).
        value: (n,), finite.

    Returns:
        Where each start ended; None where the density has no second derivatives, or none are
        finite.
    """
    y, value = starts.copy(), value.copy()
    active = np.ones(len(y), bool)
    tops: dict[int, Floats | None] = {}
    dim = y.shape[1]
    for _ in range(_ROUNDS):
        index = np.flatnonzero(active)
        cost = len(index) * (1 + dim + len(_FACTORS))
        if cost == 0 or not space.budget.affords(cost, 0.6):
            break
        try:
            score, hessian = _derivatives(space, y[index], len(y))
        except (TypeError, NotImplementedError, ValueError):
            return None
        space.budget.calls += len(index) * (1 + dim)
        good = np.isfinite(score).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
        active[index[~good]] = False
        index, score, hessian = index[good], score[good], hessian[good]
        if len(index) == 0:
            continue
        step = _steps(y[index], score, hessian)
        trial = y[index, None] + _FACTORS[:, None] * step[:, None]
        trial = space.wrapped(np.clip(trial, -FARTHEST, FARTHEST))
        trial_value = space.value(trial.reshape(-1, dim)).reshape(len(index), -1)
        pick = np.argmax(trial_value, axis=1)
        rows = np.arange(len(index))
        gain = trial_value[rows, pick] - value[index]
        done = gain < _GAIN
        # Where it stands still on a slope no Gaussian describes it.
        level = np.einsum("ni,ni->n", score, step) < 0.1
        for row, i in enumerate(index):
            tops[int(i)] = hessian[row] if done[row] and level[row] else None
        better = gain > 0
        moved = index[better]
        y[moved], value[moved] = trial[rows, pick][better], trial_value[rows, pick][better]
        active[index[done]] = False
    if not tops:
        return None
    return [_top(y[i], float(value[i]), hessian) for i, hessian in tops.items()]


def climb_plain(space: SearchSpace, starts: Floats, value: Floats) -> list[Top]:
    """Line searches coordinate by coordinate, on a grid of all magnitudes that is refined.

    From the best start and from the first one. What is left by correlated coordinates is for the
    walkers that follow.
    """
    tops = []
    for row in dict.fromkeys((int(np.argmax(value)), 0)):
        y, best = starts[row].copy(), float(value[row])
        for _ in range(_PASSES):
            before, y_before = best, y.copy()
            for i in range(len(y)):
                if space.budget.affords(400, 0.6):
                    y[i], best = _line(space, y, i, best)
            if best - before < 1.0 or not space.budget.affords(400, 0.6):
                break
            y, best = _further(space, y, y - y_before, best)
        tops.append(Top(y, best, None, best))
    return tops


def _further(space: SearchSpace, y: Floats, step: Floats, best: float) -> tuple[Floats, float]:
    """On along the way of a whole pass (Powell, Comput. J. 7 (1964) 155)."""
    low, high = -12.0, 30.0
    for _ in range(4):
        powers = np.linspace(low, high, 43)
        points = space.wrapped(y + 2.0 ** powers[:, None] * step)
        value = space.value(points)
        top = int(np.argmax(value))
        if not value[top] > best:
            break
        y_best, best = points[top], float(value[top])
        low, high = powers[max(top - 1, 0)], powers[min(top + 1, 42)]
    else:
        return y_best, best
    return (y_best if low > -12.0 else y), best


def half_widths(space: SearchSpace, y: Floats) -> Floats:
    """How far the log-density falls by 2, to half a decade, along each coordinate (dim,)."""
    top = float(space.value(y[None])[0])
    widths = np.empty(len(y))
    for i in range(len(y)):
        free = space.unscaled[i] and space.kinds[i] == "real"
        unit = max(abs(y[i]), 1e-6 if free else 1.0)
        wide = _first_fall(space, y, i, unit * 10.0 ** np.arange(-10, 11, 2), top)
        widths[i] = _first_fall(space, y, i, wide * 10.0 ** np.arange(-1.5, 0.1, 0.5), top)
    return widths


def _first_fall(space: SearchSpace, y: Floats, i: int, steps: Floats, top: float) -> float:
    """The first of ascending steps to either side that loses 2; the last where none does."""
    points = np.repeat(y[None], 2 * len(steps), axis=0)
    points[:, i] += np.concatenate([steps, -steps])
    fallen = (top - space.value(points)).reshape(2, -1).max(axis=0) >= 2.0
    return float(steps[np.argmax(fallen)] if fallen.any() else steps[-1])


def _derivatives(space: SearchSpace, y: Floats, rows: int) -> tuple[Floats, Floats]:
    """Scores (n, dim) and Hessians (n, dim, dim), in batches of one size: one compilation."""
    with jax.enable_x64(True):
        padded = np.concatenate([y, np.repeat(y[-1:], rows - len(y), axis=0)])
        score, hessian = _score_and_hessian(
            space.target, space.frame, space.bound, space.sign, jnp.asarray(padded)
        )
        return np.asarray(score)[: len(y)], np.asarray(hessian)[: len(y)]


@partial(jax.jit, static_argnums=0)
def _score_and_hessian(
    target: Target, frame: Frame, bound: Array, sign: Array, y: Array
) -> tuple[Array, Array]:
    def value(y: Array) -> Array:
        return traced_value(target, frame, bound, sign, y[None])[0]

    return jax.vmap(jax.grad(value))(y), jax.vmap(jax.hessian(value))(y)


def _steps(y: Floats, score: Floats, hessian: Floats) -> Floats:
    """Newton's steps (n, dim), each coordinate in the unit of its own curvature."""
    curvature = np.abs(np.diagonal(hessian, axis1=1, axis2=2))
    flat = curvature <= 1e-12 * (np.abs(score) / np.maximum(np.abs(y), 1.0))
    unit = np.where(flat, np.maximum(np.abs(y), 1.0), 1 / np.sqrt(np.where(flat, 1.0, curvature)))
    scaled = unit[:, :, None] * hessian * unit[:, None, :]
    values, vectors = np.linalg.eigh(scaled)
    size = np.abs(values)
    size = np.maximum(size, 1e-8 * size.max(axis=1, keepdims=True) + 1e-100)
    along = np.einsum("nji,nj->ni", vectors, unit * score) / size
    step = unit * np.einsum("nij,nj->ni", vectors, along)
    return np.clip(step, -FARTHEST, FARTHEST)


def _top(y: Floats, value: float, hessian: Floats | None) -> Top:
    if hessian is None:
        return Top(y, value, None, value)
    curvature = -np.diag(hessian)
    if not (curvature > 0).all():
        return Top(y, value, None, value)
    unit = 1 / np.sqrt(curvature)
    values, vectors = np.linalg.eigh(-unit[:, None] * hessian * unit)
    if values.min() < 1e-10:
        return Top(y, value, None, value)
    covariance = (vectors / values) @ vectors.T
    lower = unit[:, None] * np.linalg.cholesky(covariance)
    log_mass = value + np.log(np.diag(lower)).sum() + 0.5 * len(y) * np.log(2 * np.pi)
    return Top(y, value, lower, float(log_mass))


def _line(space: SearchSpace, y: Floats, i: int, best: float) -> tuple[float, float]:
    """The best place along coordinate ``i``, and the log-density there."""
    free = space.unscaled[i] and not space.half[i]
    if free:  # the logarithm of either sign
        reach = np.arcsinh(1e10 / _TINY)
        here = float(np.arcsinh(y[i] / _TINY))
        low, high, count = -reach, reach, 81
    else:
        reach = np.pi if space.frame.circular[i] else 30.0 if space.half[i] else 6.0
        here, low, high, count = float(y[i]), -reach, reach, 41
    place = y[i]
    for _ in range(20):
        grid = np.unique(np.append(np.linspace(low, high, count), here))
        points = np.repeat(y[None], len(grid), axis=0)
        points[:, i] = _TINY * np.sinh(grid) if free else grid
        value = space.value(points)
        top = int(np.argmax(value))
        if value[top] > best:
            best, here, place = float(value[top]), float(grid[top]), float(points[top, i])
        k = int(np.argmin(np.abs(grid - here)))
        low, high, count = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)], 9
        edges = value[[max(k - 1, 0), min(k + 1, len(grid) - 1)]]
        if np.isfinite(edges).all() and best - edges.min() < 1.0:
            break
    return place, best
