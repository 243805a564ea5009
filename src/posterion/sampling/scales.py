"""Where a density lives, along parameters that have neither bounds, nor a prior, nor a scale.

Searches from starts over sixteen orders of magnitude climb to the optima: with a gradient by
Newton's method on the absolute Hessian (Dauphin et al., arXiv:1406.2572), without one coordinate by
coordinate. Around the optima an ensemble of walkers (Goodman and Weare, Comm. App. Math. Comp. Sci.
5 (2010) 65; ter Braak, Stat. Comput. 16 (2006) 239) spreads until it grows no more, which also
finds the width where no Gaussian describes it. The reference measure is then made several times
as wide.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import DensityError
from posterion.sampling.climb import Top, climb, climb_plain, half_widths
from posterion.sampling.search_space import FARTHEST, LARGEST, SMALLEST, Budget, SearchSpace
from posterion.targets.target import Target

Floats = NDArray[np.float64]

_CALLS, _PLAIN_CALLS = 100_000, 30_000
_GENEROUS = 8.0
_STARTS = 40
_NEGLIGIBLE = 25.0
_GROUPS = 6
_BLOCK, _BLOCKS = 15, 128


@dataclass(frozen=True)
class Scales:
    """The reference measure for `Target.support`.

    Attributes:
        centre, scale: (dim,); meaningful where `Target.unscaled` says so, 0 and 1 elsewhere.
        calls: density calls; a Hessian counts one for each coordinate.
        searched: how far modes were searched for, in words.
    """

    centre: Floats
    scale: Floats
    calls: int
    searched: str


def find_scales(target: Target, *, seed: int, calls_limit: int | None = None) -> Scales:
    """Find the reference measure of the coordinates that `Target.unscaled` names.

    Args:
        target: with a gradient or without.
        seed: integer seed.
        calls_limit: density calls, a few hundred at least, after which the search ends with what
            it has; by default 100 000 with a gradient and 30 000 without.

    Raises:
        DensityError: the density is finite at no start, or does not fall off along a parameter.
    """
    rng = np.random.default_rng([seed, 303])
    default = _CALLS if target.has_gradient else _PLAIN_CALLS
    budget = Budget(default if calls_limit is None else calls_limit)
    space = SearchSpace(target, budget)
    starts = space.starts(_STARTS, rng)
    value = space.value(starts)
    if not np.isfinite(value).any():
        raise DensityError(
            f"the log-density of {target.name!r} is finite at none of {len(starts)} points with "
            f"{_names(target)} between {SMALLEST:g} and {LARGEST:g} of either sign; give these "
            f"parameters bounds, a `scale` (and `centre`), or a prior"
        )
    starts, value = starts[np.isfinite(value)], value[np.isfinite(value)]
    tops = climb(space, starts, value) if target.has_gradient else None
    if tops is None:
        tops = climb_plain(space, starts, value)
    groups = _groups(space, tops)
    draws, settled = _spread_out(space, groups, rng)
    optima = np.stack([y for y, _ in groups])
    centre, scale = _reference(space, draws, optima)
    lost = space.unscaled & ~(np.isfinite(scale) & (scale < 1e3 * LARGEST))
    if lost.any():
        names = ", ".join(np.array(target.columns)[lost])
        raise DensityError(
            f"the log-density of {target.name!r} does not fall off along {names}: there is nothing "
            f"to normalise; give bounds, a prior or a `scale`"
        )
    return Scales(centre, scale, budget.calls, _say(space, centre, scale, len(groups), settled))


def _groups(space: SearchSpace, tops: list[Top]) -> list[tuple[Floats, Floats]]:
    """The optima that matter, each once, the heaviest first, with Cholesky factors of width."""
    highest = max((top.value for top in tops if top.lower is not None), default=-np.inf)
    tops = [top for top in tops if top.lower is not None or top.value > highest + 1.0]
    least = max(top.log_mass for top in tops) - _NEGLIGIBLE
    groups: list[tuple[Floats, Floats]] = []
    for top in sorted(tops, key=lambda top: -top.log_mass):
        if top.log_mass < least or len(groups) == _GROUPS:
            break
        gaps = [np.linalg.norm(np.linalg.solve(lower, top.y - y)) for y, lower in groups]
        if all(gap > 1.0 for gap in gaps):
            lower = np.diag(half_widths(space, top.y)) if top.lower is None else top.lower
            groups.append((top.y, lower))
    return groups


def _spread_out(
    space: SearchSpace, groups: list[tuple[Floats, Floats]], rng: np.random.Generator
) -> tuple[Floats, bool]:
    """The states (n, dim) of walkers that started around the optima, once they grow no more.

    The later half of the run is compared with the quarter before it, so that a slow drift shows.
    """
    dim = len(space.unscaled)
    each = -(-max(32, 4 * dim) // (2 * len(groups))) * 2
    walkers = np.concatenate(
        [y + rng.normal(size=(each, dim)) @ (0.5 * spread).T for y, spread in groups]
    )
    value = space.value(walkers)
    stuck = ~np.isfinite(value)
    if stuck.any():
        tops = np.repeat(np.stack([y for y, _ in groups]), each, axis=0)
        walkers[stuck] = tops[stuck]
        value[stuck] = space.value(walkers[stuck])
    order = rng.permutation(len(walkers))
    walkers, value = walkers[order], value[order]
    blocks: list[Floats] = []
    settled = False
    while len(blocks) < _BLOCKS and not settled:
        if not space.budget.affords(len(walkers) * _BLOCK):
            break
        kept = []
        for sweep in range(_BLOCK):
            walkers, value = _sweep(space, walkers, value, rng)
            if sweep % 3 == 0:
                kept.append(walkers[:, space.unscaled])
        blocks.append(np.concatenate(kept))
        half = len(blocks) // 2
        if len(blocks) >= 4 and len(blocks) % 2 == 0:
            early = np.concatenate(blocks[half // 2 : half])
            settled = _steady(_quantiles(early), _quantiles(np.concatenate(blocks[half:])))
    late = np.concatenate(blocks[len(blocks) // 2 :] or [walkers[:, space.unscaled]])
    draws = np.zeros((len(late), dim))
    draws[:, space.unscaled] = late
    return draws, settled


def _quantiles(x: Floats) -> Floats:
    return np.quantile(x, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)


def _steady(before: Floats, now: Floats) -> bool:
    width = np.maximum(now[3] - now[1], 1e-300)
    growth = width / np.maximum(before[3] - before[1], 1e-300)
    moved = np.abs(now[2] - before[2]) / width
    return bool(np.all((growth < 1.3) & (growth > 0.75) & (moved < 0.25)))


def _sweep(
    space: SearchSpace, y: Floats, value: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Stretches or differences, half of the walkers by means of the other half."""
    n, dim = y.shape
    y, value = y.copy(), value.copy()
    halves = np.array_split(rng.permutation(n), 2)
    for mine, others in (halves, halves[::-1]):
        m = len(mine)
        if rng.uniform() < 0.5:
            z = (1 + rng.uniform(size=m)) ** 2 / 2
            partner = y[rng.choice(others, size=m)]
            new = partner + z[:, None] * (y[mine] - partner)
            correction = (dim - 1) * np.log(z)
        else:
            a, b = y[rng.choice(others, size=(2, m))]
            factor = 2.38 / np.sqrt(2 * dim) * np.exp(rng.normal(size=(m, 1)))
            new, correction = y[mine] + factor * (a - b), np.zeros(m)
        new = space.wrapped(np.clip(new, -FARTHEST, FARTHEST))
        new_value = space.value(new)
        log_ratio = np.where(new_value > -np.inf, new_value - value[mine] + correction, -np.inf)
        accepted = np.log(rng.uniform(size=m)) < log_ratio
        y[mine[accepted]], value[mine[accepted]] = new[accepted], new_value[accepted]
    return y, value


def _reference(space: SearchSpace, draws: Floats, optima: Floats) -> tuple[Floats, Floats]:
    """Centre and scale (dim,): 8 standard deviations, and every optimum well within."""
    dim = draws.shape[1]
    centre, scale = np.zeros(dim), np.ones(dim)
    for i in np.flatnonzero(space.unscaled):
        low, left, middle, right, high = _quantiles(draws[:, i])
        if space.kinds[i] == "real":
            spread = max((right - left) / 2, (high - low) / 4)
            farthest = np.abs(optima[:, i] - middle).max()
            centre[i] = middle
            scale[i] = max(_GENEROUS * spread, 1.5 * farthest)
        else:  # the logarithm of the distance from the bound; the reference is exponential in it
            centre[i] = space.bound[i]
            scale[i] = 3 * np.exp(max(high, optima[:, i].max()))
    return centre, scale


def _names(target: Target) -> str:
    free = np.array(target.columns)[target.unscaled]
    return ", ".join(free[:6]) + (f" and {len(free) - 6} more" if len(free) > 6 else "")


def _say(space: SearchSpace, centre: Floats, scale: Floats, groups: int, settled: bool) -> str:
    target, parts = space.target, []
    free = np.flatnonzero(space.unscaled)
    for i in free[:6]:
        name = target.columns[i]
        if space.kinds[i] == "real":
            parts.append(f"{name} = {centre[i]:.6g} ± {3 * scale[i]:.2g}")
        else:
            sign = "+" if space.kinds[i] == "above" else "-"
            parts.append(f"{name} = {centre[i]:.6g} to {centre[i]:.6g} {sign} {5 * scale[i]:.2g}")
    more = f" and {len(free) - 6} coordinates more" if len(free) > 6 else ""
    found = "one optimum" if groups == 1 else f"{groups} optima"
    text = (
        f"searches from {SMALLEST:g} to {LARGEST:g} of either sign found {found}; modes are looked "
        f"for within {', '.join(parts)}{more}, nowhere else"
    )
    if not settled:
        text += "; the width was still changing when this search ended: a `scale` is safer"
    return text
