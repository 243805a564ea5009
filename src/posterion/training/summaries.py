"""What a fit makes of conditions before its layers see them: once for each condition."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.bijections.summarised import Summarised
from posterion.core.cores import chunks
from posterion.core.point_sets import PointSets
from posterion.distributions.summarising import see_through, summary_of
from posterion.networks.sets import DeepSet, SetAttention
from posterion.targets.target import pad_rows

__all__ = ["seen", "sets_of", "shown"]

_AT_ONCE = 1024


def sets_of(flow: Any) -> PointSets | None:
    """The form of a flow's context, where that is a set of points."""
    network = getattr(summary_of(flow), "network", None)
    if not isinstance(network, DeepSet | SetAttention):
        return None
    return PointSets(network.points, network.features)


def seen(flow: Any, rows: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """A flow without its network, and what that makes of conditions, each of them once.

    Args:
        flow: in the frame's coordinates.
        rows: conditions, ``(n, width)``, float32; neighbours may be the same.
    """
    layer = summary_of(flow)
    if layer is None or rows is None:
        return flow, rows
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    new = np.append(True, (bits[1:] != bits[:-1]).any(axis=1))[: len(rows)]
    distinct, parts = rows[new], []
    for _, start, stop in chunks(len(distinct), _AT_ONCE):
        piece = jnp.asarray(pad_rows(distinct[start:stop], _AT_ONCE))
        parts.append(np.asarray(_summaries(layer, piece))[: stop - start])
    whole = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    return see_through(flow)[0], whole[np.cumsum(new) - 1]


@eqx.filter_jit
def _summaries(layer: Summarised, rows: Array) -> Array:
    summary = layer.summary(rows.T)
    return rows if summary is None else summary.T


def shown(fit: Any, rows: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Conditions as checks look at them, and names: of sets what does not depend on the order.

    Args:
        fit: a conditional fit, or an ensemble of such.
        rows: conditions, ``(n, width)``.
    """
    sets: PointSets | None = getattr(fit, "sets", None)
    if sets is None:
        return np.asarray(rows, np.float64), tuple(fit.context)
    return sets.statistics(rows), sets.statistic_names
