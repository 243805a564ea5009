"""The layers of a flow as ONNX nodes, its masks and orders worked into the weights."""

from typing import Any, NamedTuple

import jax
import numpy as np

from posterion.bijections.affine import Affine, Linear, Permutation
from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain, Invert, Stack
from posterion.bijections.coupling import Coupling
from posterion.bijections.elementwise import Transformer
from posterion.bijections.splines import MixedTransformer
from posterion.bijections.whitening import Whitening
from posterion.training.exporting_graph import Graph, Value
from posterion.training.exporting_maps import Method, activate, fields, move, refuse
from posterion.training.exporting_sequential import parts_of, sequential, with_context

__all__ = ["through"]

Mapped = tuple[Value, Value | None]
"""Events ``(dim, batch)``, and the log-determinant ``(batch,)`` or one number; None for 0."""


def through(
    graph: Graph, bijection: Bijection, method: Method, x: Value, context: Value | None
) -> Mapped:
    """``x`` mapped ``"forward"`` or ``"inverse"``, with its log-determinant.

    Raises:
        ExportError: a layer has no form here.
    """
    forward = method == "forward"
    if type(bijection) is Invert:
        return through(graph, bijection.bijection, _turned(method), x, context)
    if type(bijection) in (Chain, Stack):
        total: Value | None = None
        layers = _layers(bijection)
        for layer in layers if forward else reversed(layers):
            x, log_det = through(graph, layer, method, x, context)
            total = log_det if total is None or log_det is None else total + log_det
        return x, total
    if type(bijection) is Coupling:
        return _coupling(graph, bijection, method, x, context)
    if type(bijection) is Autoregressive:
        if forward:
            return sequential(graph, bijection, x, context)
        return _in_one_pass(graph, bijection, x, context)
    if type(bijection) is Permutation:
        order = np.asarray(bijection.order)
        return graph.take(x, order if forward else np.argsort(order), len(order)), None
    if type(bijection) in (Affine, Linear, Whitening):
        scale, shift = _matrix(bijection)
        log_det = np.linalg.slogdet(scale)[1]
        if not forward:
            scale = np.linalg.inv(scale)
            shift = -scale @ shift
        moved = graph.affine(scale, x, graph.constant(shift[:, None]))
        return moved, graph.constant(log_det if forward else -log_det)
    raise refuse("a layer", bijection)


def _turned(method: Method) -> Method:
    return "inverse" if method == "forward" else "forward"


def _layers(bijection: Any) -> list[Bijection]:
    if isinstance(bijection, Chain):
        return list(bijection.bijections)
    leaves, tree = jax.tree.flatten(bijection.layers)
    return [jax.tree.unflatten(tree, [leaf[i] for leaf in leaves]) for i in range(len(leaves[0]))]


def _matrix(bijection: Any) -> tuple[np.ndarray, np.ndarray]:
    """``A`` and ``b`` of ``x = A z + b``, float64."""
    if isinstance(bijection, Affine):
        scale = np.diag(np.exp(np.asarray(bijection.log_scale, np.float64)))
        return scale, np.asarray(bijection.shift, np.float64)
    if isinstance(bijection, Whitening):
        return np.tril(np.asarray(bijection.lower, np.float64)), np.asarray(bijection.location)
    lower, upper = (np.asarray(part, np.float64) for part in bijection.triangles())
    return lower @ upper, np.asarray(bijection.shift, np.float64)


# Couplings and autoregressive layers in one pass ------------------------------------------------


class _Group(NamedTuple):
    """Coordinates that one map moves, and the rows of the network's output that say how."""

    part: Transformer
    coordinates: np.ndarray
    rows: np.ndarray


def _coupling(
    graph: Graph, layer: Coupling, method: Method, x: Value, context: Value | None
) -> Mapped:
    net, dim = layer.conditioner, layer.event_shape[0]
    if len(net.weights) == 1:
        raise refuse("a network without hidden layers", net)
    moves = np.asarray(layer.mask) < 0.5
    if not moves.any():
        return x, None
    kept, moving = np.flatnonzero(~moves), np.flatnonzero(moves)
    angle = np.zeros(dim, bool) if layer.periodic is None else np.array(layer.periodic)
    lines, circles = np.flatnonzero(~angle), np.flatnonzero(angle)
    weights = [np.asarray(w) for w in net.weights]
    biases = [np.asarray(b)[:, None] for b in net.biases]
    wide = len(lines) + 2 * len(circles)
    first, own = weights[0][:, :wide], weights[0][:, wide:]
    line, cos, sin = np.split(first, [len(lines), len(lines) + len(circles)], axis=1)
    free, turned = np.isin(lines, kept), np.isin(circles, kept)
    # What moves is seen as 0: of an angle the cosine is 1.
    biases[0] = biases[0] + cos[:, ~turned].sum(axis=1, keepdims=True)
    inputs = [graph.take(x, lines[free], dim)] if free.any() else []
    columns = [line[:, free]]
    if turned.any():
        angles = graph.take(x, circles[turned], dim)
        inputs += [angles("Cos"), angles("Sin")]
        columns += [cos[:, turned], sin[:, turned]]
    if not inputs:  # of one coordinate: nothing is seen, and every row of the batch the same
        inputs, columns = [0.0 * x], [np.zeros((len(first), dim))]
    bias = with_context(graph, own, context, biases[0])
    sums = graph.affine(np.concatenate(columns, axis=1), graph.concat(inputs), bias)
    hidden = _hidden(graph, net, sums, weights[1:-1], biases[1:-1])
    groups = _coupling_groups(layer.transformer, moving)
    return _move_groups(graph, groups, method, x, dim, hidden, weights[-1], biases[-1])


def _coupling_groups(transformer: Transformer, moving: np.ndarray) -> list[_Group]:
    if not isinstance(transformer, MixedTransformer):
        width = int(np.prod(transformer.parameter_shape(1)))
        rows = np.arange(len(moving)) * width + np.arange(width)[:, None]
        return [_Group(transformer, moving, rows.ravel())]
    flags, start, groups = np.array(transformer.periodic), 0, []
    for part, own in ((transformer.real, ~flags), (transformer.circular, flags)):
        width = int(np.prod(part.parameter_shape(1)))
        places = np.flatnonzero(own)
        slots = np.flatnonzero(np.isin(places, moving))
        rows = start + slots * width + np.arange(width)[:, None]
        if slots.size:
            groups.append(_Group(part, places[slots], rows.ravel()))
        start += len(places) * width
    return groups


def _in_one_pass(graph: Graph, layer: Autoregressive, x: Value, context: Value | None) -> Mapped:
    net, order = layer.conditioner, np.asarray(layer.order)
    dim, place = len(order), np.argsort(order)
    circle = np.array(layer.transformer.circles(dim))
    weights = [np.asarray(weight) for weight in net.masked()]
    lines, circles = np.flatnonzero(~circle), np.flatnonzero(circle)
    inputs, columns = [], []
    if lines.size:
        inputs, columns = [graph.take(x, lines, dim)], [weights[0][:, place[lines]]]
    if circles.size:
        angles = graph.take(x, circles, dim)
        inputs += [angles("Cos"), angles("Sin")]
        columns += [weights[0][:, place[circles]], weights[0][:, dim + place[circles]]]
    biases = [np.asarray(bias)[:, None] for bias in net.biases]
    bias = with_context(graph, net.from_context, context, biases[0])
    first = np.concatenate(columns, axis=1)
    sums = graph.affine(first, graph.concat(inputs), bias)
    hidden = _hidden(graph, net, sums, weights[1:-1], biases[1:-1])
    groups = []
    for part, own in parts_of(layer.transformer, circle):
        rows = place[own] * net.width + np.arange(int(np.prod(part.parameter_shape(1))))[:, None]
        groups.append(_Group(part, own, rows.ravel()))
    return _move_groups(graph, groups, "inverse", x, dim, hidden, weights[-1], biases[-1])


def _hidden(
    graph: Graph, net: Any, sums: Value, weights: list[np.ndarray], biases: list[np.ndarray]
) -> Value:
    """The last hidden layer, from the sums of the first."""
    hidden = activate(net.activation, sums)
    for weight, bias in zip(weights, biases, strict=True):
        sums = graph.affine(weight, hidden, graph.constant(bias))
        active = activate(net.activation, sums)
        hidden = hidden + active if net.residual else active
    return hidden


def _move_groups(
    graph: Graph,
    groups: list[_Group],
    method: Method,
    x: Value,
    dim: int,
    hidden: Value,
    weight: np.ndarray,
    bias: np.ndarray,
) -> Mapped:
    """Moves the coordinates of all groups, each by its rows of the network's last layer."""
    moved, log_slopes = [], []
    for part, own, rows in groups:
        ends = np.cumsum(fields(part)) * len(own)
        parameters = [
            graph.affine(weight[own_rows], hidden, graph.constant(bias[own_rows]))
            for own_rows in np.split(rows, ends[:-1])
        ]
        values = graph.take(x, own, dim)
        value, log_slope = move(graph, part, method, values, parameters, len(own))
        moved.append(value)
        log_slopes.append(log_slope)
    changed = np.concatenate([group.coordinates for group in groups])
    kept = np.setdiff1d(np.arange(dim), changed)
    parts = [*moved, *([graph.take(x, kept, dim)] if kept.size else [])]
    back = np.argsort(np.concatenate([changed, kept]))
    return graph.take(graph.concat(parts), back, dim), graph.sum(graph.concat(log_slopes))
