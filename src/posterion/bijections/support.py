"""Maps from the real line (and the circle) to the support of physical parameters.

Every map sends a simple reference measure on ``u`` to a simple one on ``x``, so that a density
that does not vanish at a bound still has Gaussian tails in ``u``: the standard normal becomes
uniform on an interval, exponential above (or below) a bound, normal on the line, log-normal on
a logarithmic scale; the uniform circle stays uniform.
"""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array

from posterion.bijections.base import Bijection
from posterion.core.errors import ShapeError
from posterion.core.registry import register

Kind = Literal["real", "interval", "above", "below", "log", "circle"]
KINDS = ("real", "interval", "above", "below", "log", "circle")
_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)


def _quantile_above(u: Array) -> tuple[Array, Array]:
    """Exponential variable of the standard normal ``u``, and the log of its slope."""
    log_tail = log_ndtr(-u)
    return -log_tail, -0.5 * u * u - _LOG_ROOT_2PI - log_tail


def _inverse_quantile_above(t: Array) -> Array:
    tiny = jnp.finfo(t.dtype).tiny
    t = jnp.maximum(t, tiny)
    small = ndtri(-jnp.expm1(-jnp.minimum(t, 1.0)))
    u = jnp.sqrt(2 * jnp.maximum(t, 1.0) + 1) - 0.9
    for _ in range(5):
        value, log_slope = _quantile_above(u)
        u = u - (value - t) * jnp.exp(-log_slope)
    return jnp.where(t < 1.0, small, u)


def _from_interval(fraction: Array, complement: Array) -> Array:
    """``ndtri`` accurate at both ends; the ends themselves map to the last finite value."""
    tiny = jnp.finfo(fraction.dtype).tiny
    near = jnp.minimum(fraction, complement)
    return jnp.where(fraction <= complement, 1.0, -1.0) * ndtri(jnp.maximum(near, tiny))


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
    ===========  =======================================  =========================

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

    def _groups(self):
        kinds = np.array(self.kinds)
        return [(kind, np.flatnonzero(kinds == kind)) for kind in KINDS if kind in self.kinds]

    def _assemble(self, parts: list[Array]) -> Array:
        order = np.argsort(np.concatenate([index for _, index in self._groups()]))
        return jnp.concatenate(parts)[order]

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        parts, total = [], jnp.zeros((), z.dtype)
        for kind, index in self._groups():
            u, a, b = z[index], self.a[index].astype(z.dtype), self.b[index].astype(z.dtype)
            if kind == "real":
                x, slope = a + b * u, jnp.log(jnp.abs(b))
            elif kind == "interval":
                width = b - a
                x = jnp.where(u < 0, a + width * ndtr(u), b - width * ndtr(-u))
                slope = jnp.log(width) - 0.5 * u * u - _LOG_ROOT_2PI
            elif kind in ("above", "below"):
                value, log_slope = _quantile_above(u)
                x = a + b * value if kind == "above" else a - b * value
                slope = jnp.log(b) + log_slope
            elif kind == "log":
                x = jnp.exp(a + b * u)
                slope = a + b * u + jnp.log(b)
            else:
                x = a + (b - a) * _wrap(u) / (2 * jnp.pi)
                slope = jnp.log((b - a) / (2 * jnp.pi))
            parts.append(x)
            total = total + jnp.sum(jnp.broadcast_to(slope, u.shape))
        return self._assemble(parts), total

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        parts = []
        for kind, index in self._groups():
            y, a, b = x[index], self.a[index].astype(x.dtype), self.b[index].astype(x.dtype)
            if kind == "real":
                u = (y - a) / b
            elif kind == "interval":
                u = _from_interval((y - a) / (b - a), (b - y) / (b - a))
            elif kind == "above":
                u = _inverse_quantile_above((y - a) / b)
            elif kind == "below":
                u = _inverse_quantile_above((a - y) / b)
            elif kind == "log":
                u = (jnp.log(jnp.maximum(y, jnp.finfo(y.dtype).tiny)) - a) / b
            else:
                u = _wrap((y - a) * (2 * jnp.pi) / (b - a) - jnp.pi) - jnp.pi
            parts.append(u)
        z = self._assemble(parts)
        _, log_det = self.forward_and_log_det(z)
        return z, -log_det


def _wrap(u: Array) -> Array:
    """``u + pi`` brought to ``[0, 2 pi)``, with slope 1 everywhere."""
    turn = 2 * jnp.pi
    shifted = u + jnp.pi
    return shifted - turn * lax.stop_gradient(jnp.floor(shifted / turn))
