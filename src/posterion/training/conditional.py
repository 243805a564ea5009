"""What is asked of distributions under conditions: quantiles, and two parts of a variance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from posterion.bijections.base import apply_batch
from posterion.core.cores import chunks
from posterion.core.errors import DensityError, SettingError
from posterion.diagnostics.transforms import FAR, Transforms, transforms_of
from posterion.distributions.adversarial import ConditionalGan
from posterion.distributions.bases import Normal
from posterion.distributions.flow import Flow
from posterion.targets.target import unflatten_theta, v_and_log_det, x_of
from posterion.training.losses import row_by_row
from posterion.training.quantiles import has_quantiles
from posterion.training.ranges import said_once
from posterion.training.samples import conditions_of
from posterion.training.summaries import seen, shown

__all__ = ["Parts", "flat_draws", "levels_of", "parts_of", "quantiles_of", "transforms"]

Floats = NDArray[np.float64]

_AT_ONCE = 400_000
_FEWEST = 50  # rows below which transforms say little
_RANKED = 200  # draws among which a row is ranked


@dataclass(frozen=True, eq=False)
class Parts:
    """Mean and spread under each condition, told apart by the law of total variance.

    Arrays ``(rows, dim)``, in the order of the coordinates.

    Attributes:
        mean: over all members.
        sd: epistemic and aleatoric part added in squares.
        epistemic: standard deviation over the members of their means: what more rows would lessen.
        aleatoric: root of the mean over the members of their variances: what stays.
    """

    mean: Floats
    sd: Floats
    epistemic: Floats
    aleatoric: Floats


def parts_of(members: Sequence[Any], context: Any, *, n: int, seed: int) -> Parts:
    """Mean and spread of several fits under conditions, from ``n`` draws of each.

    The part of the epistemic variance that comes from so few draws is taken off. Of one coordinate
    of a flow on the line its quantiles at ``n`` levels stand for the draws.

    Args:
        members: conditional fits.
        context: ``(rows, width)``, or by name.
        n: draws of each member under each condition.
        seed: of the draws.

    Raises:
        SettingError: fewer than two draws, or no context.
        DensityError: the members learned expectiles.
    """
    if n < 2:
        raise SettingError(f"a spread takes at least two draws, not {n}")
    if getattr(members[0], "expectiles", False):
        raise DensityError(
            f"{members[0].name!r} learned expectiles, of which no spread is known: "
            "quantile(0.5, context=...) of each member is its mean, and their spread epistemic"
        )
    rows = conditions_of(members[0], context)
    dim = sum(parameter.size for parameter in members[0].parameters)
    means, variances = np.empty((2, len(members), len(rows), dim))
    noise = 0.0
    with said_once(members[0], rows):
        for i, member in enumerate(members):
            for number, start, stop in chunks(len(rows), max(1, _AT_ONCE // n)):
                here = slice(start, stop)
                levels = _own(member, (np.arange(n) + 0.5) / n, rows[here])
                if levels is None:
                    own, noise = seed + 1009 * i + 1_000_003 * number, 1 / n
                    drawn = flat_draws(member.sample(n, context=rows[here], seed=own))
                    means[i, here], variances[i, here] = drawn.mean(1), drawn.var(1, ddof=1)
                else:
                    means[i, here], variances[i, here] = levels.mean(0), levels.var(0)
    mean, within = np.mean(means, axis=0), np.mean(variances, axis=0)
    between = np.var(means, axis=0, ddof=1) if len(means) > 1 else np.zeros_like(mean)
    between = np.maximum(between - noise * within, 0)
    return Parts(mean, np.sqrt(between + within), np.sqrt(between), np.sqrt(within))


def quantiles_of(result: Any, q: Any, context: Any, *, n: int, seed: int) -> Any:
    """Quantiles of each coordinate under each condition.

    Of one coordinate of a flow on the line they are exact, the flow's own at the level; otherwise
    those of ``n`` draws.

    Args:
        result: a conditional fit, or an ensemble of such.
        q: levels between 0 and 1, a number or several.
        context: ``(rows, width)``, or by name; ``None`` where it is fixed or there is none.
        n: draws under each condition.
        seed: of the draws.

    Returns:
        ``(*q.shape, rows, dim)`` for arrays, a dict of ``(*q.shape, rows, *shape)`` otherwise;
        without ``rows`` where no context is given.

    Raises:
        SettingError: levels that are not between 0 and 1.
    """
    levels = _levels(q)
    flat = np.atleast_1d(levels).ravel()
    out = _own(result, flat, context)
    if out is None and context is None:
        out = np.quantile(flat_draws(result.sample(n, seed=seed), 1), flat, axis=0)
    elif out is None:
        rows = conditions_of(result, context)
        parts = []
        with said_once(result, rows):
            for number, start, stop in chunks(len(rows), max(1, _AT_ONCE // n)):
                own = seed + 1_000_003 * number
                drawn = flat_draws(result.sample(n, context=rows[start:stop], seed=own))
                parts.append(np.quantile(drawn, flat, axis=1))
        out = np.concatenate(parts, axis=1)
    out = out.reshape(*levels.shape, *out.shape[1:])
    return out if result.form == "array" else unflatten_theta(result.parameters, out)


def _own(fit: Any, levels: Floats, context: Any) -> Floats | None:
    """The flow's own quantiles, where it has one coordinate on the line; sorted in level."""
    flow = getattr(fit, "flow", None)
    if not isinstance(flow, Flow) or not isinstance(flow.base, Normal) or fit.dim != 1:
        return None
    flow, rows = seen(flow, fit._conditions(context))
    count = 1 if rows is None else len(rows)
    z = jnp.asarray(np.repeat(ndtri(np.sort(levels)), count)[:, None], jnp.float32)
    given = None if rows is None else jnp.asarray(np.tile(rows, (len(levels), 1)))
    v = apply_batch(flow.bijection.forward_and_log_det, z, context=given)[0]
    x = np.sort(x_of(fit.frame, v).reshape(len(levels), count, 1), axis=0)
    x = x[np.argsort(np.argsort(levels, kind="stable"), kind="stable")]
    return x[:, 0] if context is None else x


def levels_of(fit: Any, x: Any, context: Any) -> Floats:
    """The probability below each outcome given condition and the outcomes before, ``(n, dim)``.

    Uniform, and independent of all else, where the fit is right.

    Args:
        fit: of a flow on the line.
        x: outcomes ``(n, dim)``, or by name.
        context: of each, ``(n, width)``, or by name.

    Raises:
        SettingError: a fit of another kind.
    """
    if not isinstance(fit.flow, Flow) or not isinstance(fit.flow.base, Normal):
        raise SettingError(f"levels are of flows from normals; {fit.name!r} is none")
    v, _ = v_and_log_det(fit.frame, fit._points(x))
    return ndtr(row_by_row(_latent, fit.flow, v.astype(np.float32), fit._conditions(context)))


def transforms(fit: Any, v: np.ndarray, context: np.ndarray, given: Floats) -> Transforms | None:
    """Of rows in the frame's coordinates; ``None`` where they are few, or the base is no normal.

    What has no density has them by the ranks of rows among draws, coordinate by coordinate.

    Args:
        fit: a conditional fit.
        v: rows ``(n, dim)``.
        context: as the flow sees it, ``(n, width)``.
        given: as it was given, ``(n, width)``.
    """
    flow = fit.flow
    if len(v) < _FEWEST or not (
        isinstance(flow, ConditionalGan)
        or (isinstance(flow, Flow) and isinstance(flow.base, Normal))
    ):
        return None
    if isinstance(flow, ConditionalGan):
        u = row_by_row(_ranks, flow, v, context)
        names = [f"rank of {column}" for column in fit.columns]
        return transforms_of(
            u, given, names=names, conditions=fit.context, chained=False, limit=FAR
        )
    z = row_by_row(_latent, flow, v, context)
    u = np.where(np.isnan(z), 0.0, ndtr(z))  # a row without a level counts against the fit
    own = has_quantiles(flow)
    names = [f"level of {c}" if own else f"latent {i + 1}" for i, c in enumerate(fit.columns)]
    beside, conditions = shown(fit, given)
    return transforms_of(u, beside, names=names, conditions=conditions, limit=FAR)


@eqx.filter_jit
def _ranks(flow: Any, v: Array, context: Array | None) -> Array:
    """Where rows lie among draws under their conditions, uniform if these have the rows' law."""

    def below(key: Array) -> Array:
        return flow.sample(key, v.shape[:1], context) < v

    draw, spread = jax.random.split(jax.random.key(0))
    count = jnp.sum(lax.map(below, jax.random.split(draw, _RANKED)), axis=0)
    return (count + jax.random.uniform(spread, v.shape)) / (_RANKED + 1)


@eqx.filter_jit
def _latent(flow: Any, v: Array, context: Array | None) -> Array:
    return apply_batch(flow.bijection.inverse_and_log_det, v, context=context)[0]


def flat_draws(draws: Any, leading: int = 2) -> Floats:
    """Draws as coordinates ``(rows, n, d)``, or ``(n, d)`` for one leading axis."""
    if not isinstance(draws, Mapping):
        return np.asarray(draws, np.float64)
    parts = [np.asarray(a, np.float64) for a in draws.values()]
    return np.concatenate([a.reshape(*a.shape[:leading], -1) for a in parts], axis=leading)


def _levels(q: Any) -> Floats:
    try:
        levels = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        levels = np.asarray(np.nan)
    if q is None or isinstance(q, Mapping) or not ((levels > 0) & (levels < 1)).all():
        raise SettingError(f"quantiles lie between 0 and 1, without the ends; got {q!r}")
    return levels
