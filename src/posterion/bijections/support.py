"""Maps from the real line (and the circle) to the support of physical parameters.

Every map sends a simple reference measure on ``u`` to a simple one on ``x``, so that a density
that does not vanish at a bound still has Gaussian tails in ``u``: the standard normal becomes
uniform on an interval, exponential above (or below) a bound, normal on the line, log-normal on
a logarithmic scale; the uniform circle stays uniform.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array
from scipy import stats

from posterion.bijections.base import Bijection, across
from posterion.bijections.elementwise import PI, TURN, wrap
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register

Kind = Literal[
    "real",
    "interval",
    "above",
    "below",
    "log",
    "circle",
    "sinh",
    "exp_above",
    "exp_below",
    "clipped",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
CLIPPED_WIDTHS = 200
"""Of the bend of what is clipped, between its bounds."""
_RUNS = 16
_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))


def _log_normal(u: Array) -> Array:
    return -0.5 * u * u - _LOG_ROOT_2PI


def _exponential(u: Array) -> Array:
    """The exponential variable ``-log Phi(-u)`` of a normal one, accurate in both tails."""
    # Not minimum and maximum, whose slopes at 0 are 1/2.
    below, above = jnp.where(u < 0, u, 0), jnp.where(u < 0, 0, u)
    return jnp.where(u < 0, -jnp.log1p(-ndtr(below)), -log_ndtr(-above))


@jax.custom_jvp
def _normal_of_exponential(t: Array) -> Array:
    """Inverse of `_exponential`; what is not above 0 maps to the last finite value."""
    t = jnp.maximum(t, jnp.finfo(t.dtype).tiny)
    small = ndtri(-jnp.expm1(-jnp.minimum(t, 1)))
    u = jnp.sqrt(2 * jnp.maximum(t, 1) + 1) - 0.9
    for _ in range(5):  # Newton: to the last digit for t from 1 to 1e30
        value = _exponential(u)
        u = u - (value - t) * jnp.exp(-value - _log_normal(u))
    return jnp.where(t < 1, small, u)


@_normal_of_exponential.defjvp
def _(primals, tangents):
    u = _normal_of_exponential(*primals)
    slope = jnp.exp(-_exponential(u) - _log_normal(u))
    return u, jnp.where(primals[0] > 0, slope, 0) * tangents[0]


@jax.custom_jvp
def _normal_of_uniform(fraction: Array, complement: Array) -> Array:
    """``ndtri`` accurate at both ends; the ends themselves map to the last finite value."""
    near = jnp.maximum(jnp.minimum(fraction, complement), jnp.finfo(fraction.dtype).tiny)
    return jnp.where(fraction <= complement, ndtri(near), -ndtri(near))


@_normal_of_uniform.defjvp
def _(primals, tangents):
    u = _normal_of_uniform(*primals)
    slope = jnp.where(jnp.minimum(*primals) > 0, jnp.exp(-_log_normal(u)), 0)
    return u, jnp.where(primals[0] <= primals[1], tangents[0], -tangents[1]) * slope


@register("support_map")
class SupportMap(Bijection):
    """Coordinate-wise map from ``u`` to ``x``; ``kinds[i]`` says which, with ``a[i]``, ``b[i]``.

    ===========  =======================================  =========================
    kind         ``x``                                    ``u`` normal becomes
    ===========  =======================================  =========================
    real         ``a + b u``                              normal
    interval     ``a + (b - a) Phi(u)``                   uniform on ``(a, b)``
    above        ``a - b log Phi(-u)``                    exponential above ``a``
    below        ``a + b log Phi(-u)``                    exponential below ``a``
    log          ``exp(a + b u)``                         log-normal
    circle       ``a + (b - a)(u + pi)/(2 pi)``, wrapped  (uniform stays uniform)
    sinh         ``a + sinh(b u)``                        all magnitudes, either sign
    exp_above    ``a + exp(b u)``                         all magnitudes above ``a``
    exp_below    ``a - exp(b u)``                         all magnitudes below ``a``
    clipped      ``u``, bent close to the bounds          normal, far from the bounds
    ===========  =======================================  =========================

    What is clipped bends within a few widths ``w = (b - a) / 200`` of a bound:
    ``x = a + w log(1 + exp((u - a) / w))`` below the middle, mirrored above.

    Args:
        kinds: one per coordinate.
        a, b: ``(dim,)`` each.
    """

    a: Array
    b: Array
    kinds: tuple[str, ...] = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, kinds: Sequence[str], a: Array, b: Array):
        if unknown := set(kinds) - set(KINDS):
            raise ShapeError(f"unknown kinds of support {sorted(unknown)}; known: {KINDS}")
        if not len(kinds) == a.shape[-1] == b.shape[-1]:
            raise ShapeError(f"{len(kinds)} kinds, but a has {a.shape} and b {b.shape}")
        self.kinds = tuple(kinds)
        self.a = a
        self.b = b
        self.event_shape = (len(kinds),)
        self.context_shape = None

    @property
    def batch_last(self) -> bool:
        return True

    def ends(self) -> tuple[Array, Array]:
        """Lower and upper bound of each coordinate; an angle has none."""
        kinds = np.array(self.kinds)
        bounded = ("interval", "clipped", "above", "exp_above")
        lower = jnp.where(np.isin(kinds, bounded), self.a, -jnp.inf)
        upper = jnp.where(np.isin(kinds, bounded[:2]), self.b, jnp.inf)
        upper = jnp.where(np.isin(kinds, ("below", "exp_below")), self.a, upper)
        return jnp.where(kinds == "log", 0.0, lower), upper

    def _each(self, function: Callable, events: Array) -> tuple[Array, ...]:
        """``function(kind, values, a, b)`` of each group of coordinates of one kind."""
        kinds = np.array(self.kinds)
        changes = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
        if len(changes) < _RUNS:  # slices, whose gradients are cheaper than those of gathers
            groups = [
                slice(run[0], run[-1] + 1) for run in np.split(np.arange(len(kinds)), changes)
            ]
            back = slice(None)
        else:
            groups = [np.flatnonzero(kinds == kind) for kind in KINDS if kind in self.kinds]
            back = np.argsort(np.concatenate(groups))
        parts = []
        for index in groups:
            a = across(self.a[index].astype(events.dtype), events)
            b = across(self.b[index].astype(events.dtype), events)
            parts.append(function(kinds[index][0], events[index], a, b))
        return tuple(jnp.concatenate(arrays)[back] for arrays in zip(*parts, strict=True))

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        x, log_slope = self._each(_forward, z)
        return x, jnp.sum(log_slope, axis=0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        (z,) = self._each(_inverse, x)
        _, log_slope = self._each(_forward, z)
        return z, -jnp.sum(log_slope, axis=0)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        # Not through the inverse: near a bound the last digits of x no longer tell z.
        (x, log_slope), (slope, bend) = jax.jvp(
            lambda z: self._each(_forward, z), (z,), (jnp.ones_like(z),)
        )
        score = (score - bend) * jnp.sign(slope) * jnp.exp(-log_slope)
        return x, jnp.sum(log_slope, axis=0), lax.stop_gradient(score)


_LEVELS = np.array([0.001, 0.02, 0.16, 0.5, 0.84, 0.98, 0.999])
_NORMAL = stats.norm.ppf(_LEVELS)
_EDGE, _RARE, _CLEARLY = 0.01, 0.02, 0.8


def straightened(
    support: SupportMap, x: np.ndarray, weights: np.ndarray | None = None
) -> SupportMap:
    """The support with those intervals clipped on which draws are nearer to normal in ``x``.

    An interval's own map makes a density that ends at a bound smooth; where hardly anything lies
    there, it only bends what is normal.

    Args:
        support: of the draws.
        x: draws, ``(n, dim)``, inside.
        weights: of the draws, ``(n,)``.
    """
    kinds = list(support.kinds)
    for i in np.flatnonzero(np.array(kinds) == "interval"):
        a, b = float(support.a[i]), float(support.b[i])
        share = np.asarray((x[:, i] - a) / (b - a), float)
        rare = np.average(np.minimum(share, 1 - share) < _EDGE, weights=weights) < _RARE
        if rare and _bent(share, weights) < _CLEARLY * _bent(stats.norm.ppf(share), weights):
            kinds[i] = "clipped"
    return SupportMap(kinds, support.a, support.b)


def _bent(values: np.ndarray, weights: np.ndarray | None) -> float:
    """How far quantiles are from those of a normal of the same median and width."""
    q = np.quantile(values, _LEVELS, weights=weights, method="inverted_cdf")
    width = (q[4] - q[2]) / (_NORMAL[4] - _NORMAL[2])
    return float(np.abs((q - q[3]) / width - _NORMAL).max()) if width > 0 else 0.0


def support_of(
    bounds: Sequence[tuple[float | int | None, float | int | None] | None],
    periodic: Sequence[bool],
) -> SupportMap:
    """The map to declared bounds.

    Args:
        bounds: ``(lower, upper)`` of each, with ``None`` where there is no bound.
        periodic: which coordinates are angles; their bounds are one point, by default
            ``[-pi, pi)``.

    Raises:
        ShapeError: another number of bounds.
        SettingError: bounds out of order, or one alone of an angle.
    """
    dim = len(periodic)
    if not isinstance(bounds, Sequence | np.ndarray) or any(
        pair is not None and np.shape(np.asarray(pair, object)) != (2,) for pair in bounds
    ):
        raise SettingError(
            "bounds are a pair for each coordinate, such as [(0, None), (None, None)], got "
            f"{bounds!r}"
        )
    if len(bounds) != dim:
        raise ShapeError(f"there are {len(bounds)} bounds for {dim} coordinates")
    kinds, a, b = [], np.zeros(dim), np.ones(dim)
    for i, (pair, angle) in enumerate(zip(bounds, periodic, strict=True)):
        lower, upper = (None, None) if pair is None else pair
        if angle and lower is None and upper is None:
            lower, upper = -PI, PI
        if lower is not None and upper is not None:
            if not lower < upper:
                raise SettingError(f"coordinate {i}: lower {lower} is not below upper {upper}")
            a[i], b[i] = lower, upper
            kinds.append("circle" if angle else "interval")
        elif angle:
            raise SettingError(f"coordinate {i} is periodic: it needs both bounds, or none")
        elif lower is None and upper is None:
            kinds.append("real")
        else:
            a[i] = lower if lower is not None else upper
            kinds.append("above" if upper is None else "below")
    return SupportMap(kinds, jnp.asarray(a, float), jnp.asarray(b, float))


def _forward(kind: str, u: Array, a: Array, b: Array) -> tuple[Array, Array]:
    if kind == "real":
        x, log_slope = a + b * u, jnp.log(jnp.abs(b))
    elif kind == "interval":
        x = jnp.where(u < 0, a + (b - a) * ndtr(u), b - (b - a) * ndtr(-u))
        log_slope = jnp.log(b - a) + _log_normal(u)
    elif kind in ("above", "below"):
        t = _exponential(u)
        x = a + b * t if kind == "above" else a - b * t
        log_slope = jnp.log(b) + _log_normal(u) + t
    elif kind == "log":
        x, log_slope = jnp.exp(a + b * u), a + b * u + jnp.log(b)
    elif kind == "sinh":
        size = jnp.abs(b * u)
        x = a + jnp.sinh(b * u)
        log_slope = jnp.log(b) + size + jnp.log1p(jnp.exp(-2 * size)) - np.log(2)
    elif kind in ("exp_above", "exp_below"):
        x = a + jnp.exp(b * u) if kind == "exp_above" else a - jnp.exp(b * u)
        log_slope = jnp.log(b) + b * u
    elif kind == "clipped":
        width = (b - a) / CLIPPED_WIDTHS
        low = u < (a + b) / 2
        depth = jnp.where(low, u - a, b - u) / width
        inside = width * jax.nn.softplus(depth)
        x, log_slope = jnp.where(low, a + inside, b - inside), jax.nn.log_sigmoid(depth)
    else:
        x = a + (b - a) * (wrap(u) + PI) / TURN
        x = x - lax.stop_gradient(jnp.where(x >= b, b - a, 0))
        log_slope = jnp.log((b - a) / TURN)
    return x, jnp.broadcast_to(log_slope, u.shape)


def _inverse(kind: str, x: Array, a: Array, b: Array) -> tuple[Array]:
    if kind == "real":
        u = (x - a) / b
    elif kind == "interval":
        u = _normal_of_uniform((x - a) / (b - a), (b - x) / (b - a))
    elif kind == "above":
        u = _normal_of_exponential((x - a) / b)
    elif kind == "below":
        u = _normal_of_exponential((a - x) / b)
    elif kind == "log":
        u = (jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny)) - a) / b
    elif kind == "sinh":
        u = jnp.arcsinh(x - a) / b
    elif kind in ("exp_above", "exp_below"):
        distance = x - a if kind == "exp_above" else a - x
        u = jnp.log(jnp.maximum(distance, jnp.finfo(x.dtype).tiny)) / b
    elif kind == "clipped":
        width = (b - a) / CLIPPED_WIDTHS
        low = x < (a + b) / 2
        depth = jnp.maximum(jnp.where(low, x - a, b - x) / width, jnp.finfo(x.dtype).tiny)
        beyond = -width * jnp.log(-jnp.expm1(-depth))
        u = jnp.where(low, x - beyond, x + beyond)
    else:
        u = wrap((x - a) * TURN / (b - a) - PI)
    return (u,)
