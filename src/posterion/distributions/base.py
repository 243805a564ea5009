"""What a distribution is: something to sample from, usually with a density."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray


class Samplable(eqx.Module):
    """Draws events of ``event_shape``, given a context of ``context_shape`` or ``None``."""

    event_shape: eqx.AbstractVar[tuple[int, ...]]
    context_shape: eqx.AbstractVar[tuple[int, ...] | None]

    @abstractmethod
    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> Array:
        """Draws of shape ``shape + event_shape``."""


class Distribution(Samplable):
    """A :class:`Samplable` with a density.

    ``log_prob`` takes one event; batches go through
    :func:`posterion.bijections.base.apply_batch`.
    """

    @abstractmethod
    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        """Log-density of one event."""

    @abstractmethod
    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        """Draws and their log-densities; nothing just computed is inverted."""

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> Array:
        return self.sample_and_log_prob(key, shape, context)[0]

    def score(self, x: Array, context: Array | None = None) -> Array:
        """``d log_prob / dx`` of one event."""
        return jax.grad(self.log_prob)(x, context)
