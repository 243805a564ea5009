"""The independence Metropolis chain: it makes a flow's draws exact.

Proposals are the flow's draws in their order; one with weight w' replaces one with weight w with
probability min(1, w' / w) (Tierney 1994; Liu, Stat. Comput. 6 (1996) 113).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posterion.core.errors import DensityError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics._arrays import embed, points, spread
from posterion.diagnostics.autocorrelation import integrated_time
from posterion.diagnostics.weights import relative_weights

__all__ = [
    "ExactChain",
    "IndependenceChain",
    "exact_chain",
    "expected_acceptance",
    "expected_autocorrelation",
    "independence_chain",
]


@dataclass(frozen=True)
class IndependenceChain:
    """An independence Metropolis chain over draws.

    Args:
        indices: (n,), which draw the chain holds at each step: ``draws[indices]`` is the chain.
        acceptance: the fraction of proposals accepted.
        longest_stay: the most steps that it stayed on one draw.
    """

    indices: NDArray[np.intp]
    acceptance: float
    longest_stay: int


def independence_chain(log_weights: ArrayLike, *, seed: int) -> IndependenceChain:
    """Run the chain over draws in the order of their proposal, starting at the first usable one.

    Args:
        log_weights: (n,), log p - log q of independent draws from q; -inf is never accepted.
        seed: of the acceptance.

    Raises:
        DensityError: a log-weight is NaN or +inf, or all are -inf.
    """
    w = relative_weights(log_weights)
    if not w.any():
        raise DensityError("log_weights: every draw has the weight zero, there is no chain")
    x = np.asarray(log_weights, dtype=np.float64)
    start = int(np.argmax(w > 0))
    # Accepted if log u < x' - x: compare x' - log u, one number a proposal, with the present x.
    reach = (x + np.random.default_rng(seed).standard_exponential(x.size))[start + 1 :].tolist()
    present, accepted = float(x[start]), [0]
    keep = accepted.append
    for i, (high, value) in enumerate(zip(reach, x[start + 1 :].tolist(), strict=True), start + 1):
        if high > present:
            present = value
            keep(i)
    moves = np.array(accepted)
    stays = np.diff(np.append(moves, x.size))
    moves[0] = start
    fraction = (moves.size - 1) / (x.size - 1) if x.size > 1 else np.nan
    return IndependenceChain(np.repeat(moves, stays), float(fraction), int(stays.max()))


def expected_acceptance(log_weights: ArrayLike) -> float:
    """The acceptance of the stationary chain, from the weights alone: E_p E_q[min(1, w' / w)].

    Args:
        log_weights: (n,), log p - log q at draws from q.
    """
    share, accept = _acceptances(log_weights)
    return float(share @ accept)


def expected_autocorrelation(log_weights: ArrayLike) -> float:
    """The chain's integrated autocorrelation time for observables that do not depend on the weight.

    tau = E_p[(1 + R) / (1 - R)], with R(w) the probability to reject a proposal at weight w: every
    accepted proposal makes such an observable independent. Its noise is that of the weights alone.

    Args:
        log_weights: (n,), log p - log q at draws from q.
    """
    share, accept = _acceptances(log_weights)
    return float(share @ (2 / accept - 1))


@register("exact_chain")
@dataclass(frozen=True)
class ExactChain:
    """What the independence Metropolis chain over a flow's draws shows.

    Args:
        acceptance: measured fraction of accepted proposals.
        autocorrelation: largest integrated autocorrelation time of the observables, measured.
        expected_autocorrelation: the one expected from the weights alone.
        slowest: index of the slowest observable.
        effective: N / tau of it.
        longest_stay: the most steps on one draw.
    """

    acceptance: float
    autocorrelation: Estimate
    expected_autocorrelation: float
    slowest: int
    effective: float
    longest_stay: int


def exact_chain(
    log_weights: ArrayLike,
    draws: ArrayLike,
    *,
    seed: int,
    periods: Sequence[float | int | None] | None = None,
) -> ExactChain:
    """Run the chain and measure its autocorrelation in every parameter.

    Args:
        log_weights: (n,), log p - log q at independent draws from q, free of NaN and +inf.
        draws: (n, d), the draws; their parameters are the observables.
        seed: of the acceptance.
        periods: per parameter, its period or None; a periodic one counts by its cosine and sine.

    Raises:
        ShapeError: draws and weights differ in number.
        DensityError: every weight is zero.
    """
    x = points(draws, "draws")
    chain = independence_chain(log_weights, seed=seed)
    if x.shape[0] != chain.indices.size:
        raise ShapeError(f"draws: {x.shape[0]} points for {chain.indices.size} weights")
    observables = embed(x, periods, spread(x, np.full(x.shape[0], 1 / x.shape[0]), periods))
    times = [integrated_time(column[chain.indices]) for column in observables.T]
    slowest = int(np.argmax([t.value for t in times]))
    return ExactChain(
        chain.acceptance,
        times[slowest],
        expected_autocorrelation(log_weights),
        slowest,
        x.shape[0] / times[slowest].value,
        chain.longest_stay,
    )


def _acceptances(log_weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stationary probability of each draw (ascending in weight), and its chance to be left."""
    w = np.sort(relative_weights(log_weights))
    w = w[w > 0]
    if w.size == 0:
        raise DensityError("log_weights: every draw has the weight zero, there is no chain")
    n = np.asarray(log_weights).size
    below = np.concatenate([[0.0], np.cumsum(w)[:-1]])
    accept = (below / w + np.arange(w.size, 0, -1)) / n
    return w / w.sum(), accept
