"""Before learning: where the density lives, in which frame to learn, and how many modes it has."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jax import enable_x64
from numpy.typing import NDArray

from posterion.bijections.support import SupportMap, straightened
from posterion.diagnostics.modes import Modes, find_modes
from posterion.sampling.ensemble import scout_with_pool
from posterion.sampling.scales import find_scales
from posterion.sampling.smc import Scouted, covariance_factor, scout
from posterion.targets.frame import Frame
from posterion.targets.target import Target, v_and_log_det, x_and_log_det, x_of

Floats = NDArray[np.float64]

_CUT_DENSITY = 0.03
_BRIDGE = 4.0
_DEPTH = 2.0
_SIGNIFICANT = 4.0
_CONCENTRATED, _MOST_TURNS = 0.2, 3
WORTH_KEEPING = 12.0


@dataclass
class Ground:
    """What scouting gives to learning.

    Attributes:
        frame: whitened coordinates for the flow.
        v: particles in it, ``(n, dim)``.
        scouted: the run itself, in the coordinates of the reference measure.
        modes: the separated modes of the particles, in ``u``.
        searched: how far modes were searched for, in words.
        calls: density calls.
        pool: ``v`` and log-densities per unit of it, less the reference, of points worth keeping.
    """

    frame: Frame
    v: Floats
    scouted: Scouted
    modes: Modes
    searched: tuple[str, ...]
    calls: int
    pool: tuple[Floats, Floats] | None = None


def first_frame(target: Target, seed: int) -> tuple[Frame, int, tuple[str, ...]]:
    """The frame of the reference measure; scales that nobody gave are found first."""
    searched = []
    centre = scale = None
    calls = 0
    if target.unscaled.any():
        found = find_scales(target, seed=seed)
        centre, scale, calls = found.centre, found.scale, found.calls
        searched.append(found.searched)
    support = target.support(centre, scale)
    rows = iter(zip(target.kinds, np.asarray(support.a), np.asarray(support.b), strict=True))
    for parameter in target.parameters:
        own = [next(rows) for _ in parameter.columns]
        alike = len({(kind, a, b) for (kind, _, _), a, b in own}) == 1
        names = [parameter.name] if alike else parameter.columns
        for name, ((kind, _, _), a, b) in zip(names, own, strict=False):
            if kind == "real":
                searched.append(f"{name} searched for modes over {a:.6g} ± {b:.3g} (normal)")
            elif kind in ("above", "below"):
                sign = "+" if kind == "above" else "-"
                searched.append(f"{name} searched over {a:.6g} {sign} {b:.3g} (exponential)")
    return Frame.plain(support), calls, tuple(searched)


def survey(
    target: Target,
    frame: Frame,
    *,
    particles: int,
    seed: int,
    on_stage: Callable[[float, int], None] | None = None,
) -> tuple[Scouted, dict[str, Floats]]:
    """Sequential Monte Carlo in the frame of the reference measure.

    Returns:
        The run, and ``pool_u``, ``pool_value``: every point met on the way, where there is no
        gradient and each call counts.
    """
    options = {"particles": particles, "seed": seed, "on_stage": on_stage}
    if target.has_gradient:
        return scout(target, frame, **options), {}
    found, pool = scout_with_pool(target, frame, **options)
    good = np.isfinite(pool.value)
    good &= pool.value > found.value.max() - WORTH_KEEPING - target.dim
    return found, {"pool_u": pool.u[good], "pool_value": pool.value[good]}


def lay_out(
    target: Target,
    frame: Frame,
    found: Scouted,
    calls: int,
    searched: tuple[str, ...],
    *,
    whiten: bool,
    pool: dict[str, Floats] | None = None,
) -> Ground:
    """The learner's frame and the modes, from the particles; a pure function of them."""
    x = x_of(frame, found.u)
    periods = [2 * np.pi if flag else None for flag in frame.circular]
    modes = find_modes(found.u, log_density=found.value, periods=periods)
    modes, bridge_calls = _merge_bridged(target, frame, found, modes)
    support, origins = _cut(target, frame, x)
    support = straightened(support, x)
    plain = Frame.of(np.zeros(target.dim), np.eye(target.dim), support, 0.0, origins)
    u, _ = v_and_log_det(plain, x)
    location, lower = _whitening(u, plain.circular, whiten)
    v, log_det = v_and_log_det(Frame.of(location, lower, support, 0.0, origins), x)
    # The particles' log-densities per unit of v: the best one is the reference.
    _, old_log_det = x_and_log_det(frame, found.u)
    reference = float(np.max(found.value - old_log_det - log_det))
    learned = Frame.of(location, lower, support, reference, origins)
    total = calls + found.calls + bridge_calls
    ground = Ground(learned, v, found, modes, searched, total)
    return ground if not pool else replace(ground, pool=_in_frame(pool, frame, learned))


def _in_frame(pool: dict[str, Floats], first: Frame, frame: Frame) -> tuple[Floats, Floats]:
    """Points and values of the pool in the learner's frame."""
    x, log_det = x_and_log_det(first, pool["pool_u"])
    v, back = v_and_log_det(frame, x)
    return v, pool["pool_value"] - log_det - back - float(np.asarray(frame.reference))


def adopt(ground: Ground, frame: Frame, first: Frame) -> Ground:
    """The same ground in the frame of an earlier posterior."""
    v, log_det = v_and_log_det(frame, x_of(first, ground.scouted.u))
    _, old_log_det = x_and_log_det(first, ground.scouted.u)
    reference = float(np.max(ground.scouted.value - old_log_det - log_det))
    with enable_x64(True):
        moved = Frame(frame.whitening, frame.support, jnp.asarray(reference), frame.origins)
    return replace(ground, frame=moved, v=v)


def _whitening(u: Floats, circular: NDArray[np.bool_], whiten: bool) -> tuple[Floats, Floats]:
    """Medians, and a triangular scale that mixes only what is significantly correlated.

    Where widths differ by orders of magnitude, as in a funnel, chance correlations of the wide part
    would put the narrow part far off its centre in units of its own width.
    """
    location = np.where(circular, 0.0, np.median(u, axis=0))
    with enable_x64(True):
        lower = np.array(covariance_factor(jnp.asarray(u), jnp.asarray(circular)))
    if not whiten:
        lower = np.diag(u.std(0))
    square = np.linalg.solve(lower, (u - u.mean(0)).T) ** 2
    error = np.diag(lower)[:, None] * np.sqrt(square @ square.T) / len(u)
    lower[np.tril(np.abs(lower) < _SIGNIFICANT * error, -1)] = 0.0
    on_circle = np.flatnonzero(circular)
    lower[on_circle, :] = 0.0
    lower[:, on_circle] = 0.0
    lower[np.ix_(on_circle, on_circle)] = _windings(u[:, on_circle])
    return location, lower


def _windings(angles: Floats) -> Floats:
    """Whole-numbered, unit lower triangular: which angles go round with which.

    Where one angle follows another all the way round, no map without a winding follows; their
    difference hardly winds.
    """
    count = angles.shape[1]
    lower, free = np.eye(count), angles.copy()
    turns = [k for n in range(1, _MOST_TURNS + 1) for k in (n, -n)]
    for i in range(count):
        for _ in range(i):
            found = [(_concentration(free[:, i]) + _CONCENTRATED, 0, 0)]
            found += [
                (_concentration(free[:, i] - k * free[:, j]), j, k) for j in range(i) for k in turns
            ]
            _, j, k = max(found, key=lambda entry: entry[0])
            if k == 0:
                break
            lower[i, j] += k
            free[:, i] -= k * free[:, j]
    return lower


def _concentration(angle: Floats) -> float:
    """Length of the mean direction: 0 for uniform angles, 1 for equal ones."""
    return float(np.abs(np.mean(np.exp(1j * angle))))


def _cut(
    target: Target, frame: Frame, x: Floats
) -> tuple[SupportMap, tuple[tuple[float, float] | None, ...]]:
    """Cuts each circle whose least probable point hardly matters; there it is an interval."""
    a, b = np.array(frame.support.a), np.array(frame.support.b)
    kinds = list(frame.support.kinds)
    origins: list[tuple[float, float] | None] = [None] * len(kinds)
    for i, kind in enumerate(kinds):
        if kind != "circle":
            continue
        period = b[i] - a[i]
        bins = 60
        counts = np.bincount(
            np.floor((x[:, i] - a[i]) / period * bins).astype(int) % bins, minlength=bins
        )
        window = counts + np.roll(counts, 1) + np.roll(counts, -1)
        least = _middle_of_longest_run(window == window.min())
        if window[least] <= _CUT_DENSITY * 3 * len(x) / bins:
            origins[i] = (float(a[i]), float(period))
            start = a[i] + (least + 0.5) * period / bins
            kinds[i], a[i], b[i] = "interval", start, start + period
    with enable_x64(True):
        return SupportMap(kinds, jnp.asarray(a), jnp.asarray(b)), tuple(origins)


def _middle_of_longest_run(flags: NDArray[np.bool_]) -> int:
    """The middle of the longest run of true flags on a circle: far from whatever is probable."""
    n = len(flags)
    best, run = (0, 0), 0
    for i, flag in enumerate(np.concatenate([flags, flags])):
        run = min(run + 1, n) if flag else 0
        if run > best[0]:
            best = (run, i)
    return (best[1] - (best[0] - 1) // 2) % n


def _merge_bridged(target: Target, frame: Frame, found: Scouted, modes: Modes) -> tuple[Modes, int]:
    """Joins modes between whose nearest particles the density hardly falls.

    In many dimensions two particles may come near in the tails of both modes: a bridge there lies
    deep below what is typical of either.
    """
    if modes.count == 1:
        return modes, 0
    u = found.u
    labels = modes.assign(u)
    group = np.arange(modes.count)
    calls = 0
    share = np.linspace(0, 1, 9)[1:-1, None]
    rng = np.random.default_rng(0)
    typical = [
        np.quantile(found.value[labels == i], 0.05) if (labels == i).any() else np.inf
        for i in range(modes.count)
    ]
    for i in range(modes.count):
        for j in range(i):
            first, second = u[labels == i], u[labels == j]
            if len(first) == 0 or len(second) == 0:
                continue
            first = first[rng.permutation(len(first))[:400]]
            second = second[rng.permutation(len(second))[:400]]
            scale = u.std(0) + 1e-300
            apart = (((first[:, None] - second[None]) / scale) ** 2).sum(-1)
            for k in np.argsort(apart.ravel())[:3]:
                start, end = first[k // len(second)], second[k % len(second)]
                path = np.concatenate([start[None], start + share * (end - start), end[None]])
                x, log_det = x_and_log_det(frame, path)
                value = target.evaluate(x) + log_det
                calls += len(path)
                least = value[1:-1].min()
                deep = least < min(typical[i], typical[j]) - _DEPTH
                if least > min(value[0], value[-1]) - _BRIDGE and not deep:
                    group[group == group[i]] = group[j]
                    break
    if len(set(group)) == modes.count:
        return modes, calls
    kept, joined = np.unique(group[modes.labels], return_inverse=True)
    fractions = np.array([modes.fractions[group == g].sum() for g in kept])
    heaviest = [int(np.flatnonzero(group == g)[0]) for g in kept]
    order = np.argsort(-fractions, kind="stable")
    rank = np.argsort(order)
    return (
        Modes(
            modes.centres[heaviest][order],
            fractions[order],
            modes.reference,
            rank[joined],
            modes.scale,
            modes.periods,
        ),
        calls,
    )
