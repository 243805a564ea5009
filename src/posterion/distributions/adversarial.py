"""A conditional generator with its critic: draws without a density."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from posterion.core.registry import register
from posterion.distributions.base import Samplable
from posterion.networks.perceptron import MLP


@register("conditional_gan")
class ConditionalGan(Samplable):
    """``x = generator(noise, context)``, and the critic that it is trained against.

    The noise is normal, of any width: the law of ``x`` has no density that could be written down.

    Args:
        dim: length of the event.
        context_dim: width of the condition, 0 for none.
        noise: width of the noise.
        hidden: widths of the generator.
        critic: widths of the critic.
        activation: of both.
        key: of the initial weights.

    Source: Arjovsky et al., 1701.07875; Gulrajani et al., 1704.00028.
    """

    generator: MLP
    critic: MLP
    noise: int = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        context_dim: int,
        noise: int,
        hidden: tuple[int, ...],
        critic: tuple[int, ...],
        activation: str,
        *,
        key: PRNGKeyArray,
    ):
        first, second = jax.random.split(key)
        self.generator = MLP(noise + context_dim, dim, hidden, activation, key=first)
        self.critic = MLP(dim + context_dim, 1, critic, activation, key=second)
        self.noise = noise
        self.event_shape = (dim,)
        self.context_shape = (context_dim,) if context_dim else None

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> Array:
        z = jax.random.normal(key, (*shape, self.noise)).reshape(-1, self.noise)
        return self.generator(_beside(z, context)).T.reshape(*shape, *self.event_shape)

    def judged(self, x: Array, context: Array | None = None) -> Array:
        """What the critic says of events ``(n, dim)``: ``(n,)``, more for what looks real."""
        return self.critic(_beside(x, context))[0]


def _beside(rows: Array, context: Array | None) -> Array:
    """Rows with one condition for all, or one each, the batch last."""
    if context is not None:
        rows = jnp.hstack([rows, jnp.broadcast_to(context, (len(rows), context.shape[-1]))])
    return rows.T
