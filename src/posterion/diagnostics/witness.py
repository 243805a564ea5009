"""What independent draws from the posterior say of a flow: the view that its own weights lack.

A flow that lost a mode has flawless weights. Points of the posterior from elsewhere (sequential
Monte Carlo, dispersed chains, exact draws) see it: there log p - log q is enormous.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SettingError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics._arrays import Floats, kish, log_sum_exp, series
from posterion.diagnostics.pareto import psis
from posterion.diagnostics.weights import relative_weights, standard_error

__all__ = [
    "Divergences",
    "ExactSampleEss",
    "divergences",
    "exact_sample_ess",
    "forward_kl",
    "forward_kl_of_draws",
    "reverse_kl",
]


@register("exact_sample_ess")
@dataclass(frozen=True)
class ExactSampleEss:
    """ESS / N of a flow, measured at points of the posterior.

    Args:
        fraction: 1 / E_p[p / q] with p normalised; exactly 0 where a point is out of reach.
        k_hat: shape of the tail of p / q under p. With k the one under q it is k / (1 - k): 1 here
            means that the importance weights have no variance.
        largest: the largest p / q, over its mean.
        points: how many points of the posterior there were.
        unreachable: those where q has no density at all (log q = -inf).
        bad: those where log p - log q is NaN or -inf; left out of the fraction.
    """

    fraction: Estimate
    k_hat: float
    largest: float
    points: int
    unreachable: int = 0
    bad: int = 0


def exact_sample_ess(
    log_ratio: ArrayLike,
    *,
    log_evidence: Estimate | None = None,
    log_weights: ArrayLike | None = None,
    n_effective: float | int | None = None,
) -> ExactSampleEss:
    """ESS / N of the flow q from draws of the posterior p: 1 / E_p[p / q].

    The mean is Pareto-smoothed, since a few points dominate it.

    Args:
        log_ratio: (n,), log p - log q at draws from p; p may be unnormalised.
        log_evidence: log of p's integral. The flow's own estimate serves well (where it lacks mass,
            p / q is infinite anyway) and has a small error. None takes it from the same points,
            by E_p[q / p] = 1, which needs a q without mass where p has none or far less.
        log_weights: (n,), where the draws carry weights.
        n_effective: how many independent draws they are worth, where they come from a chain or were
            resampled; it widens the error, and the tail that is smoothed.

    Raises:
        ShapeError: the arrays have different lengths.
        SettingError: ``n_effective`` is not positive.
    """
    x, share, bad = _at_posterior(log_ratio, log_weights)
    count = x.size + bad
    if x.size == 0:
        return ExactSampleEss(Estimate(np.nan), np.inf, np.nan, count, 0, bad)
    unreachable = int(np.isposinf(x).sum())
    if unreachable:
        return ExactSampleEss(Estimate(0.0), np.inf, np.inf, count, unreachable, bad)
    inflation = _inflation(share, n_effective)
    terms = np.log(share) + x
    smooth = psis(terms, r_eff=min(1.0, 1 / inflation))
    log_mean = log_sum_exp(smooth.log_weights)
    largest = float(np.exp(x.max() - log_sum_exp(terms)))
    influence = np.exp(smooth.log_weights - log_mean) / share - 1
    if log_evidence is None:
        log_inverse = log_sum_exp(np.log(share) - x)
        log_mean += log_inverse
        influence = influence + np.exp(-x - log_inverse) - 1
        error = 0.0
    else:
        log_mean -= log_evidence.value
        error = log_evidence.error
    own = np.sqrt(np.square(share * influence).sum() * inflation)
    fraction = np.exp(-log_mean)
    estimate = Estimate(fraction, fraction * np.hypot(own, error))
    return ExactSampleEss(estimate, smooth.k_hat, largest, count, 0, bad)


def reverse_kl(log_weights: ArrayLike, *, log_evidence: Estimate | None = None) -> Estimate:
    """KL(q || p) = log Z - E_q[log w], from the flow's own draws; infinite where one has p = 0.

    Args:
        log_weights: (n,), log p - log q at draws from q.
        log_evidence: an independent log Z; None takes that of the same draws.
    """
    x = series(log_weights, "log_weights")
    w = relative_weights(x)
    if not (w > 0).all():
        return Estimate(np.inf)
    influence = x.mean() - x
    if log_evidence is None:
        value = x.max() + np.log(w.mean()) - x.mean()
        return Estimate(value, standard_error(influence + w / w.mean()))
    error = np.hypot(standard_error(influence), log_evidence.error)
    return Estimate(log_evidence.value - x.mean(), error)


def forward_kl_of_draws(log_weights: ArrayLike) -> Estimate:
    """KL(p || q) as the flow's own weighted draws see it: E_w[log w] - log Z.

    It is blind to whatever q lacks; compare with `forward_kl`.

    Args:
        log_weights: (n,), log p - log q at draws from q.
    """
    x = series(log_weights, "log_weights")
    w = relative_weights(x)
    if not w.any():
        return Estimate(np.nan)
    w /= w.mean()
    finite = np.where(w > 0, x, 0.0)
    mean = (w * finite).mean()
    log_z = log_sum_exp(x) - np.log(x.size)
    return Estimate(mean - log_z, standard_error(w * (finite - mean) - w))


def forward_kl(
    log_ratio: ArrayLike,
    *,
    log_evidence: Estimate,
    log_weights: ArrayLike | None = None,
    n_effective: float | int | None = None,
) -> Estimate:
    """KL(p || q) = E_p[log p - log q] - log Z, from draws of the posterior.

    Infinite where q has no density at one of them. Arguments as for `exact_sample_ess`.
    """
    mean = _mean_log_ratio(log_ratio, log_weights, n_effective)
    return Estimate(mean.value - log_evidence.value, np.hypot(mean.error, log_evidence.error))


@register("divergences")
@dataclass(frozen=True)
class Divergences:
    """The Kullback-Leibler divergences between flow q and posterior p, in nats.

    Args:
        reverse: KL(q || p), from the flow's draws.
        forward_of_draws: KL(p || q), from the flow's weighted draws.
        forward: KL(p || q), from draws of the posterior; None where there were none.
        gap: E_p[log w] at draws of the posterior minus the same by the flow's weights: zero for a
            flow that covers the posterior, large where it misses a part; needs no log Z.
    """

    reverse: Estimate
    forward_of_draws: Estimate
    forward: Estimate | None = None
    gap: Estimate | None = None


def divergences(
    log_weights: ArrayLike,
    log_ratio: ArrayLike | None = None,
    *,
    point_log_weights: ArrayLike | None = None,
    n_effective: float | int | None = None,
) -> Divergences:
    """Both divergences, from the flow's draws and, where given, from draws of the posterior.

    Args:
        log_weights: (n,), log p - log q at draws from q, free of NaN and +inf.
        log_ratio: (m,), log p - log q at draws from p.
        point_log_weights: (m,), where the latter carry weights.
        n_effective: how many independent draws the latter are worth.

    Raises:
        DensityError: ``log_weights`` holds NaN or +inf (see `clean_log_weights`).
    """
    reverse, own = reverse_kl(log_weights), forward_kl_of_draws(log_weights)
    if log_ratio is None:
        return Divergences(reverse, own)
    mean = _mean_log_ratio(log_ratio, point_log_weights, n_effective)
    x = series(log_weights, "log_weights")
    log_z = log_sum_exp(x) - np.log(x.size)
    w = relative_weights(x)
    z_error = standard_error(w / w.mean()) if w.any() else np.nan
    own_mean = own.value + log_z
    centred = np.where(w > 0, x, own_mean) - own_mean
    own_error = standard_error(w * centred / w.mean()) if w.any() else np.nan
    return Divergences(
        reverse,
        own,
        Estimate(mean.value - log_z, np.hypot(mean.error, z_error)),
        Estimate(mean.value - own_mean, np.hypot(mean.error, own_error)),
    )


def _at_posterior(
    log_ratio: ArrayLike, log_weights: ArrayLike | None
) -> tuple[Floats, Floats, int]:
    """Usable log-ratios, their normalised weights, and the number of unusable ones."""
    x = series(log_ratio, "log_ratio")
    w = np.ones_like(x) if log_weights is None else relative_weights(log_weights)
    if w.shape != x.shape:
        raise ShapeError(f"log_weights: {w.size} weights for {x.size} points")
    x, w = x[w > 0], w[w > 0]
    usable = ~(np.isnan(x) | np.isneginf(x))
    x, w, bad = x[usable], w[usable], int((~usable).sum())
    return x, w / w.sum() if w.size else w, bad


def _mean_log_ratio(
    log_ratio: ArrayLike, log_weights: ArrayLike | None, n_effective: float | int | None
) -> Estimate:
    x, share, _ = _at_posterior(log_ratio, log_weights)
    if x.size == 0:
        return Estimate(np.nan)
    if np.isposinf(x).any():
        return Estimate(np.inf)
    mean = float(share @ x)
    variance = np.square(share * (x - mean)).sum() * _inflation(share, n_effective)
    return Estimate(mean, np.sqrt(variance))


def _inflation(share: Floats, n_effective: float | int | None) -> float:
    """By how much the variance of a mean exceeds that of independent weighted draws."""
    if n_effective is None:
        return 1.0
    if not n_effective > 0:
        raise SettingError(f"n_effective: must be positive, got {n_effective}")
    return max(1.0, kish(share) / n_effective)
