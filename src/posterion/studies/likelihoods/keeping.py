"""The ways to keep a likelihood: from draws, from draws and density, from the density alone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.estimate import Estimate
from posterion.diagnostics import Comparison, clean_log_weights, ess_fraction
from posterion.distributions import families as flows
from posterion.sampling import Profile
from posterion.sampling.chain import Chain
from posterion.studies import keeping
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target
from posterion.training import compare, fit, learn

Floats = NDArray[np.float64]

_WEIGHED = 100_000
_REPEATS = 6  # of the floor: each costs as much as the metrics


@dataclass(frozen=True, eq=False)
class Run(keeping.Run):
    """One run of a study of a likelihood.

    Attributes:
        target: the exact density.
    """

    target: Target


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
        profile: of one parameter, with the exact one beside.
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


def from_samples(
    run: Run, name: str, train: Floats, *, density: bool, epochs: int
) -> tuple[Any, float]:
    """A MAF of the published size fitted to draws, with or without their density, and seconds.

    Batches are larger than the published 512, and what is kept is averaged over ten epochs: so
    many parameters learn the noise of so few draws by heart.
    """
    target = run.target
    flow = flows.maf(target.dim, transforms=2, hidden=(64, 64, 64), seed=run.seed)
    parameters = [_bare(p) for p in target.parameters]
    batch = min(2048, max(64, len(train) // 100))
    steps = len(train) / batch  # of an epoch

    def make() -> Any:
        return fit(
            flow,
            target.unflatten(train),
            parameters=parameters,
            target=target,
            loss="samples_and_density" if density else "nll",
            epochs=epochs,
            batch=batch,
            average=1 - 1 / (10 * steps),
            seed=run.seed,
            checkpoint=run.checkpoint(name),
            resume=run.resume,
            name=target.name,
        )

    return kept(run, name, make)


def from_density(run: Run, name: str, **changes: Any) -> tuple[Any, float]:
    """A flow self-learned from the density alone, and the seconds it took.

    Args:
        run: of the study.
        name: of the bundle.
        changes: settings of `posterion.learn`; None leaves one as it is.
    """
    given = {k: v for k, v in changes.items() if v is not None}
    checkpoint = run.checkpoint(name)

    def make() -> Any:
        return learn(run.target, seed=run.seed, checkpoint=checkpoint, resume=run.resume, **given)

    return kept(run, name, make)


def kept(run: Run, name: str, make: Callable[[], Any]) -> tuple[Any, float]:
    """As `posterion.studies.keeping.kept`, with the run's target."""
    result, seconds = keeping.kept(run, name, make)
    return replace(result, target=run.target), seconds


def by_name(target: Target, chain: Chain) -> dict[str, Floats]:
    """The draws of all chains by parameter name, each ``(n, *shape)``."""
    return {p.name: chain.draws[p.name].reshape(-1, *p.shape) for p in target.parameters}


def _bare(p: Parameter) -> Parameter:
    """Without its prior: samples follow the posterior already."""
    return Parameter(p.name, shape=p.shape, label=p.label, lower=p.lower, upper=p.upper)


def measured(
    run: Run,
    name: str,
    result: Any,
    held: Mapping[str, Any],
    *,
    exact: Profile | None = None,
    **known: Any,
) -> Kept:
    """A result compared with the held-out draws, its weights and its profile.

    Args:
        run: of the study.
        name: of the row.
        result: with the run's target.
        held: draws by parameter name.
        exact: profile of the target, whose parameter and grid the result's has.
        known: the row's own numbers.
    """
    theta = result.named(_WEIGHED, seed=run.seed + 1)
    x = run.target.flatten(theta)
    log_w, _ = clean_log_weights(run.target.evaluate(x) - result.log_prob(theta))
    return Kept(
        name=name,
        ess=ess_fraction(log_w),
        status=result.status.name,
        comparison=compare(result, held, classifier=False, repeats=_REPEATS, seed=run.seed),
        profile=None if exact is None else result.profile(exact.name, exact.grid, seed=run.seed),
        result=result,
        **known,
    )


def gaussian(run: Run, x: Floats) -> Kept:
    """A normal of the draws' mean and covariance: what every flow must be better than."""
    began = time.perf_counter()
    target = run.target
    mean, factor = x.mean(axis=0), np.linalg.cholesky(np.cov(x.T))
    seconds = time.perf_counter() - began
    z = np.random.default_rng([run.seed, 58]).normal(size=(_WEIGHED, target.dim))
    log_q = -0.5 * (z**2).sum(axis=1) - np.log(np.diag(factor)).sum()
    log_q -= 0.5 * target.dim * np.log(2 * np.pi)
    log_w, _ = clean_log_weights(target.evaluate(mean + z @ factor.T) - log_q)
    return Kept("normal", len(x), 0, ess_fraction(log_w), seconds, "")
