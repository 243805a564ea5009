"""Pareto-smoothed importance sampling: how heavy the tail of the weights is (k-hat).

Vehtari et al., "Pareto smoothed importance sampling", JMLR 25 (2024) 72, arXiv:1507.02646; the
fit of the tail is that of Zhang and Stephens, Technometrics 51 (2009) 316.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import DensityError, SettingError
from posterion.diagnostics._arrays import Floats, series

__all__ = ["Psis", "fit_generalised_pareto", "k_hat", "k_hat_limit", "psis"]

_SMALLEST_TAIL = 5
_PRIOR_K, _PRIOR_POINTS = 0.5, 10  # of Vehtari et al., appendix C


@dataclass(frozen=True)
class Psis:
    """Smoothed log-weights and the shape of their tail.

    Args:
        log_weights: (n,), in the order and on the scale given, the tail replaced by the expected
            order statistics of the fitted generalised Pareto distribution.
        k_hat: its shape: moments of the weights above the order 1 / k do not exist. Zero for equal
            weights, infinite where fewer than five weights form the tail.
    """

    log_weights: Floats
    k_hat: float


def psis(log_weights: ArrayLike, *, r_eff: float | int = 1.0) -> Psis:
    """Smooth the largest min(n / 5, 3 sqrt(n / r_eff)) importance weights.

    Args:
        log_weights: (n,), unnormalised; -inf is a weight of zero.
        r_eff: effective over actual number of points, where these come from a Markov chain.

    Raises:
        DensityError: a log-weight is NaN or +inf.
        SettingError: ``r_eff`` is not positive.
    """
    x = series(log_weights, "log_weights")
    if np.isnan(x).any() or np.isposinf(x).any():
        raise DensityError("log_weights: NaN or +inf; count and remove them with clean_log_weights")
    if not r_eff > 0:
        raise SettingError(f"r_eff: must be positive, got {r_eff}")
    top = float(x.max())
    if np.isneginf(top):
        return Psis(x.copy(), np.inf)
    x = x - top
    if float(x.min()) >= -8 * np.finfo(np.float64).eps * max(1.0, abs(top)):  # equal: no tail
        return Psis(x + top, 0.0)
    size = int(np.ceil(min(x.size / 5, 3 * np.sqrt(x.size / r_eff))))
    if size < x.size:
        cut = float(np.partition(x, x.size - size - 1)[x.size - size - 1])
    else:
        cut = float(x.min())
    cut = max(cut, float(np.log(np.finfo(np.float64).tiny)))
    tail = np.flatnonzero(x > cut)
    if tail.size < _SMALLEST_TAIL:
        return Psis(x + top, np.inf)
    tail = tail[np.argsort(x[tail], kind="stable")]
    k, scale = fit_generalised_pareto(np.exp(cut) * np.expm1(x[tail] - cut))
    if np.isfinite(k):
        probability = (np.arange(tail.size) + 0.5) / tail.size
        smooth = np.log(_quantile(probability, k, scale) + np.exp(cut))
        x[tail] = np.minimum(smooth, 0.0)  # never beyond the largest raw weight
    return Psis(x + top, k)


def k_hat(log_weights: ArrayLike, *, r_eff: float | int = 1.0) -> float:
    """The shape of the tail of the weights; see `psis`."""
    return psis(log_weights, r_eff=r_eff).k_hat


def k_hat_limit(n: int) -> float:
    """The k-hat below which n weights give a reliable mean: min(1 - 1 / log10 n, 0.7).

    Vehtari et al., arXiv:1507.02646, section 3.2.

    >>> round(k_hat_limit(100), 3), k_hat_limit(100_000)
    (0.5, 0.7)
    """
    return float(min(1 - 1 / np.log10(n), 0.7)) if n > 10 else 0.0


def fit_generalised_pareto(exceedances: ArrayLike) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution, by the posterior mean of its profile.

    Zhang and Stephens (2009), with the weak prior of Vehtari et al. that pulls k towards 1/2.

    Args:
        exceedances: (m,), positive, in ascending order; m >= 5.

    Returns:
        k and scale; (inf, nan) where they cannot be fitted (ties at zero).
    """
    x = series(exceedances, "exceedances")
    m = x.size
    quartile = x[int(m / 4 + 0.5) - 1] if m >= _SMALLEST_TAIL else 0.0
    if not quartile > 0:
        return np.inf, np.nan
    nodes = 30 + int(np.sqrt(m))
    index = np.arange(1, nodes + 1)
    theta = 1 / x[-1] + (1 - np.sqrt(nodes / (index - 0.5))) / (3 * quartile)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.log1p(-theta[:, None] * x).mean(axis=1)
        profile = m * (np.log(-theta / shape) - shape - 1)
    usable = np.isfinite(profile)
    if not usable.any():
        return np.inf, np.nan
    weight = np.where(usable, np.exp(profile - profile[usable].max()), 0.0)
    weight /= weight.sum()
    weight[weight < 10 * np.finfo(np.float64).eps] = 0
    centre = float(weight @ theta / weight.sum())
    k = float(np.log1p(-centre * x).mean())
    scale = -k / centre
    return (m * k + _PRIOR_POINTS * _PRIOR_K) / (m + _PRIOR_POINTS), scale


def _quantile(probability: Floats, k: float, scale: float) -> Floats:
    survival = -np.log1p(-probability)
    if abs(k) < np.finfo(np.float64).eps:
        return scale * survival
    return scale * np.expm1(k * survival) / k
