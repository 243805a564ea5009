"""Affine maps: element-wise, permutation, and full linear mixing."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from posterion.bijections.base import Bijection, across, constant
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.networks.products import product


@register("affine")
class Affine(Bijection):
    """``x = z exp(log_scale) + shift``, element by element: a final scale and shift layer.

    Args:
        shift: ``(dim,)``.
        log_scale: ``(dim,)``.
    """

    shift: Array
    log_scale: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, shift: Float[Array, " dim"], log_scale: Float[Array, " dim"]):
        if shift.shape != log_scale.shape:
            raise ShapeError(f"shift {shift.shape} and log_scale {log_scale.shape} differ")
        self.shift = shift
        self.log_scale = log_scale
        self.event_shape = shift.shape
        self.context_shape = None

    @property
    def batch_last(self) -> bool:
        return True

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        x = z * across(jnp.exp(self.log_scale), z) + across(self.shift, z)
        return x, constant(jnp.sum(self.log_scale), z)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        z = (x - across(self.shift, x)) * across(jnp.exp(-self.log_scale), x)
        return z, constant(-jnp.sum(self.log_scale), x)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        x, log_det = self.forward_and_log_det(z)
        score = score * across(jnp.exp(-self.log_scale), z)
        return x, log_det, lax.stop_gradient(score)


@register("permutation")
class Permutation(Bijection):
    """``x[i] = z[order[i]]``; ``order`` is an array, so permutations stack and scan."""

    order: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, order: Int[Array, " dim"]):
        if not np.array_equal(np.sort(order), np.arange(order.shape[-1])):
            raise ShapeError(f"not a permutation of 0 to {order.shape[-1] - 1}: {order}")
        self.order = order
        self.event_shape = order.shape
        self.context_shape = None

    @property
    def batch_last(self) -> bool:
        return True

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return z[self.order], jnp.zeros(z.shape[1:], z.dtype)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return x[jnp.argsort(self.order)], jnp.zeros(x.shape[1:], x.dtype)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        x, log_det = self.forward_and_log_det(z)
        return x, log_det, lax.stop_gradient(score[self.order])


@register("linear")
class Linear(Bijection):
    """``x = L U z + shift`` with ``L`` unit lower and ``U`` upper triangular (Kingma and Dhariwal,
    1807.03039), the diagonal of ``U`` kept positive: learned mixing, the identity at zero.

    Args:
        dim: length of the event.
    """

    lower: Array
    upper: Array
    log_diagonal: Array
    shift: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, dim: int):
        self.lower = jnp.zeros((dim, dim))
        self.upper = jnp.zeros((dim, dim))
        self.log_diagonal = jnp.zeros(dim)
        self.shift = jnp.zeros(dim)
        self.event_shape = (dim,)
        self.context_shape = None

    @property
    def batch_last(self) -> bool:
        return True

    def triangles(self) -> tuple[Array, Array]:
        """``L`` and ``U``, each ``(dim, dim)``."""
        lower = jnp.tril(self.lower, -1) + jnp.eye(self.lower.shape[0], dtype=self.lower.dtype)
        return lower, jnp.triu(self.upper, 1) + jnp.diag(jnp.exp(self.log_diagonal))

    def inverse_triangles(self) -> tuple[Array, Array]:
        """Inverses of ``L`` and ``U``: once for a batch, whose solves are ten times as slow."""
        lower, upper = self.triangles()
        eye = jnp.eye(lower.shape[0], dtype=lower.dtype)
        return (
            solve_triangular(lower, eye, lower=True, unit_diagonal=True),
            solve_triangular(upper, eye),
        )

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        lower, upper = self.triangles()
        x = product(lower, product(upper, z)) + across(self.shift, z)
        return x, constant(jnp.sum(self.log_diagonal), z)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        lower, upper = self.inverse_triangles()
        z = product(upper, product(lower, x - across(self.shift, x)))
        return z, constant(-jnp.sum(self.log_diagonal), x)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        x, log_det = self.forward_and_log_det(z)
        lower, upper = self.inverse_triangles()
        return x, log_det, lax.stop_gradient(product(lower.T, product(upper.T, score)))
