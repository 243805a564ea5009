"""Weighted mixtures: of normals (a base for separated modes) and of any distributions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.distributions.base import Distribution

_LOG_2PI = float(np.log(2 * np.pi))


@register("normal_mixture")
class NormalMixture(Distribution):
    """A mixture of multivariate normals.

    Args:
        log_weights: ``(k,)``, normalised when used.
        locations: ``(k, dim)``.
        lowers: ``(k, dim, dim)``, Cholesky factors of the covariances.
    """

    log_weights: Array
    locations: Array
    lowers: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        log_weights: Float[Array, " k"],
        locations: Float[Array, "k dim"],
        lowers: Float[Array, "k dim dim"],
    ):
        self.log_weights = log_weights
        self.locations = locations
        self.lowers = lowers
        self.event_shape = locations.shape[1:]
        self.context_shape = None

    def component_log_probs(self, x: Array) -> Array:
        """Log of weight times density of each component at one event, ``(k,)``."""

        def one(location, lower):
            z = solve_triangular(lower, x - location, lower=True)
            log_det = jnp.sum(jnp.log(jnp.diag(lower)))
            return -0.5 * jnp.sum(z * z) - log_det - 0.5 * _LOG_2PI * x.shape[-1]

        return jax.nn.log_softmax(self.log_weights) + jax.vmap(one)(self.locations, self.lowers)

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        return jax.nn.logsumexp(self.component_log_probs(x))

    def sample_components(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), spread: Array | float = 1.0
    ) -> tuple[Array, Array]:
        """Draws and the component of each; each component widened by the factor ``spread``."""
        pick, noise = jax.random.split(key)
        k = jax.random.categorical(pick, self.log_weights, shape=shape)
        z = jax.random.normal(noise, shape + self.event_shape) * spread
        return self.locations[k] + jnp.einsum("...ij,...j->...i", self.lowers[k], z), k

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        x, _ = self.sample_components(key, shape)
        log_prob = self.log_prob
        for _ in shape:
            log_prob = jax.vmap(log_prob)
        return x, log_prob(x)


@register("mixture")
class Mixture(Distribution):
    """A weighted mixture of distributions over the same events.

    Args:
        log_weights: ``(k,)``, normalised when used.
        components: the ``k`` distributions.
    """

    log_weights: Array
    components: tuple[Distribution, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, log_weights: Float[Array, " k"], components: tuple[Distribution, ...]):
        shapes = {component.event_shape for component in components}
        if len(shapes) != 1 or len(components) != log_weights.shape[0]:
            raise ShapeError(
                f"a mixture needs one weight per component and one event shape, got "
                f"{log_weights.shape[0]} weights, {len(components)} components, shapes {shapes}"
            )
        self.log_weights = log_weights
        self.components = tuple(components)
        self.event_shape = components[0].event_shape
        self.context_shape = components[0].context_shape

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        each = jnp.stack([component.log_prob(x, context) for component in self.components])
        return jax.nn.logsumexp(jax.nn.log_softmax(self.log_weights) + each)

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        pick, *keys = jax.random.split(key, len(self.components) + 1)
        k = jax.random.categorical(pick, self.log_weights, shape=shape)
        draws = jnp.stack(
            [c.sample(key, shape, context) for c, key in zip(self.components, keys, strict=True)]
        )
        index = k.reshape(1, *shape, *(1 for _ in self.event_shape))
        x = jnp.take_along_axis(draws, index, axis=0)[0]

        def log_prob(x):
            return self.log_prob(x, context)

        for _ in shape:
            log_prob = jax.vmap(log_prob)
        return x, log_prob(x)
