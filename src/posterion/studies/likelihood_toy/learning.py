"""The ways to keep the likelihood: from draws, from draws and density, from the density alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import CheckpointError
from posterion.core.estimate import Estimate
from posterion.diagnostics import Comparison, clean_log_weights, ess_fraction
from posterion.distributions import families as flows
from posterion.sampling import Profile
from posterion.sampling.chain import Chain
from posterion.studies.likelihood_toy.options import Settings
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target
from posterion.training import compare, fit, learn, load

Floats = NDArray[np.float64]

GRID = np.linspace(0, 1, 11)
"""Signal strengths at which the test statistic is compared."""

_WEIGHED = 100_000
_REPEATS = 6  # of the floor: each costs as much as the metrics


@dataclass(frozen=True, eq=False)
class Kept:
    """One way to keep the likelihood, measured.

    Attributes:
        name: of the row.
        seen: draws that it learned from.
        calls: of the density that it learned from.
        ess: ESS/N of its draws against the exact density.
        seconds: wall time of learning.
        status: its own verdict.
        comparison: with the held-out draws, where it can draw.
        profile: of the signal strength, with the exact one beside.
        result: what can be saved.
    """

    name: str
    seen: int
    calls: int
    ess: Estimate
    seconds: float
    status: str
    comparison: Comparison | None = None
    profile: Profile | None = None
    result: Any = None


def split(chain: Chain, train: int) -> tuple[Chain, Chain]:
    """The chains from which flows learn, and the others, held out."""
    first = min(chain.chains - 1, max(1, round(train / chain.length)))
    return _chains(chain, slice(first)), _chains(chain, slice(first, None))


def thinned(chain: Chain) -> Chain:
    """As many draws as the chain is worth: the floor of a comparison needs independent ones."""
    step = max(1, math.ceil(chain.chains * chain.length / min(effective(chain))))
    return _chains(chain, slice(None), slice(None, None, step))


def _chains(chain: Chain, which: slice, draws: slice = slice(None)) -> Chain:
    statistics = {k: v[which, draws] for k, v in chain.statistics.items()}
    return replace(
        chain,
        x=chain.x[which, draws],
        log_density=chain.log_density[which, draws],
        statistics=statistics,
        step_size=chain.step_size[which],
    )


def effective(chain: Chain) -> tuple[float, float]:
    """Effective draws of the worst coordinate: of its values, of their squared deviations.

    From how much the means of the chains differ: with many chains no autocorrelation is needed.
    """
    x = chain.x - chain.x.mean(axis=(0, 1))
    n = chain.chains * chain.length
    found = []
    for values in (x, x**2):
        means = values.mean(axis=1)
        found.append(n * values.var(axis=(0, 1)) / (chain.length * means.var(axis=0, ddof=1)))
    return float(found[0].min()), float(found[1].min())


def from_samples(
    target: Target,
    train: Chain,
    settings: Settings,
    *,
    density: bool,
    seed: int,
    identity: dict[str, Any],
    path: Path,
    resume: bool,
) -> tuple[Any, float]:
    """A MAF of the published size fitted to draws, with or without their density, and seconds."""
    dim = target.dim
    flow = flows.maf(dim, transforms=2, hidden=(64, 64, 64), seed=seed)
    x = {p.name: train.draws[p.name].reshape(-1, *p.shape) for p in target.parameters}

    def make() -> Any:
        return fit(
            flow,
            x,
            parameters=[_bare(p) for p in target.parameters],
            target=target,
            loss="samples_and_density" if density else "nll",
            epochs=settings.epochs,
            batch=512,
            rate=1e-3,
            seed=seed,
            checkpoint=path.with_suffix(".checkpoint"),
            resume=resume,
            name=target.name,
        )

    return kept(make, target, identity, path, resume)


def from_density(
    target: Target,
    settings: Settings,
    *,
    seed: int,
    identity: dict[str, Any],
    path: Path,
    resume: bool,
) -> tuple[Any, float]:
    """A flow self-learned from the density alone, and the seconds it took."""
    given = {"particles": settings.particles}
    changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    checkpoint = path.with_suffix(".checkpoint")

    def make() -> Any:
        return learn(
            target,
            steps=settings.steps,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            **changes,
        )

    return kept(make, target, identity, path, resume)


def kept(
    make: Callable[[], Any], target: Target, identity: dict[str, Any], path: Path, resume: bool
) -> tuple[Any, float]:
    """What ``make`` learns, saved, and the seconds it took; with ``resume`` what is there already.

    Raises:
        CheckpointError: what is there is of another seed, other settings or other inputs.
    """
    if resume and path.exists():
        result = load(path)
        if result.provenance.get("part") != identity:
            raise CheckpointError(
                f"{path} belongs to another run; give the same settings, or run without --resume"
            )
        return replace(result, target=target), float(result.provenance["seconds"])
    if not resume:
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
    began = time.perf_counter()
    result = make()
    seconds = time.perf_counter() - began
    known = {"study": "likelihood-toy", "part": identity, "seconds": seconds}
    result = replace(result, provenance={**result.provenance, **known})
    result.save(path)
    return result, seconds


def _bare(p: Parameter) -> Parameter:
    """Without its prior: samples follow the posterior already."""
    return Parameter(p.name, shape=p.shape, label=p.label, lower=p.lower, upper=p.upper)


def measured(
    name: str, result: Any, target: Target, held: dict[str, Any], *, seed: int, **known: Any
) -> Kept:
    """A result compared with the held-out draws, its weights and its profile."""
    theta = result.named(_WEIGHED, seed=seed + 1)
    x = target.flatten(theta)
    log_w, _ = clean_log_weights(target.evaluate(x) - result.log_prob(theta))
    return Kept(
        name=name,
        ess=ess_fraction(log_w),
        status=result.status.name,
        comparison=compare(result, held, classifier=False, repeats=_REPEATS, seed=seed),
        profile=result.profile("mu", GRID, seed=seed),
        result=result,
        **known,
    )


def gaussian(target: Target, train: Chain, *, seed: int) -> Kept:
    """A normal of the draws' mean and covariance: what every flow must be better than."""
    began = time.perf_counter()
    x = train.flat()
    mean, factor = x.mean(axis=0), np.linalg.cholesky(np.cov(x.T))
    seconds = time.perf_counter() - began
    z = np.random.default_rng([seed, 58]).normal(size=(_WEIGHED, target.dim))
    log_q = -0.5 * (z**2).sum(axis=1) - np.log(np.diag(factor)).sum()
    log_q -= 0.5 * target.dim * np.log(2 * np.pi)
    log_w, _ = clean_log_weights(target.evaluate(mean + z @ factor.T) - log_q)
    return Kept("normal", len(x), 0, ess_fraction(log_w), seconds, "")
