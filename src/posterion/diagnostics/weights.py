"""Importance weights of a flow's own draws: effective sample size, evidence, non-finite values.

With x_i drawn from q and log-weights lw_i = log p(x_i) - log q(x_i), p unnormalised. What these
weights cannot see is where q draws nothing: `posterion.diagnostics.witness` looks there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import DensityError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics._arrays import Floats, series
from posterion.diagnostics.pareto import psis

__all__ = [
    "NonFinite",
    "WeightReport",
    "clean_log_weights",
    "ess",
    "ess_fraction",
    "log_evidence",
    "max_weight_share",
    "weigh",
]


@register("non_finite")
@dataclass(frozen=True)
class NonFinite:
    """How many of ``total`` log-weights (or log-densities) were not finite."""

    total: int
    nan: int = 0
    plus_inf: int = 0
    minus_inf: int = 0

    @property
    def bad(self) -> int:
        """NaN and +inf: what no proper density gives (-inf is zero probability)."""
        return self.nan + self.plus_inf

    def __add__(self, other: "NonFinite") -> "NonFinite":
        return NonFinite(
            self.total + other.total,
            self.nan + other.nan,
            self.plus_inf + other.plus_inf,
            self.minus_inf + other.minus_inf,
        )

    def __str__(self) -> str:
        return f"{self.nan} NaN, {self.plus_inf} +inf, {self.minus_inf} -inf of {self.total}"


def clean_log_weights(log_weights: ArrayLike) -> tuple[Floats, NonFinite]:
    """Give NaN and +inf the weight zero, and say how many there were.

    Args:
        log_weights: (n,).

    Returns:
        The log-weights (n,) with -inf in those places, and the counts.
    """
    x = series(log_weights, "log_weights")
    nan, plus = np.isnan(x), np.isposinf(x)
    counts = NonFinite(x.size, int(nan.sum()), int(plus.sum()), int(np.isneginf(x).sum()))
    return np.where(nan | plus, -np.inf, x), counts


def ess(log_weights: ArrayLike) -> float:
    """The effective sample size (sum w)^2 / sum w^2 of Kish; 0 where every weight is zero.

    Args:
        log_weights: (n,), unnormalised.

    Raises:
        DensityError: a log-weight is NaN or +inf (see `clean_log_weights`).
    """
    w = relative_weights(log_weights)
    return float(w.sum() ** 2 / np.square(w).sum()) if w.any() else 0.0


def ess_fraction(log_weights: ArrayLike) -> Estimate:
    """ESS / N = E_q[w]^2 / E_q[w^2], with its error to first order in the moments of w.

    Args:
        log_weights: (n,), unnormalised.

    Raises:
        DensityError: a log-weight is NaN or +inf (see `clean_log_weights`).
    """
    w = relative_weights(log_weights)
    if not w.any():
        return Estimate(0.0)
    first, second = w.mean(), np.square(w).mean()
    fraction = first**2 / second
    influence = fraction * (2 * w / first - np.square(w) / second - 1)
    return Estimate(fraction, standard_error(influence))


def max_weight_share(log_weights: ArrayLike) -> float:
    """The share of the largest weight in the sum of all; NaN where every weight is zero."""
    w = relative_weights(log_weights)
    return float(w.max() / w.sum()) if w.any() else np.nan


def log_evidence(log_weights: ArrayLike) -> Estimate:
    """The log evidence log Z = log mean w, with the error sd(w) / (mean(w) sqrt n).

    The error holds while the weights have a variance (k-hat < 0.5), and is roughly right up to 0.7.

    Args:
        log_weights: (n,); -inf counts as a draw of weight zero.

    Raises:
        DensityError: a log-weight is NaN or +inf (see `clean_log_weights`).
    """
    x = series(log_weights, "log_weights")
    w = relative_weights(x)
    if not w.any():
        return Estimate(-np.inf)
    return Estimate(x.max() + np.log(w.mean()), standard_error(w / w.mean()))


@register("weight_report")
@dataclass(frozen=True)
class WeightReport:
    """What the importance weights of a flow's own draws say.

    Args:
        ess_fraction: ESS / N.
        k_hat: shape of the weights' tail.
        max_share: share of the largest weight.
        log_evidence: log Z by importance sampling.
        counts: non-finite log-weights; NaN and +inf carry the weight zero in all of the above.
    """

    ess_fraction: Estimate
    k_hat: float
    max_share: float
    log_evidence: Estimate
    counts: NonFinite


def weigh(log_weights: ArrayLike) -> WeightReport:
    """Measure the importance weights of a flow's own draws, non-finite ones counted.

    Args:
        log_weights: (n,), log p - log q at draws from q.

    >>> weigh([0.0, 0.1, -0.1, float("nan")]).counts
    NonFinite(total=4, nan=1, plus_inf=0, minus_inf=0)
    """
    x, counts = clean_log_weights(log_weights)
    return WeightReport(
        ess_fraction(x), psis(x).k_hat, max_weight_share(x), log_evidence(x), counts
    )


def relative_weights(log_weights: ArrayLike) -> Floats:
    """exp(lw - max lw), shape (n,); all zero where every log-weight is -inf.

    Raises:
        DensityError: a log-weight is NaN or +inf.
    """
    x = series(log_weights, "log_weights")
    bad = int((np.isnan(x) | np.isposinf(x)).sum())
    if bad:
        raise DensityError(
            f"log_weights: {bad} of {x.size} are NaN or +inf; count and remove them with "
            "clean_log_weights"
        )
    top = x.max()
    return np.zeros_like(x) if np.isneginf(top) else np.exp(x - top)


def standard_error(x: Floats) -> float:
    """The standard error of the mean of independent values; NaN for a single one."""
    return float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else np.nan
