"""A normalizing flow: a base distribution and a bijection, and nothing more."""

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, apply_batch
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.distributions.base import Distribution


@register("flow")
class Flow(Distribution):
    """``x = bijection(z)`` with ``z`` from ``base``.

    Args:
        base: distribution of ``z``.
        bijection: base to data; its context is the flow's.
    """

    base: Distribution
    bijection: Bijection
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, base: Distribution, bijection: Bijection):
        if base.event_shape != bijection.event_shape:
            raise ShapeError(
                f"base draws events {base.event_shape}, the bijection takes {bijection.event_shape}"
            )
        self.base = base
        self.bijection = bijection
        self.event_shape = bijection.event_shape
        self.context_shape = bijection.context_shape

    @property
    def batch_last(self) -> bool:
        """Whether ``log_prob`` takes a batch along a last axis too, as its bijection does."""
        return self.bijection.batch_last

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        z, log_det = self.bijection.inverse_and_log_det(x, context)
        log_prob = self.base.log_prob
        if z.ndim > len(self.event_shape):
            log_prob = jax.vmap(log_prob, in_axes=-1)
        return log_prob(z) + log_det

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        z, base_log_prob = self.base.sample_and_log_prob(key, shape)
        flat = z.reshape(-1, *self.event_shape)
        x, log_det = apply_batch(self.bijection.forward_and_log_det, flat, context=context)
        return x.reshape(z.shape), base_log_prob - log_det.reshape(shape)
