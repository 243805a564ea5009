"""Autocorrelation of Markov chains, and the rank-normalised statistics of several chains."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SettingError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.interchange import arviz
from posterion.diagnostics._arrays import Floats

__all__ = ["autocorrelation", "ess_bulk", "ess_tail", "integrated_time", "split_rhat"]


def autocorrelation(x: ArrayLike) -> Floats:
    """The normalised autocorrelation function at lags 0 ... n - 1, by the fast Fourier transform.

    Args:
        x: (n,), or (chains, n): then the autocovariances about each chain's mean are averaged.

    Returns:
        (n,), one at lag zero; NaN throughout for a series that never moves.

    Raises:
        ShapeError: not of those shapes, or not finite.
    """
    chains = _chains(x)
    n = chains.shape[1]
    centred = chains - chains.mean(axis=1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(centred, size, axis=1))).mean(axis=0)
    covariance = np.fft.irfft(power, size)[:n]
    moves = bool((chains != chains[:, :1]).any())
    return covariance / covariance[0] if moves else np.full(n, np.nan)


def integrated_time(x: ArrayLike, *, window: str = "sokal", c: float | int = 5.0) -> Estimate:
    """The integrated autocorrelation time tau = 1 + 2 sum rho: N / tau draws are effective.

    Args:
        x: (n,), or (chains, n).
        window: ``sokal`` sums up to the first lag M >= c tau(M) (Sokal 1997, in Functional
            Integration, p. 131); ``geyer`` up to the last positive pair, made monotone (Geyer 1992,
            Stat. Sci. 7, 473), for reversible chains.
        c: of Sokal's window.

    Returns:
        tau, and Sokal's error tau sqrt(2 (2 M + 1) / N). A series that never moves has tau = N.

    Raises:
        ShapeError: not of those shapes, or not finite.
        SettingError: an unknown window, or ``c`` not positive.
    """
    if window not in ("sokal", "geyer"):
        raise SettingError(f"window: 'sokal' or 'geyer', got {window!r}")
    if not c > 0:
        raise SettingError(f"c: must be positive, got {c}")
    chains = _chains(x)
    total = chains.size
    rho = autocorrelation(chains)
    if np.isnan(rho[0]):
        return Estimate(float(total))
    tau, lag = _sokal(rho, float(c)) if window == "sokal" else _geyer(rho)
    return Estimate(tau, abs(tau) * np.sqrt(2 * (2 * lag + 1) / total))


def split_rhat(x: ArrayLike) -> Floats:
    """Rank-normalised split R-hat of each component (Vehtari et al. 2021, arXiv:1903.08008).

    Args:
        x: (chains, draws) or (chains, draws, ...).

    Returns:
        An array of the trailing shape.
    """
    return _by_component("rhat", x)


def ess_bulk(x: ArrayLike) -> Floats:
    """Bulk effective sample size of each component; arguments as for `split_rhat`."""
    return _by_component("ess", x, method="bulk")


def ess_tail(x: ArrayLike) -> Floats:
    """Tail effective sample size (5 % and 95 % quantiles); arguments as for `split_rhat`."""
    return _by_component("ess", x, method="tail")


def _sokal(rho: Floats, c: float) -> tuple[float, int]:
    times = 2 * np.cumsum(rho) - 1
    enough = np.arange(times.size) >= c * times
    lag = int(np.argmax(enough)) if enough.any() else times.size - 1
    return float(times[lag]), lag


def _geyer(rho: Floats) -> tuple[float, int]:
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    if pairs.size == 0:
        return 1.0, 0
    negative = pairs <= 0
    last = int(np.argmax(negative)) if negative.any() else pairs.size
    kept = np.minimum.accumulate(pairs[:last])
    return float(2 * kept.sum() - 1), max(2 * last - 1, 0)


def _chains(x: ArrayLike) -> Floats:
    array = np.asarray(x, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(f"x: expected the shape (n,) or (chains, n), got {array.shape}")
    if not np.isfinite(array).all():
        raise ShapeError("x: the series holds values that are not finite")
    return array


def _by_component(function: str, x: ArrayLike, **options: str) -> Floats:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim < 2 or array.size == 0:
        raise ShapeError(f"x: expected the shape (chains, draws, ...), got {array.shape}")
    flat = array.reshape(*array.shape[:2], -1)
    measure = getattr(arviz(), function)
    with warnings.catch_warnings():  # zero variance divides by zero there, and gives NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        values = [float(measure(flat[..., j], **options)) for j in range(flat.shape[2])]
    return np.array(values).reshape(array.shape[2:])
