"""An epidemic: contact and recovery rate from ten counts of the infected.

The case ``sir`` of Lueckmann et al., 2101.04653: a million people, one of them infected,

    dS/dt = -beta S I / N,  dI/dt = beta S I / N - gamma I,

both rates log-normal, and on ten days the infected among a thousand, binomial. Here the equations
are solved by Runge-Kutta steps of fixed length, for S / N and log I / N; the exact posterior is
that of the same steps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

__all__ = ["infected", "log_likelihood", "log_prior", "posterior", "simulated", "summarised"]

Floats = NDArray[np.float64]

PEOPLE, TESTED = 1_000_000, 1000

DAYS = tuple(range(0, 154, 17))
"""Of the ten counts."""

_MIDDLE, _SPREAD = np.log([0.4, 0.125]), np.array([0.5, 0.2])
_STEPS = 3  # a day
_AT_ONCE = 20_000
_COARSE, _FINE = 120, 160
_REACH, _NEGLECTED = 5.0, 25.0


def infected(rates: Floats) -> Floats:
    """The share of infected on the days of the counts, ``(n, 10)``, at rates ``(n, 2)`` a day."""
    parts = [_solved(rates[i : i + _AT_ONCE]) for i in range(0, len(rates), _AT_ONCE)]
    return np.concatenate(parts)


def _solved(rates: Floats) -> Floats:
    beta, gamma = rates.T
    state = np.stack([np.full(len(rates), 1 - 1 / PEOPLE), np.full(len(rates), -np.log(PEOPLE))])

    def slope(state: Floats) -> Floats:
        return np.stack([-beta * state[0] * np.exp(state[1]), beta * state[0] - gamma])

    out, step = [np.exp(state[1])], 1 / _STEPS
    for number in range(1, DAYS[-1] * _STEPS + 1):
        a = slope(state)
        b = slope(state + 0.5 * step * a)
        c = slope(state + 0.5 * step * b)
        state = state + step / 6 * (a + 2 * b + 2 * c + slope(state + step * c))
        if number % _STEPS == 0 and number // _STEPS in DAYS:
            out.append(np.exp(state[1]))
    return np.clip(np.stack(out, axis=1), 0, 1)


def simulated(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """``n`` rates from their prior ``(n, 2)`` and the counts that they produce ``(n, 10)``."""
    rates = np.exp(_MIDDLE + _SPREAD * rng.normal(size=(n, 2)))
    return rates, rng.binomial(TESTED, infected(rates)).astype(np.float64)


def summarised(counts: Floats) -> Floats:
    """Counts as angles of about one variance, ``2 sqrt(n) asin sqrt((k + 3/8) / (n + 3/4))``.

    Anscombe, Biometrika 35, 246 (1948).
    """
    return 2 * np.sqrt(TESTED) * np.arcsin(np.sqrt((counts + 0.375) / (TESTED + 0.75)))


def log_likelihood(rates: Floats, counts: Floats) -> Floats:
    """``log p(counts | rates)`` at rates ``(n, 2)`` and one set of counts, ``(10,)``."""
    share = infected(rates)
    choices = gammaln(TESTED + 1) - gammaln(counts + 1) - gammaln(TESTED - counts + 1)
    terms = choices + xlogy(counts, share) + xlog1py(TESTED - counts, -share)
    return terms.sum(axis=1)


def log_prior(log_rates: Floats) -> Floats:
    """Of the logarithms of the rates, ``(n, 2)``, up to a constant."""
    return -0.5 * np.square((log_rates - _MIDDLE) / _SPREAD).sum(axis=1)


def posterior(counts: Floats, n: int, rng: np.random.Generator) -> Floats:
    """``n`` independent draws of the exact posterior of ten counts, by quadrature.

    A grid of the logarithms of the rates finds where the posterior lies, a second one its values
    there; draws are uniform within a cell.
    """
    lower, upper = _MIDDLE - _REACH * _SPREAD, _MIDDLE + _REACH * _SPREAD
    for size in (_COARSE, _COARSE, _FINE):
        width = (upper - lower) / size
        axes = [low + w * (np.arange(size) + 0.5) for low, w in zip(lower, width, strict=True)]
        cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        log_p = log_likelihood(np.exp(cells), counts) + log_prior(cells)
        near = cells[log_p > log_p.max() - _NEGLECTED]
        lower, upper = near.min(axis=0) - 1.5 * width, near.max(axis=0) + 1.5 * width
    share = np.exp(log_p - log_p.max())
    chosen = rng.choice(len(cells), n, p=share / share.sum())
    return np.exp(cells[chosen] + width * rng.uniform(-0.5, 0.5, (n, 2)))
