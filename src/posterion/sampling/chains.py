"""Markov chains on a target: the reference that a flow is compared with, usable by itself."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import DensityError, SettingError
from posterion.core.progress import progress
from posterion.sampling.chain import Chain
from posterion.sampling.ensemble import scout_plain
from posterion.sampling.hamiltonian import Walk, begin, walk
from posterion.sampling.parallel import walk_parallel
from posterion.sampling.scales import find_scales
from posterion.sampling.smc import covariance_factor
from posterion.targets.frame import Frame
from posterion.targets.target import Target, v_and_log_det, x_and_log_det

Floats = NDArray[np.float64]

_SCOUTS = 200
_SCOUTING = 30_000
_CITATIONS = {"nuts": "hoffman2014", "hmc": "neal2011", "parallel": "neal2011"}


@dataclass(frozen=True)
class _Start:
    frame: Frame
    v: Floats
    calls: int
    notes: tuple[str, ...]


def sample_chain(
    target: Target,
    *,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    sampler: str = "nuts",
    seed: int = 0,
    start: Mapping[str, Any] | str | None = None,
    frame: Frame | None = None,
    max_calls: int | None = None,
    max_seconds: float | int | None = None,
    quiet: bool | None = None,
) -> Chain:
    """Sample a differentiable target by NUTS or HMC.

    Where draws are wanted by the hundred thousand, ``sampler="parallel"`` moves hundreds of chains
    as one batch: ``chains=256, draws=2000``.

    The chains move in coordinates in which the support is the line (or the circle), in float64.
    Scales that nobody gave are found first, by `find_scales`.

    Args:
        target: the target.
        draws: of each chain.
        warmup: transitions of each chain before, which adapt the step size and the metric.
        chains: number of chains, moved side by side.
        sampler: ``"nuts"``; ``"hmc"`` with a jittered length; or ``"parallel"``, HMC of many
            chains in step.
        seed: integer seed.
        start: a point for each chain, arrays (chains, *shape) by name; ``"reference"`` for draws
            from the reference measure (or, with `frame`, from a standard normal in its
            coordinates); by default particles of a short sequential Monte Carlo run, whose
            covariance whitens the coordinates too.
        frame: coordinates to use, such as those of a learned posterior.
        max_calls: density calls after which the chains stop, scouting included.
        max_seconds: likewise in seconds; what comes out then depends on the machine.
        quiet: show no progress bar; by default only where there is no terminal.

    Returns:
        A `Chain`; its printed form is the report.

    Raises:
        GradientError: the density is plain code.
        DensityError: the density is finite nowhere, or not at the start.
        SettingError: an unknown sampler, or numbers out of range.
        ThetaError: ``start`` lacks a parameter or has an unknown one.

    >>> import posterion
    >>> target = posterion.Target(lambda t: -0.5 * t["x"] ** 2, [posterion.Parameter("x", scale=5)])
    >>> chain = posterion.sample_chain(target, draws=400, warmup=200, seed=1)
    >>> chain.draws["x"].shape, bool(abs(chain.draws["x"].mean()) < 0.2)
    ((4, 400), True)
    """
    if sampler not in _CITATIONS:
        raise SettingError(f"sampler: one of {', '.join(_CITATIONS)}; got {sampler!r}")
    if draws < 1 or warmup < 0 or chains < 1:
        raise SettingError(
            f"chains need draws >= 1, warmup >= 0, chains >= 1; got {draws}, {warmup}, {chains}"
        )
    target.require_gradient(f"{sampler.upper()} sampling")
    began = time.monotonic()
    with progress(f"{sampler.upper()} on {target.name}", total=warmup + draws, quiet=quiet) as bar:
        first = _start(target, chains, seed, start, frame, max_calls)
        left = None if max_calls is None else max(max_calls - first.calls, 0)
        seconds = None if max_seconds is None else max_seconds - (time.monotonic() - began)
        options: dict[str, Any] = {
            "draws": draws,
            "warmup": warmup,
            "seed": seed,
            "max_calls": left,
            "max_seconds": seconds,
            "on_wake": lambda done, calls: bar.update(done, calls=calls + first.calls),
        }
        if sampler == "parallel":
            renewed, run = walk_parallel(target, first.frame, first.v, **options)
            first = replace(first, frame=renewed)
        else:
            run = walk(target, first.frame, first.v, sampler=sampler, **options)
    return _chain(target, first, run, sampler, warmup, time.monotonic() - began)


def cross_check(
    target: Target,
    frame: Frame,
    starts: Floats,
    *,
    draws: int,
    seed: int,
    warmup: int | None = None,
    sampler: str = "hmc",
) -> Chain:
    """Short chains from given points, to compare a learned posterior with.

    Args:
        target: with a gradient.
        frame: whitened coordinates, such as a flow's.
        starts: (chains, dim) in them.
        draws: of each chain.
        seed: integer seed.
        warmup: as many as ``draws`` by default.
        sampler: jittered HMC by default: chains side by side then wait for one another less.

    Raises:
        GradientError: the density is plain code.
        DensityError: the density is not finite at a start.
    """
    target.require_gradient("a cross-check by chains")
    began = time.monotonic()
    first = _Start(frame, np.asarray(starts, np.float64), 0, ())
    warmup = draws if warmup is None else warmup
    run = walk(target, frame, first.v, draws=draws, warmup=warmup, sampler=sampler, seed=seed)
    return _chain(target, first, run, sampler, warmup, time.monotonic() - began)


def _chain(
    target: Target, first: _Start, run: Walk, sampler: str, warmup: int, seconds: float
) -> Chain:
    x, log_det = x_and_log_det(first.frame, run.v.reshape(-1, target.dim))
    return Chain(
        name=target.name,
        parameters=target.parameters,
        x=x.reshape(run.v.shape),
        log_density=run.value + float(first.frame.reference) - log_det.reshape(run.value.shape),
        statistics=run.statistics,
        step_size=run.step_size,
        sampler=sampler.upper(),
        warmup=warmup,
        calls=run.calls,
        warmup_calls=run.warmup_calls,
        scouting_calls=first.calls,
        seconds=seconds,
        complete=run.complete,
        notes=first.notes,
        citations=(_CITATIONS[sampler], "cabezas2024", "vehtari2021", "kumar2019"),
    )


def _start(
    target: Target,
    chains: int,
    seed: int,
    start: Mapping[str, Any] | str | None,
    frame: Frame | None,
    max_calls: int | None,
) -> _Start:
    """The coordinates and where the chains begin in them."""
    rng = np.random.default_rng([seed, 404])
    calls, notes = 0, []
    given = frame is not None
    if frame is None:
        centre = scale = None
        if target.unscaled.any():
            found = find_scales(target, seed=seed, calls_limit=max_calls and max_calls // 4)
            centre, scale, calls = found.centre, found.scale, found.calls
            notes.append(found.searched)
        frame = Frame.plain(target.support(centre, scale))
    if isinstance(start, Mapping):
        v, _ = v_and_log_det(frame, _inside(target, frame, start, chains))
        return _Start(frame, v, calls, (*notes, "started at given points"))
    if isinstance(start, str) and start != "reference":
        raise SettingError(f"start: points by name, 'reference' or None; got {start!r}")
    scouts = max(_SCOUTS, 2 * chains)
    limit = _SCOUTING * scouts // _SCOUTS
    limit = limit if max_calls is None else min(limit, max_calls // 4)
    if given or start == "reference" or limit < 4 * scouts:
        v, tried = _from_reference(target, frame, chains, rng)
        return _Start(frame, v, calls + tried, (*notes, "started at draws of the reference"))
    scouted = scout_plain(target, frame, particles=scouts, seed=seed, max_calls=limit)
    u = scouted.u[np.isfinite(scouted.value)]
    if len(u) < chains:
        raise SettingError(f"chains: {chains}, but only {len(u)} scouts to start them from")
    whitened = _whitened(frame, u, float(scouted.value.max()))
    v, _ = v_and_log_det(whitened, x_and_log_det(frame, u)[0])
    pick = rng.permutation(len(u))[:chains]
    notes.append("started at particles of a short sequential Monte Carlo run")
    return _Start(whitened, v[pick], calls + scouted.calls, tuple(notes))


def _whitened(frame: Frame, u: Floats, top: float) -> Frame:
    """The plain frame, whitened by particles, with the best of them as reference."""
    circular = frame.circular
    with jax.enable_x64(True):
        lower = np.array(covariance_factor(jnp.asarray(u), jnp.asarray(circular)))
    lower[np.diag_indices_from(lower)] = np.maximum(np.diag(lower), 1e-12)
    lower[circular] = np.eye(len(lower))[circular]
    lower[:, circular] = np.eye(len(lower))[:, circular]
    location = np.where(circular, 0.0, u.mean(axis=0))
    reference = top + float(np.log(np.diag(lower)).sum())
    return Frame.of(location, lower, frame.support, reference, frame.origins)


def _from_reference(
    target: Target, frame: Frame, chains: int, rng: np.random.Generator
) -> tuple[Floats, int]:
    """Draws of the reference measure at which the density and its gradient are finite."""
    rows = max(32, 4 * chains)
    kept: list[Floats] = []
    location, lower = np.asarray(frame.whitening.location), np.asarray(frame.whitening.lower)
    for attempt in range(1, 21):
        v = rng.normal(size=(rows, frame.dim))
        if frame.circular.any():
            u = location + v @ lower.T
            u = np.where(frame.circular, rng.uniform(-np.pi, np.pi, u.shape), u)
            v = np.linalg.solve(lower, (u - location).T).T
        with jax.enable_x64(True):
            _, value, score = (np.asarray(leaf) for leaf in begin(target, frame, jnp.asarray(v)))
        kept += list(v[np.isfinite(value) & np.isfinite(score).all(axis=1)])
        if len(kept) >= chains:
            return np.stack(kept[:chains]), attempt * rows
    raise DensityError(
        f"the log-density of {target.name!r} is finite at {len(kept)} of {20 * rows} points of the "
        f"reference measure, too few to start {chains} chains; give `start`"
    )


def _inside(target: Target, frame: Frame, start: Mapping[str, Any], chains: int) -> Floats:
    """Given starts as coordinates, which must lie within the support."""
    x = target.flatten(start)
    if len(x) != chains:
        raise SettingError(f"start: {len(x)} points for {chains} chains")
    kinds = frame.support.kinds
    for i, (parameter, column) in enumerate(
        (p, column) for p in target.parameters for column in p.columns
    ):
        low = -np.inf if parameter.lower is None else parameter.lower
        high = np.inf if parameter.upper is None else parameter.upper
        outside = ~((x[:, i] > low) & (x[:, i] < high))
        if outside.any() and kinds[i] != "circle":
            raise DensityError(
                f"start: {column} = {x[outside, i][0]:g} does not lie within ({low:g}, {high:g})"
            )
    return x
