"""The frame as ONNX nodes, in float64: whitening, and the support's map and its inverse.

The normal distribution and its quantiles, which ONNX lacks in float64, are rational functions: West
(Wilmott Magazine, May 2005, after Hart 1968) and Wichura (AS241, Appl. Stat. 37, 1988, 477).
"""

from collections.abc import Sequence

import jax
import numpy as np

from posterion.bijections.elementwise import PI, TURN
from posterion.bijections.support import CLIPPED_WIDTHS, KINDS
from posterion.targets.frame import Frame
from posterion.training.exporting_graph import Graph, Value
from posterion.training.exporting_maps import wrap

__all__ = ["ends_of", "to_v", "to_x"]

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))
_LOG_2 = float(np.log(2))

_WEST = (
    (3.52624965998911e-2, 0.700383064443688, 6.37396220353165, 33.912866078383),
    (112.079291497871, 221.213596169931, 220.206867912376),
)
_WEST_BELOW = (
    (8.83883476483184e-2, 1.75566716318264, 16.064177579207, 86.7807322029461),
    (296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752),
)
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4),
    (4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3),
    (1.3314166789178437745e2, 3.3871328727963666080),
)
_CENTRE_BELOW = (
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4),
    (2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2),
    (4.2313330701600911252e1, 1.0),
)
_NEAR = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1),
    (1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550),
    (4.63033784615654529590, 1.42343711074968357734),
)
_NEAR_BELOW = (
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2),
    (1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940),
    (2.05319162663775882187, 1.0),
)
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3),
    (2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580),
    (5.46378491116411436990, 6.65790464350110377720),
)
_FAR_BELOW = (
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5),
    (7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1),
    (5.99832206555887937690e-1, 1.0),
)


def _ratio(above: Sequence[tuple], below: Sequence[tuple], x: Value) -> Value:
    """A quotient of two polynomials, their coefficients from the highest power down."""
    parts = []
    for rows in (above, below):
        first, second, *rest = (coefficient for row in rows for coefficient in row)
        value = first * x + second
        for coefficient in rest:
            value = value * x + coefficient
        parts.append(value)
    return parts[0] / parts[1]


def _mills(graph: Graph, size: Value) -> Value:
    """``Phi(-size) exp(size^2 / 2)`` for ``size >= 0``."""
    near = _ratio(_WEST, _WEST_BELOW, size("Min", graph.constant(8.0, np.float64)))
    far = size + 0.65
    for power in (4.0, 3.0, 2.0, 1.0):
        far = size + power / far
    return graph.where(size < 7.07106781186547, near, float(1 / np.sqrt(2 * np.pi)) / far)


def _quantile(graph: Graph, t: Value, p: Value) -> Value:
    """``u <= 0`` with ``Phi(u) = p = exp(-t)``, for ``p <= 1/2``."""
    q = p - 0.5
    central = q * _ratio(_CENTRE, _CENTRE_BELOW, 0.180625 - q * q)
    r = t("Sqrt")
    near = -_ratio(_NEAR, _NEAR_BELOW, r - 1.6)
    far = -_ratio(_FAR, _FAR_BELOW, r - 5.0)
    # Beyond the range of the fit: t = u^2/2 + log u + log sqrt(2 pi) + 1/u^2 - ...
    twice = 2.0 * t("Max", graph.constant(100.0, np.float64)) - 2 * _LOG_ROOT_2PI
    u = twice("Sqrt")
    for _ in range(3):
        u = (twice - 2.0 * u("Log") - 2.0 / (u * u))("Sqrt")
    tail = graph.where(r > 5.0, graph.where(r > 26.0, -u, far), near)
    return graph.where(p > 0.075, central, tail)


def _minus_log1m(graph: Graph, p: Value) -> Value:
    """``-log(1 - p)`` accurate at small ``p`` (Kahan)."""
    rest = 1.0 - p
    lost = 1.0 - rest
    safe = graph.where(lost > 0.0, lost, 1.0)
    return graph.where(lost > 0.0, -rest("Log") * (p / safe), p)


def _one_minus_exp(graph: Graph, t: Value) -> Value:
    """``1 - exp(-t)`` accurate at small ``t`` (Kahan)."""
    power = (-t)("Exp")
    log = -power("Log")
    safe = graph.where(log > 0.0, log, 1.0)
    return graph.where(log > 0.0, (1.0 - power) * (t / safe), t)


def _log_normal(u: Value) -> Value:
    return -0.5 * (u * u) - _LOG_ROOT_2PI


def _forward(graph: Graph, kind: str, u: Value, a: np.ndarray, b: np.ndarray) -> Value:
    if kind == "real":
        return u * b + a
    if kind == "log":
        return (u * b + a)("Exp")
    if kind == "sinh":
        return 0.5 * ((u * b)("Exp") - (u * -b)("Exp")) + a
    if kind in ("exp_above", "exp_below"):
        power = (u * b)("Exp")
        return power + a if kind == "exp_above" else a - power
    if kind == "circle":
        x = (wrap(graph, u) + PI) * ((b - a) / TURN) + a
        return graph.where(x >= b, x - (b - a), x)
    if kind == "clipped":
        width = (b - a) / CLIPPED_WIDTHS
        low = u < (a + b) / 2
        depth = graph.where(low, u - a, b - u) / width
        bend = (1.0 + (-depth("Abs"))("Exp"))("Log")
        inside = (depth("Max", graph.constant(0.0, np.float64)) + bend) * width
        return graph.where(low, inside + a, b - inside)
    size = u("Abs")
    tail = (-0.5 * (size * size))("Exp") * _mills(graph, size)  # Phi(-|u|)
    if kind == "interval":
        step = tail * (b - a)
        return graph.where(u < 0.0, step + a, b - step)
    high = 0.5 * (size * size) - _mills(graph, size)("Log")
    t = graph.where(u < 0.0, _minus_log1m(graph, tail), high)
    return t * b + a if kind == "above" else a - t * b


def _inverse(
    graph: Graph, kind: str, x: Value, a: np.ndarray, b: np.ndarray
) -> tuple[Value, Value | np.ndarray]:
    """``u`` and ``log du/dx``."""
    tiny = graph.constant(np.finfo(np.float64).tiny, np.float64)
    if kind == "real":
        return (x - a) / b, -np.log(np.abs(b))
    if kind == "log":
        log = x("Max", tiny)("Log")
        return (log - a) / b, -log - np.log(b)
    if kind == "sinh":
        y = x - a
        size = y("Abs")
        root = (y * y + 1.0)("Sqrt")
        u = y("Sign") * (size + root)("Log") / b
        return u, -root("Log") - np.log(b)
    if kind in ("exp_above", "exp_below"):
        distance = (x - a if kind == "exp_above" else a - x)("Max", tiny)
        return distance("Log") / b, -distance("Log") - np.log(b)
    if kind == "circle":
        u = wrap(graph, (x - a) * (TURN / (b - a)) - PI)
        return u, -np.log((b - a) / TURN)
    if kind == "interval":
        left, right = (x - a) / (b - a), (b - x) / (b - a)
        near = left("Min", right)("Max", tiny)
        u = _quantile(graph, -near("Log"), near)
        u = graph.where(right < left, -u, u)
        return u, -_log_normal(u) - np.log(b - a)
    if kind == "clipped":
        width = (b - a) / CLIPPED_WIDTHS
        low = x < (a + b) / 2
        depth = (graph.where(low, x - a, b - x) / width)("Max", tiny)
        log = _one_minus_exp(graph, depth)("Log")
        return graph.where(low, x + log * width, x - log * width), -log
    t = ((x - a if kind == "above" else a - x) / b)("Max", tiny)
    small = _one_minus_exp(graph, t("Min", graph.constant(1.0, np.float64)))
    low = _quantile(graph, -small("Log"), small)
    u = graph.where(t < _LOG_2, low, -_quantile(graph, t, (-t)("Exp")))
    return u, -_log_normal(u) - t - np.log(b)


def _groups(frame: Frame) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Kind, coordinates, ``a`` and ``b`` ``(n, 1)`` of each kind of support."""
    support = frame.support
    kinds = np.array(support.kinds)
    a, b = (np.asarray(end, np.float64)[:, None] for end in (support.a, support.b))
    groups = [(kind, np.flatnonzero(kinds == kind)) for kind in KINDS if kind in support.kinds]
    return [(kind, index, a[index], b[index]) for kind, index in groups]


def _together(graph: Graph, frame: Frame, parts: list[Value]) -> Value:
    back = np.argsort(np.concatenate([index for _, index, _, _ in _groups(frame)]))
    return graph.take(graph.concat(parts), back, frame.dim)


def _turned(graph: Graph, frame: Frame, x: Value, starts: list[float]) -> Value:
    """Coordinates on circles that were cut elsewhere, brought to one turn from ``starts``."""
    turn = np.array([0.0 if o is None else o[1] for o in frame.origins])[:, None]
    if not turn.any():
        return x
    safe = np.where(turn > 0, turn, 1.0)
    turns = ((x - np.array(starts)[:, None]) / safe)("Floor")
    return x - turns * turn


def to_x(graph: Graph, frame: Frame, v: Value) -> Value:
    """Physical coordinates ``(dim, batch)``, float64, of ``v``, float32."""
    location = np.asarray(frame.whitening.location)[:, None]
    lower = np.asarray(frame.whitening.lower)
    u = _linear(graph, lower, graph.cast(v, np.float64)) + location
    parts = [
        _forward(graph, kind, graph.take(u, index, frame.dim), a, b)
        for kind, index, a, b in _groups(frame)
    ]
    starts = [0.0 if o is None else o[0] for o in frame.origins]
    return _turned(graph, frame, _together(graph, frame, parts), starts)


def to_v(graph: Graph, frame: Frame, x: Value) -> tuple[Value, Value]:
    """``v``, float32, and ``log|det dv/dx|``, float64, of physical coordinates ``(dim, batch)``.

    Beyond the bounds the latter is -inf.
    """
    outside = _outside(graph, frame, x)
    x = _turned(graph, frame, x, [float(a) for a in np.asarray(frame.support.a)])
    parts, level, log_dets = [], 0.0, []
    for kind, index, a, b in _groups(frame):
        u, log_slope = _inverse(graph, kind, graph.take(x, index, frame.dim), a, b)
        parts.append(u)
        if isinstance(log_slope, Value):
            log_dets.append(log_slope)
        else:
            level += float(np.sum(log_slope))
    lower = np.asarray(frame.whitening.lower)
    level -= float(np.log(np.diagonal(lower)).sum())
    centred = _together(graph, frame, parts) - np.asarray(frame.whitening.location)[:, None]
    v = _linear(graph, np.linalg.inv(lower), centred)
    if frame.circular.any():
        circular = graph.constant(frame.circular[:, None], bool)
        v = graph.where(circular, v - TURN * (v * (1 / TURN))("Round"), v)
    log_det = graph.sum(graph.concat(log_dets)) + level if log_dets else level
    out = graph.where(outside > 0.5, graph.constant(-np.inf, np.float64), log_det)
    return graph.cast(v, np.float32), out


def _linear(graph: Graph, matrix: np.ndarray, values: Value) -> Value:
    diagonal = np.diagonal(matrix)
    if np.array_equal(matrix, np.diag(diagonal)):
        return values if (diagonal == 1).all() else values * diagonal[:, None]
    return graph.call("MatMul", graph.constant(matrix, np.float64), values)


def ends_of(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds, float64; a circle that was cut elsewhere has none."""
    with jax.enable_x64(True):
        lower, upper = (np.asarray(end, np.float64) for end in frame.support.ends())
    cut = np.array([origin is not None for origin in frame.origins])
    return np.where(cut, -np.inf, lower), np.where(cut, np.inf, upper)


def _outside(graph: Graph, frame: Frame, x: Value) -> Value:
    """How many coordinates of each point lie beyond a bound by more than rounding, ``(batch,)``."""
    lower, upper = ends_of(frame)
    slack = 2 * np.finfo(np.float64).eps
    low = lower - slack * np.abs(np.where(np.isfinite(lower), lower, 0.0))
    high = upper + slack * np.abs(np.where(np.isfinite(upper), upper, 0.0))
    beyond = (x < low[:, None], x > high[:, None])
    return graph.sum(graph.cast(beyond[0], np.float32) + graph.cast(beyond[1], np.float32))
