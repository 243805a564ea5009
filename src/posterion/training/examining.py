"""The health of a fit: draws beside rows that it never saw, and what its transforms say."""

from dataclasses import replace
from typing import Any

import numpy as np

from posterion.core.estimate import Estimate
from posterion.diagnostics.fitting import (
    FitFindings,
    SurfaceDistance,
    assess_fit,
    two_samples,
)
from posterion.distributions.manifold import ManifoldFlow
from posterion.sampling.importance import as_probable
from posterion.targets.target import x_and_log_det, x_of
from posterion.training.conditional import transforms
from posterion.training.fitted import Fit
from posterion.training.losses import Loss, log_probs
from posterion.training.quantiles import crossing_rate
from posterion.training.summaries import shown
from posterion.training.surfaces import project_rows

__all__ = ["examine"]

_COMPARED = 10_000


def examine(fit: Fit, fed: Any, loss: Loss, outcome: dict[str, Any], *, seed: int) -> Fit:
    """The fit with its health: mean log-densities, and draws beside the held-out rows."""
    if fit.expectiles:
        return replace(fit, health=assess_fit(_scored(fit, fed, loss, outcome)))
    held = {k: a[:_COMPARED] for k, a in fed.valid.items()}
    names = [column for parameter in fit.parameters for column in parameter.columns]
    weights = held["weight"].astype(np.float64)
    rng = np.random.default_rng([seed, 31])
    if np.ptp(weights) > 0:
        chosen = as_probable(weights, rng)
        held = {k: a[chosen] for k, a in held.items()}
    rows = held["context"] if fit.context else None
    near, surface = held["v"], None
    if isinstance(fit.flow, ManifoldFlow):
        near, surface = _on_surface(fit.flow, held["v"], rows)
    x = x_of(fit.frame, near)
    drawn = fit._draw(1 if rows is not None else len(x), rows, seed + 7)
    periods = [
        p.upper - p.lower if p.periodic and p.lower is not None and p.upper is not None else None
        for p in fit.parameters
        for _ in range(p.size)
    ]
    two = two_samples(
        drawn, x, names, seed=seed, context=shown(fit, held["given"])[0], periods=periods
    )
    given = None if rows is None else transforms(fit, held["v"], rows, held["given"])
    measure = tuple(parameter.measure() for parameter in fit.parameters)
    if surface is not None:
        of_surface = f"{surface.size}-dimensional volume of the surface"
        measure = (f"{of_surface}, coordinates in units of their spread",)
    found = replace(
        _scored(fit, fed, loss, outcome),
        two=two,
        surface=surface,
        transforms=given,
        crossing=crossing_rate(fit.flow, held["v"], rows),
        measure=measure,
    )
    return replace(fit, health=assess_fit(found))


def _on_surface(
    flow: ManifoldFlow, v: np.ndarray, context: np.ndarray | None
) -> tuple[np.ndarray, SurfaceDistance]:
    """Projections of held-out rows, and how far these are from the surface and from a plane."""
    near = project_rows(flow, v, context)
    squares = ((near - v.astype(np.float64)) ** 2).sum(axis=1)
    mean, count = squares.mean(), len(squares)
    rms = float(np.sqrt(mean))
    error = float(squares.std() / np.sqrt(count) / (2 * max(rms, 1e-30)))
    size = flow.density.event_shape[0]
    spectrum = np.linalg.eigvalsh(np.cov(v.T.astype(np.float64)))
    plane = float(np.sqrt(np.maximum(spectrum[:-size], 0).sum()))
    return near, SurfaceDistance(Estimate(rms, error), plane, size)


def _scored(fit: Fit, fed: Any, loss: Loss, outcome: dict[str, Any]) -> FitFindings:
    """How rows that it saw, and those that it did not, are scored."""
    train, valid = (_mean_score(fit, loss, rows) for rows in (fed.trained_on(_COMPARED), fed.valid))
    return FitFindings(
        fit.name, train=train, valid=valid, score=loss.score, comparable=not fit.expectiles,
        **outcome,
    )  # fmt: skip


def _mean_score(fit: Fit, loss: Loss, rows: dict[str, np.ndarray]) -> Estimate:
    """Weighted mean log-density per event, in the stated units; without density, of the costs."""
    context = rows["context"] if fit.context else None
    if loss.score == "log-density":
        _, log_det = x_and_log_det(fit.frame, rows["v"])
        values = log_probs(fit.flow, rows["v"], context) - fit._per_volume(log_det)
    else:
        values = loss.costs(fit.flow, rows["v"], context)
    w = rows["weight"].astype(np.float64)
    mean = float(w @ values / w.sum())
    spread = float(np.sqrt(np.square(w * (values - mean)).sum()) / w.sum())
    return Estimate(mean, spread)
