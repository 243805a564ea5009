"""The base distributions of a flow as ONNX nodes."""

from typing import Any

import numpy as np

from posterion.core.errors import ExportError
from posterion.distributions.base import Distribution
from posterion.distributions.bases import Normal, Product, Uniform
from posterion.distributions.mixture import NormalMixture
from posterion.training.exporting_graph import Graph, Value
from posterion.training.exporting_maps import refuse

__all__ = ["base_log_prob", "describe_base", "draw_base", "from_base"]

_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


def base_log_prob(graph: Graph, base: Distribution, z: Value) -> Value:
    """Log-density of the base at ``z``, ``(batch,)``.

    Raises:
        ExportError: it is of a kind that has no form here.
    """
    dim = base.event_shape[0]
    if type(base) is Normal:
        return -0.5 * graph.sum(z * z) - _HALF_LOG_2PI * dim
    if type(base) is Uniform:
        inside = graph.cast(z >= base.lower, np.float32) * graph.cast(z < base.upper, np.float32)
        level = -dim * float(np.log(base.upper - base.lower))
        return graph.where(graph.sum(inside) > dim - 0.5, graph.constant(level), -np.inf)
    if type(base) is Product:
        parts = [
            base_log_prob(graph, part, graph.take(z, np.array(index), dim))
            for part, index in zip(base.parts, base.indices, strict=True)
        ]
        return parts[0] if len(parts) == 1 else parts[0] + sum(parts[2:], parts[1])
    if type(base) is NormalMixture:
        each = []
        for log_weight, location, lower in _components(base):
            inverse = np.linalg.inv(np.tril(lower))
            whitened = graph.affine(inverse, z, graph.constant(-inverse @ location))
            level = log_weight - np.log(np.diagonal(lower)).sum() - _HALF_LOG_2PI * dim
            each.append(-0.5 * graph.sum(whitened * whitened, keep=True) + level)
        stacked = graph.concat(each)
        highest = graph.max(stacked)
        total = graph.sum((stacked - highest)("Exp"))("Log")
        return total + graph.sum(highest)
    raise refuse("the base distribution", base)


def from_base(graph: Graph, base: Distribution, z: Value, pick: Value | None) -> Value:
    """A draw of the base from the inputs ``z`` that `describe_base` tells of.

    Args:
        graph: to add nodes to.
        base: the distribution.
        z: ``(dim, batch)``.
        pick: ``(1, batch)``, uniform on [0, 1), where the base is a mixture.
    """
    if isinstance(base, Product):
        dim = base.event_shape[0]
        pairs = zip(base.parts, base.indices, strict=True)
        parts = [from_base(graph, p, graph.take(z, np.array(i), dim), pick) for p, i in pairs]
        back = np.argsort(np.concatenate([np.array(index) for index in base.indices]))
        return graph.take(graph.concat(parts), back, dim)
    if not isinstance(base, NormalMixture) or pick is None:
        return z
    components = _components(base)
    edges = _edges(components)
    drawn = [graph.affine(low, z, graph.constant(at)) for _, at, low in components]
    out = drawn[-1]
    for i in reversed(range(len(drawn) - 1)):
        out = graph.where(pick < edges[i], drawn[i], out)
    return out


def describe_base(base: Distribution) -> tuple[list[dict[str, Any]], bool]:
    """What each coordinate of the input ``z`` is, and whether a further input picks a component.

    Raises:
        ExportError: it is of a kind that has no form here.
    """
    dim = base.event_shape[0]
    if type(base) in (Normal, NormalMixture):
        return [{"distribution": "standard normal"}] * dim, type(base) is NormalMixture
    if type(base) is Uniform:
        flat = {"distribution": "uniform", "lower": base.lower, "upper": base.upper}
        return [flat] * dim, False
    if type(base) is not Product:
        raise refuse("the base distribution", base)
    each, picks = {}, 0
    for part, index in zip(base.parts, base.indices, strict=True):
        own, pick = describe_base(part)
        picks += pick
        each |= dict(zip(index, own, strict=True))
    if picks > 1:
        raise ExportError("a base of two mixtures cannot be written as ONNX: it may have one")
    return [each[i] for i in range(dim)], bool(picks)


def draw_base(base: Distribution, z: np.ndarray, pick: np.ndarray | None) -> np.ndarray:
    """What `from_base` makes of its inputs ``(n, dim)`` and ``(n,)``, in NumPy."""
    if isinstance(base, Product):
        out = np.empty_like(z)
        for part, index in zip(base.parts, base.indices, strict=True):
            out[:, list(index)] = draw_base(part, z[:, list(index)], pick)
        return out
    if not isinstance(base, NormalMixture) or pick is None:
        return z
    components = _components(base)
    number = np.searchsorted(_edges(components)[:-1], pick, side="right")
    each = np.stack([at[:, 0] + z @ low.T for _, at, low in components])
    return each[number, np.arange(len(z))]


def _edges(components: list[tuple[float, np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.cumsum([np.exp(log_weight) for log_weight, _, _ in components])


def _components(base: NormalMixture) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Log-weight, location ``(dim, 1)`` and triangular scale of each, float64."""
    raw = np.asarray(base.log_weights, np.float64)
    log_weights = raw - raw.max() - np.log(np.exp(raw - raw.max()).sum())
    locations = np.asarray(base.locations, np.float64)[:, :, None]
    return list(zip(log_weights, locations, np.asarray(base.lowers, np.float64), strict=True))
