"""The outermost linear layer: location and triangular scale, fixed, in any precision."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

from posterion.bijections.base import Bijection, across, constant
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.networks.products import product


@register("whitening")
class Whitening(Bijection):
    """``x = location + lower @ z`` with ``lower`` lower triangular, its diagonal positive.

    Args:
        location: ``(dim,)``.
        lower: ``(dim, dim)``, the Cholesky factor of a covariance.
    """

    location: Array
    lower: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, location: Array, lower: Array):
        if lower.shape != (location.shape[-1],) * 2:
            raise ShapeError(f"location {location.shape} does not fit lower {lower.shape}")
        self.location = location
        self.lower = lower
        self.event_shape = location.shape
        self.context_shape = None

    @property
    def batch_last(self) -> bool:
        return True

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        lower = jnp.tril(self.lower).astype(z.dtype)
        x = across(self.location.astype(z.dtype), z) + product(lower, z)
        return x, constant(jnp.sum(jnp.log(jnp.diag(lower))), z)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        lower = jnp.tril(self.lower).astype(x.dtype)
        offset = x - across(self.location.astype(x.dtype), x)
        z = solve_triangular(lower, offset, lower=True)
        return z, constant(-jnp.sum(jnp.log(jnp.diag(lower))), x)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        x, log_det = self.forward_and_log_det(z)
        score = solve_triangular(self.lower.astype(z.dtype), score, trans=1, lower=True)
        return x, log_det, lax.stop_gradient(score)
