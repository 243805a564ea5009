"""The element-wise maps of couplings and autoregressive layers as ONNX nodes.

Of ``n`` coordinates the values are ``(n, batch)``, and the parameters ``(width * n, batch)``: all
first parameters, then all second ones. The formulas are those of :mod:`posterion.bijections`.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from posterion.bijections.elementwise import PI, TURN, AffineTransformer, Swapped, Transformer
from posterion.bijections.piecewise import (
    CircularPiecewiseLinear,
    CircularPiecewiseQuadratic,
    PiecewiseLinear,
    PiecewiseQuadratic,
)
from posterion.bijections.splines import CircularSpline, RationalQuadraticSpline
from posterion.core.errors import ExportError
from posterion.training.exporting_graph import Graph, Value

__all__ = ["Method", "activate", "fields", "move", "refuse", "wrap"]

Method = Literal["forward", "inverse"]

Moved = tuple[Value, Value]

_HUGE = 2.0**60  # turns any difference into one that is cut at 0 or 1


def refuse(what: str, part: object) -> ExportError:
    """The error for a part that has no form in ONNX here."""
    return ExportError(
        f"{what} of kind {type(part).__name__} cannot be written as ONNX: what can are coupling "
        "and autoregressive layers that move by affine maps, rational-quadratic splines or "
        "piecewise maps. "
        "`posterion.distill` into such a flow, or keep the .posterion file"
    )


def activate(name: str, x: Value) -> Value:
    """The activation of that name, see `posterion.networks.perceptron.ACTIVATIONS`."""
    match name:
        case "tanh" | "relu" | "softplus" | "elu":
            return x(name.capitalize())
        case "leaky_relu":
            return x("LeakyRelu", alpha=0.01)
        case "silu":
            return x * x("Sigmoid")
        case "gelu":
            inner = float(np.sqrt(2 / np.pi)) * (x + 0.044715 * (x * x * x))
            return x * (0.5 * (1.0 + inner("Tanh")))
    raise ExportError(f"the activation {name!r} cannot be written as ONNX")


def fields(part: Transformer) -> list[int]:
    """How many parameters of a coordinate belong together: `move` takes them one by one.

    Raises:
        ExportError: the map is of a kind that has no form here.
    """
    if type(part) is Swapped:
        return fields(part.transformer)
    if type(part) is AffineTransformer:
        return [1, 1]
    if type(part) is RationalQuadraticSpline:
        return [part.bins, part.bins, part.bins + 1]
    if type(part) is CircularSpline:
        return [part.bins, part.bins, part.bins, 1]
    if type(part) is PiecewiseLinear:
        return [part.bins]
    if type(part) is PiecewiseQuadratic:
        return [part.bins, part.bins + 1]
    if type(part) is CircularPiecewiseLinear:
        return [part.bins, 1]
    if type(part) is CircularPiecewiseQuadratic:
        return [part.bins, part.bins, 1]
    raise refuse("the map of coordinates", part)


def move(
    graph: Graph, part: Any, method: Method, values: Value, parameters: list[Value], n: int
) -> Moved:
    """Moved values and the logarithms of the slopes, ``(n, batch)`` each.

    Args:
        graph: to add nodes to.
        part: the map, one that has `fields`.
        method: its direction.
        values: ``(n, batch)``.
        parameters: of each field ``(size * n, batch)``.
        n: number of coordinates.
    """
    if isinstance(part, Swapped):
        turned: Method = "inverse" if method == "forward" else "forward"
        return move(graph, part.transformer, turned, values, parameters, n)
    if isinstance(part, AffineTransformer):
        return _affine(part, method, values, *parameters)
    spline = _function_of(part)
    if n == 1:
        return spline(graph, part, method, values, parameters)
    sizes = zip(parameters, fields(part), strict=True)
    flat = [graph.reshape(parameter, size, -1) for parameter, size in sizes]
    moved, log_slope = spline(graph, part, method, graph.reshape(values, 1, -1), flat)
    return graph.reshape(moved, n, -1), graph.reshape(log_slope, n, -1)


def _function_of(part: Transformer) -> Callable[..., Moved]:
    if isinstance(part, RationalQuadraticSpline):
        return _on_line
    if isinstance(part, CircularSpline):
        return _on_circle
    on_line = isinstance(part, PiecewiseLinear | PiecewiseQuadratic)
    return _pieces_on_line if on_line else _pieces_on_circle


def wrap(graph: Graph, angle: Value) -> Value:
    """``angle`` brought to ``[-pi, pi)``."""
    turned = angle - TURN * ((angle + PI) / TURN)("Floor")
    upper = np.nextafter(np.asarray(PI, angle.dtype), np.asarray(0, angle.dtype))
    ends = (graph.constant(-PI, angle.dtype), graph.constant(upper, angle.dtype))
    return turned("Clip", *ends)


def _affine(part: AffineTransformer, method: Method, x: Value, s: Value, t: Value) -> Moved:
    if part.limit is not None:
        s = part.limit * (s / part.limit)("Tanh")
    if method == "forward":
        scale = s("Exp")
        return ((x + t) * scale if part.shift_first else x * scale + t), s
    down = -s
    scale = down("Exp")
    return (x * scale - t if part.shift_first else (x - t) * scale), down


# Rational-quadratic splines, of one row of values -----------------------------------------------


def _log_slope(raw: Value, smallest: float) -> Value:
    limit = -float(np.log(smallest))
    return limit * (raw / limit)("Tanh")


def _on_line(
    graph: Graph, part: RationalQuadraticSpline, method: Method, x: Value, raw: list[Value]
) -> Moved:
    lower, upper = part.interval
    k = part.bins
    first, last = (graph.take(raw[2], np.array([i]), k + 1) for i in (0, k))
    inside = x("Clip", lower, upper)
    t = (inside - lower) / (upper - lower)
    y, log_slope = _spline(graph, method, t, raw, k, part.min_bin, part.min_slope)
    outer = _log_slope(graph.where(x < lower, first, last), part.min_slope)
    tail = (x - inside) * (outer if method == "forward" else -outer)("Exp")
    return lower + (upper - lower) * y + tail, log_slope


def _on_circle(
    graph: Graph, part: CircularSpline, method: Method, angle: Value, parameters: list[Value]
) -> Moved:
    k = part.bins
    widths, heights, slopes, rotation = parameters
    closed = graph.concat([slopes, graph.take(slopes, np.array([0]), k)])
    if method == "inverse":
        angle = angle - rotation
    t = (wrap(graph, angle) + PI) / TURN
    raw = [widths, heights, closed]
    y, log_slope = _spline(graph, method, t, raw, k, part.min_bin, part.min_slope)
    moved = TURN * y - PI
    return wrap(graph, moved + rotation if method == "forward" else moved), log_slope


def _spline(
    graph: Graph,
    method: Method,
    t: Value,
    raw: list[Value],
    k: int,
    min_bin: float,
    min_slope: float,
) -> Moved:
    """``(y, log dy/dt)`` at ``t`` in [0, 1], or the inverse; ``raw`` are the parameters of widths,
    of heights, and of slopes at the ``k + 1`` knots.

    Sums and comparisons are products with small matrices: ONNX Runtime's own are several times as
    slow along this axis.
    """
    forward = method == "forward"
    free = 1 - k * min_bin
    weights = [r("Clip", -40.0, 40.0)("Exp") for r in raw[:2]]  # no overflow, as with the maximum
    totals = [graph.total(w, k) for w in weights]
    first, last = (graph.take(raw[2], np.arange(k) + i, k + 1) for i in (0, 1))
    # Of t and of the knots, both over the share of the weights: which of them t has passed.
    by = 0 if forward else 1
    unit = totals[by] / free
    seen = graph.concat([weights[by], t * unit, min_bin * unit])
    passes = np.column_stack([-np.tri(k), np.ones(k), -np.arange(1, k + 1)])
    passes[-1] = 0
    beyond = graph.call("MatMul", _HUGE * passes, seen)("Clip", 0.0, 1.0)
    here = graph.affine(np.eye(k, k=-1) - np.eye(k), beyond, graph.constant(np.eye(k)[:, :1]))
    start = min_bin * graph.total(beyond, k)
    (left, width), (bottom, height) = [
        (
            start + graph.total(beyond * w, k) * (free / total),
            min_bin + graph.total(here * w, k) * (free / total),
        )
        for w, total in zip(weights, totals, strict=True)
    ]
    slopes = graph.concat([graph.total(here * first, k), graph.total(here * last, k)])
    d0, d1 = graph.split(_log_slope(slopes, min_slope)("Exp"), [1, 1])
    s = height / width
    if forward:
        u = _fraction(graph, t, left, width)
        v = 1.0 - u
    else:
        q = _fraction(graph, t, bottom, height)
        p = 1.0 - q
        b = p * d0 - q * d1
        root = (b * b + 4.0 * (p * q * (s * s)))("Sqrt")
        rising = b >= 0.0
        u = graph.where(rising, 2.0 * (q * s), root - b)
        v = graph.where(rising, root + b, 2.0 * (p * s))
        u = u / (u + v)
        v = 1.0 - u
    uu, uv, vv = u * u, u * v, v * v
    denominator = s * (uu + vv) + (d0 + d1) * uv
    slope = d1 * uu + 2.0 * (s * uv) + d0 * vv
    log_slope = 2.0 * (s / denominator)("Log") + slope("Log")
    if forward:
        return bottom + height * (s * uu + d0 * uv) / denominator, log_slope
    return left + u * width, -log_slope


def _fraction(graph: Graph, t: Value, start: Value, size: Value) -> Value:
    fraction = ((t - start) / size)("Clip", 0.0, 1.0)
    return graph.where(t < 1.0, fraction, 1.0)


# Piecewise maps, of one row of values ------------------------------------------------------------

Pieces = tuple[Value, Value, Value | None, Value | None]  # widths, heights; at knots, beyond ends


def _pieces_on_line(
    graph: Graph,
    part: PiecewiseLinear | PiecewiseQuadratic,
    method: Method,
    x: Value,
    raw: list[Value],
) -> Moved:
    lower, upper = part.interval
    pieces = _pieces(graph, part, raw)
    inside = x("Clip", lower, upper)
    t = (inside - lower) / (upper - lower)
    y, log_slope = _piecewise(graph, part.bins, method, t, pieces)
    tail, outer = x - inside, pieces[3]
    if outer is None:
        flat = graph.where(x > upper, 0.0, log_slope)
        log_slope = graph.where(x < lower, 0.0, flat)
    else:
        ends = [graph.take(outer, np.array([i]), 2) for i in (0, 1)]
        slope = graph.where(x < lower, *ends)
        tail = tail * slope if method == "forward" else tail / slope
    return lower + (upper - lower) * y + tail, log_slope


def _pieces_on_circle(
    graph: Graph,
    part: CircularPiecewiseLinear | CircularPiecewiseQuadratic,
    method: Method,
    angle: Value,
    parameters: list[Value],
) -> Moved:
    *raw, rotation = parameters
    if isinstance(part, CircularPiecewiseQuadratic):
        raw[1] = graph.concat([raw[1], graph.take(raw[1], np.array([0]), part.bins)])
    if method == "inverse":
        angle = angle - rotation
    t = (wrap(graph, angle) + PI) / TURN
    y, log_slope = _piecewise(graph, part.bins, method, t, _pieces(graph, part, raw))
    moved = TURN * y - PI
    return wrap(graph, moved + rotation if method == "forward" else moved), log_slope


def _pieces(graph: Graph, part: Any, raw: list[Value]) -> Pieces:
    k = part.bins
    weights = (raw[0] - graph.max(raw[0]))("Exp")
    shares = part.min_bin + weights * ((1 - k * part.min_bin) / graph.total(weights, k))
    if len(raw) == 1:
        return 0.0 * shares + 1 / k, shares, None, None
    lowered = raw[1] - graph.max(raw[1])
    slopes = lowered("Exp")
    area = graph.total(shares * _mean_of_neighbours(graph, slopes, k), k)
    rest = 1 - part.min_slope
    # Not divided by the area, which may be tiny.
    ends = graph.take(lowered, np.array([0, k]), k + 1) - area("Log")
    slopes = part.min_slope + slopes * (rest / area)
    heights = shares * _mean_of_neighbours(graph, slopes, k)
    return shares, heights, slopes, part.min_slope + rest * ends("Exp")


def _mean_of_neighbours(graph: Graph, values: Value, k: int) -> Value:
    return graph.call("MatMul", (np.eye(k, k + 1) + np.eye(k, k + 1, k=1)) / 2, values)


def _piecewise(graph: Graph, k: int, method: Method, t: Value, pieces: Pieces) -> Moved:
    """``(y, log dy/dt)`` at ``t`` in [0, 1], or the inverse."""
    forward = method == "forward"
    widths, heights, slopes, _ = pieces
    seen = graph.concat([widths if forward else heights, t])
    passes = np.column_stack([-np.tri(k), np.ones(k)])
    passes[-1] = 0
    beyond = graph.call("MatMul", _HUGE * passes, seen)("Clip", 0.0, 1.0)
    here = graph.affine(np.eye(k, k=-1) - np.eye(k), beyond, graph.constant(np.eye(k)[:, :1]))
    (left, width), (bottom, height) = [
        (graph.total(beyond * sizes, k), graph.total(here * sizes, k))
        for sizes in (widths, heights)
    ]
    if slopes is None:
        d0 = d1 = height / width
    else:
        first, last = (graph.take(slopes, np.arange(k) + i, k + 1) for i in (0, 1))
        d0, d1 = graph.total(here * first, k), graph.total(here * last, k)
    if forward:
        u = _fraction(graph, t, left, width)
        slope = d0 * (1.0 - u) + d1 * u
        return bottom + width * u * (d0 + slope) / 2.0, slope("Log")
    q = _fraction(graph, t, bottom, height)
    slope = ((1.0 - q) * (d0 * d0) + q * (d1 * d1))("Sqrt")
    u = q * (d0 + d1) / (d0 + slope)
    return left + width * u, -slope("Log")
