"""Simulation-based calibration: where the true parameters lie among the draws of their posterior.

If theta is drawn from the prior, x from the model and the draws from p(theta | x), then theta is
one draw more: the rank of any quantity of it among those of the draws is uniform (Talts et al.,
1804.06788). Ranks of the log-density and of the distance to a point (TARP, Lemos et al.,
2302.03026) see what no coordinate shows by itself; the point depends on x, so that a posterior that
does not look at x is found out too (cf. Modrák et al., 2211.02383).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SettingError, ShapeError
from posterion.diagnostics._arrays import Floats, points
from posterion.diagnostics.bands import uniform_p_value
from posterion.diagnostics.calibrated import LOG_DENSITY, TARP, Calibration

__all__ = ["calibration_of"]

_FEWEST_PAIRS, _FEWEST_DRAWS = 20, 10


def calibration_of(
    truth: ArrayLike,
    draws: ArrayLike,
    *,
    context: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    log_prob: tuple[ArrayLike, ArrayLike] | None = None,
    quantities: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    alpha: float | int = 0.01,
    name: str = "posterior",
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Calibration:
    """Calibration of posterior draws, from arrays alone.

    Args:
        truth: parameters drawn from the prior, ``(n, d)``.
        draws: from the posterior given what each of them produced, ``(n, L, d)``: independent, so
            chains are thinned first.
        context: what they produced, ``(n, width)``.
        names: of the parameters.
        log_prob: the posterior's log-density of the truths ``(n,)`` and of the draws ``(n, L)``.
        quantities: further functions of parameters and context by name, likewise.
        alpha: probability that a right posterior is rejected, at the most, over all quantities.
        name: for the report.
        notes: for the report.
        seed: of ties, and of where a truth lies between two draws.

    Raises:
        ShapeError: shapes that do not fit, or numbers that are not finite.
        SettingError: fewer than 20 pairs or 10 draws, or ``alpha`` not between 0 and 1.
    """
    theta, x = points(truth, "truth"), np.asarray(draws, np.float64)
    n, d = theta.shape
    if x.ndim != 3 or x.shape[0] != n or x.shape[2] != d:
        raise ShapeError(f"draws: expected the shape ({n}, L, {d}), got {x.shape}")
    size = x.shape[1]
    if n < _FEWEST_PAIRS or size < _FEWEST_DRAWS:
        raise SettingError(
            f"{n} pairs with {size} draws each say nothing; at least {_FEWEST_PAIRS} with "
            f"{_FEWEST_DRAWS} are needed"
        )
    if not 0 < alpha < 1:
        raise SettingError(f"alpha must lie between 0 and 1, got {alpha}")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))
        raise ShapeError(f"the draws of {len(bad)} pairs are not finite; the first: {bad[0]}")
    labels = [f"x[{i}]" for i in range(d)] if names is None else list(names)
    if len(labels) != d:
        raise ShapeError(f"{len(labels)} names for {d} parameters")
    measured: dict[str, tuple[Floats, Floats]] = {
        label: (theta[:, i], x[:, :, i]) for i, label in enumerate(labels)
    }
    joint = dict(quantities or {})
    if log_prob is not None:
        joint[LOG_DENSITY] = log_prob
    if d > 1 or context is not None:
        joint[TARP] = _distances(theta, x, context, seed)
    for label, (a, b) in joint.items():
        if label in measured:
            raise SettingError(f"two quantities are called {label!r}")
        measured[label] = _checked(label, a, b, n, size)
    rng, spread = np.random.default_rng([seed, 93]), theta.std(axis=0)
    pit = np.stack([_placed(a, b, rng) for a, b in measured.values()], axis=1)
    return Calibration(
        name=name,
        names=tuple(measured),
        coordinates=d,
        pit=pit,
        p_values=np.array([uniform_p_value(u) for u in pit.T]),
        draws=size,
        alpha=float(alpha),
        shrinkage=np.sqrt(x.var(axis=1).mean(axis=0)) / np.where(spread > 0, spread, np.nan),
        notes=tuple(notes),
    )


def _checked(label: str, truth: ArrayLike, draws: ArrayLike, n: int, size: int):
    a, b = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    if a.shape != (n,) or b.shape != (n, size):
        raise ShapeError(
            f"{label}: expected the shapes ({n},) and ({n}, {size}), got {a.shape} and {b.shape}"
        )
    lost = int(np.isnan(a).sum() + np.isnan(b).sum())
    if lost:
        raise ShapeError(f"{label}: {lost} values are not a number")
    return a, b


def _placed(truth: Floats, draws: Floats, rng: np.random.Generator) -> Floats:
    """The rank as a fraction, spread evenly over its cell: uniform on [0, 1] if calibrated."""
    below = (draws < truth[:, None]).sum(axis=1)
    equal = (draws == truth[:, None]).sum(axis=1)
    return (below + rng.uniform(size=len(truth)) * (equal + 1)) / (draws.shape[1] + 1)


def _distances(
    theta: Floats, x: Floats, context: ArrayLike | None, seed: int
) -> tuple[Floats, Floats]:
    """Distances to a point that depends on the context: truths ``(n,)``, draws ``(n, L)``.

    The point is the linear prediction from the context, stretched to the spread of the parameters.
    It takes each truth and its draws alike, so that ranks are exactly uniform all the same.
    """
    n, size, d = x.shape
    middle = (theta + x.sum(axis=1)) / (size + 1)
    centre = middle.mean(axis=0)
    square = (np.square(theta - centre) + np.square(x - centre).sum(axis=1)) / (size + 1)
    scale = np.sqrt(square.mean(axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    if context is None:
        point = np.random.default_rng([seed, 94]).normal(size=(n, d))
    else:
        z = points(context, "context")
        if len(z) != n:
            raise ShapeError(f"context: {len(z)} rows for {n} pairs")
        spread = z.std(axis=0)
        z = (z - z.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        ridge = n * 1e-2 * np.eye(z.shape[1])
        point = z @ np.linalg.solve(z.T @ z + ridge, z.T @ ((middle - centre) / scale))
        spread = point.std(axis=0)
        point = point / np.where(spread > 0, spread, 1.0)
    of_truth = np.square((theta - centre) / scale - point).sum(axis=1)
    of_draws = np.zeros((n, size))
    for i in range(d):
        of_draws += np.square((x[:, :, i] - centre[i]) / scale[i] - point[:, None, i])
    return of_truth, of_draws
