"""Priors: the support each implies, their log-density, and how they are kept in a file."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterion.core.errors import ParameterError
from posterion.targets.parameter import Parameter


def prior_bounds(prior: Any) -> tuple[float | None, float | None]:
    """Lower and upper end of the prior's support, ``None`` where there is none."""
    support = prior.support
    name = type(support).__name__.lower()
    lower = getattr(support, "lower_bound", None)
    upper = getattr(support, "upper_bound", None)
    if lower is None and upper is None and "real" not in name and "circular" not in name:
        raise ParameterError(
            f"a prior on {type(support).__name__} is not supported; use one on the line, a "
            f"half-line or an interval"
        )
    ends = []
    for end in (lower, upper):
        value = None if end is None else float(np.asarray(end).min())
        ends.append(value if value is not None and np.isfinite(value) else None)
    return ends[0], ends[1]


def prior_scale(prior: Any) -> tuple[float, float]:
    """Centre and width of a prior, from its moments or, where infinite, from its draws."""
    try:
        centre, width = float(prior.mean.mean()), float(jnp.sqrt(prior.variance.mean()))
    except NotImplementedError:
        centre, width = np.nan, np.nan
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        draws = np.asarray(prior.sample(jax.random.key(0), (4000,)))
        low, centre, high = (float(q) for q in np.quantile(draws, [0.16, 0.5, 0.84]))
        width = 0.5 * (high - low)
    return centre, width


def coordinate_kind(parameter: Parameter) -> tuple[str, float | None, float | None]:
    """Kind of support and its two numbers for one parameter; ``None`` where it must be scouted."""
    lower, upper, prior = parameter.lower, parameter.upper, parameter.prior
    if parameter.periodic:
        return "circle", lower, upper
    centre, scale = parameter.centre, parameter.scale
    if prior is not None:
        if type(prior).__name__ == "LogNormal" and lower is None and upper is None:
            return "log", float(np.mean(prior.loc)), float(np.mean(prior.scale))
        below, above = prior_bounds(prior)
        lower = below if lower is None else lower if below is None else max(lower, below)
        upper = above if upper is None else upper if above is None else min(upper, above)
        centre, scale = prior_scale(prior)
        if lower is not None and upper is None:
            scale = max(abs(centre - lower), scale)
        elif upper is not None and lower is None:
            scale = max(abs(upper - centre), scale)
    if lower is not None and upper is not None:
        return "interval", lower, upper
    if lower is not None:
        return "above", lower, scale
    if upper is not None:
        return "below", upper, scale
    return "real", centre if scale is not None else None, scale
