"""The frame: where a flow learns, and how its coordinates become physical ones.

A flow computes in float32 on coordinates ``v`` of order one. The frame takes them, in float64,
through a whitening (location and triangular scale) to ``u``, and through the support's map to
the parameters, so that 1e-5 and 1e5 learn alike, and a log-density of 1e7 loses no digits: the
stored reference value is subtracted before float32.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.support import SupportMap
from posterion.bijections.whitening import Whitening
from posterion.core.registry import register
from posterion.networks.products import product


@register("frame")
class Frame(eqx.Module):
    """Whitening and support, both in float64.

    Args:
        whitening: ``v`` to ``u``.
        support: ``u`` to the parameters, flat.
        reference: log-density that is subtracted before leaving float64.
        origins: per coordinate ``(lower, period)`` of a circle that was cut elsewhere and is an
            interval here, or ``None``; its values are brought back to the declared range.
    """

    whitening: Whitening
    support: SupportMap
    reference: Array
    origins: tuple[tuple[float, float] | None, ...] = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.support.kinds)

    @property
    def circular(self) -> np.ndarray:
        """Which coordinates are on the circle, ``(dim,)`` of bool."""
        return np.array([kind == "circle" for kind in self.support.kinds])

    @classmethod
    def plain(cls, support: SupportMap) -> "Frame":
        """The frame with no whitening: ``v = u``."""
        dim = len(support.kinds)
        return cls.of(np.zeros(dim), np.eye(dim), support, 0.0)

    @classmethod
    def of(
        cls,
        location: np.ndarray,
        lower: np.ndarray,
        support: SupportMap,
        reference: float,
        origins: tuple[tuple[float, float] | None, ...] | None = None,
    ) -> "Frame":
        """The frame of a location and a triangular scale in ``u``."""
        origins = (None,) * len(support.kinds) if origins is None else origins
        with jax.enable_x64(True):
            whitening = Whitening(jnp.asarray(location, jnp.float64), jnp.asarray(lower))
            return cls(whitening, support, jnp.asarray(reference, jnp.float64), origins)

    def to_x(self, v: Array) -> tuple[Array, Array]:
        """Physical coordinates and ``log|det dx/dv|`` of a batch ``(n, dim)``; inside x64."""
        u = self.whitening.location + product(v.astype(jnp.float64), self.whitening.lower.T)
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.whitening.lower)))
        x, support_log_det = jax.vmap(self.support.forward_and_log_det)(u)
        return self._wrap(x, [None if o is None else o[0] for o in self.origins]), (
            support_log_det + log_det
        )

    def _wrap(self, x: Array, starts: list) -> Array:
        for i, origin in enumerate(self.origins):
            if origin is not None:
                turned = x[:, i] - starts[i]
                turns = lax.stop_gradient(jnp.floor(turned / origin[1]))
                x = x.at[:, i].add(-origin[1] * turns)
        return x

    def to_v(self, x: Array) -> tuple[Array, Array]:
        """Coordinates ``v`` and ``log|det dv/dx|`` of a batch of physical points; inside x64.

        Beyond the bounds the latter is -inf: nothing lies there.
        """
        outside = self._outside(x)
        x = self._wrap(x.astype(jnp.float64), list(self.support.a))
        u, log_det = jax.vmap(self.support.inverse_and_log_det)(x)
        centred = u - self.whitening.location
        v = lax.linalg.triangular_solve(
            self.whitening.lower, centred.T, left_side=True, lower=True
        ).T
        turned = v - 2 * jnp.pi * jnp.round(v / (2 * jnp.pi))
        v = jnp.where(jnp.asarray(self.circular), turned, v)
        log_det = log_det - jnp.sum(jnp.log(jnp.diagonal(self.whitening.lower)))
        return v, jnp.where(outside, -jnp.inf, log_det)

    def _outside(self, x: Array) -> Array:
        """Which points of a batch lie beyond a bound by more than their rounding, ``(n,)``."""
        lower, upper = self.support.ends()
        cut = np.array([origin is not None for origin in self.origins])
        lower, upper = jnp.where(cut, -jnp.inf, lower), jnp.where(cut, jnp.inf, upper)
        slack = 2 * jnp.finfo(x.dtype).eps
        x = x.astype(jnp.float64)
        below = x < lower - slack * jnp.abs(jnp.where(jnp.isfinite(lower), lower, 0.0))
        above = x > upper + slack * jnp.abs(jnp.where(jnp.isfinite(upper), upper, 0.0))
        return jnp.any(below | above, axis=1)
