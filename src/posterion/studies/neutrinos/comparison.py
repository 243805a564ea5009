"""Markov chains on the same target: NUTS, and the ensemble sampler emcee."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import MissingExtraError
from posterion.core.progress import progress
from posterion.diagnostics import integrated_time
from posterion.reports import Sampler
from posterion.sampling import sample_chain
from posterion.studies.neutrinos.learning import Case
from posterion.training import Posterior

_CHAINS, _WALKERS = 4, 64
_CHUNK = 50


@dataclass(frozen=True, eq=False)
class Chain:
    """Draws of a Markov chain and what they cost.

    Fields: `label`; `draws`, name to (chains, steps); `calls` and `seconds` of these draws;
    `warmup_calls` and `warmup_seconds` before them, compiling included.
    """

    label: str
    draws: dict[str, np.ndarray]
    calls: int
    seconds: float
    warmup_calls: int
    warmup_seconds: float

    @property
    def count(self) -> int:
        """Draws of all chains together."""
        return next(iter(self.draws.values())).size

    @property
    def autocorrelation(self) -> float:
        """The largest integrated autocorrelation time; delta_CP by its cosine and sine."""
        angle = np.deg2rad(self.draws["delta_CP"])
        series = [x for name, x in self.draws.items() if name != "delta_CP"]
        times = [integrated_time(x).value for x in (*series, np.cos(angle), np.sin(angle))]
        return max(times)

    @property
    def effective(self) -> float:
        """Effective draws: N over the autocorrelation length."""
        return self.count / self.autocorrelation

    def sampler(self) -> Sampler:
        """For the figure of effective draws against draws and cost."""
        return Sampler.of_chain(
            self.label,
            self.autocorrelation,
            calls_per_draw=self.calls / self.count,
            learning_calls=self.warmup_calls,
            seconds_per_draw=self.seconds / self.count,
            learning_seconds=self.warmup_seconds,
        )


def run_nuts(case: Case, posterior: Posterior, *, transitions: int, seed: int) -> Chain:
    """NUTS in the coordinates of the flow's frame, started at dispersed points of it."""
    began = time.perf_counter()
    some: Any = {"chains": _CHAINS, "frame": posterior.frame, "seed": seed}
    sample_chain(case.target, draws=8, warmup=8, quiet=True, **some)  # compiles
    compiling = time.perf_counter() - began
    warmup = max(transitions // 2, 50)
    found = sample_chain(case.target, draws=transitions, warmup=warmup, **some)
    before = found.warmup_calls + found.scouting_calls
    seconds = found.seconds * found.calls / (found.calls + before)
    later = compiling + found.seconds - seconds
    return Chain("NUTS", found.draws, found.calls, seconds, before, later)


def run_emcee(
    case: Case, posterior: Posterior, *, steps: int, seed: int, stretch: bool = False
) -> Chain:
    """The ensemble sampler of Foreman-Mackey et al. (2013) with stretch or differential moves.

    The circle of delta_CP is cut where the posterior is least probable. The walkers start at draws
    of the posterior: burn-in, which they are spared, is not counted.

    Raises MissingExtraError if emcee is not installed.
    """
    try:
        import emcee
    except ImportError as error:
        raise MissingExtraError(
            "the comparison with emcee needs it: pip install 'posterion[nufit]', or leave the "
            "chains out by --no-chains"
        ) from error
    names = [p.name for p in posterior.parameters]
    circle = names.index("delta_CP")
    lower, upper = np.array([[float(p.lower), float(p.upper)] for p in posterior.parameters]).T  # type: ignore[arg-type]
    period = upper[circle] - lower[circle]
    first = _matrix(posterior.sample(20_000, seed=seed), names)
    cut = _cut(first[:, circle], lower[circle], period)

    def turned(x: np.ndarray, start: float) -> np.ndarray:
        x = x.copy()
        x[:, circle] = (x[:, circle] - start) % period + start
        return x

    ends = np.where(np.arange(len(names)) == circle, cut + period, upper)
    begins = np.where(np.arange(len(names)) == circle, cut, lower)
    used = 0

    def log_density(x: np.ndarray) -> np.ndarray:
        nonlocal used
        inside = ((x >= begins) & (x <= ends)).all(axis=1)
        used += int(inside.sum())
        points = turned(np.clip(x, begins, ends), lower[circle])  # as many each time: one shape
        return np.where(inside, case.target.evaluate(points), -np.inf)

    walkers = _WALKERS
    move = emcee.moves.StretchMove() if stretch else emcee.moves.DEMove()
    sampler = emcee.EnsembleSampler(walkers, len(names), log_density, vectorize=True, moves=[move])
    sampler.random_state = np.random.RandomState([seed, 43]).get_state()
    state: Any = turned(first[:walkers], cut)
    for count in (walkers, walkers // 2):  # compile before the clock starts
        case.target.evaluate(first[:count])
    began = time.perf_counter()
    with progress(f"emcee on {case.target.name}", total=steps) as bar:
        for start in range(0, steps, _CHUNK):
            state = sampler.run_mcmc(state, min(_CHUNK, steps - start))
            bar.update(advance=_CHUNK, calls=used)
    seconds = time.perf_counter() - began
    x = np.swapaxes(np.asarray(sampler.get_chain()), 0, 1)
    draws = {name: np.ascontiguousarray(x[:, :, k]) for k, name in enumerate(names)}
    draws["delta_CP"] = (draws["delta_CP"] - lower[circle]) % period + lower[circle]
    return Chain(f"emcee {'stretch' if stretch else 'DE'}", draws, used, seconds, 0, 0.0)


def run_chains(
    case: Case, posterior: Posterior, *, transitions: int, seed: int
) -> tuple[dict[str, Chain], tuple[str, ...]]:
    """NUTS and emcee by their keys in ``metrics.json``, and what had to be left out, in words."""
    chains = {"nuts": run_nuts(case, posterior, transitions=transitions, seed=seed)}
    notes: tuple[str, ...] = ()
    runs: Mapping[str, Callable[[], Chain]] = {
        "emcee": lambda: run_emcee(case, posterior, steps=2 * transitions, seed=seed),
        "emcee_stretch": lambda: run_emcee(
            case, posterior, steps=2 * transitions, seed=seed, stretch=True
        ),
    }
    try:
        for key, run in runs.items():
            chains[key] = run()
    except MissingExtraError as error:
        notes = (f"{error}.",)
    return chains, notes


def _matrix(draws: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.stack([draws[name] for name in names], axis=1)


def _cut(x: np.ndarray, lower: float, period: float, bins: int = 72) -> float:
    """The least probable point of a circle, from draws."""
    place = np.floor((x - lower) / period * bins).astype(int) % bins
    counts = np.bincount(place, minlength=bins)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    return lower + (int(np.argmin(smooth)) + 0.5) * period / bins
