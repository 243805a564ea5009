"""Base distributions of flows: normal, uniform, circular."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e
from jaxtyping import Array, PRNGKeyArray

from posterion.core.registry import register
from posterion.distributions.base import Distribution

_LOG_2PI = float(np.log(2 * np.pi))


@register("normal")
class Normal(Distribution):
    """The standard normal of length ``dim``."""

    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, dim: int):
        self.event_shape = (dim,)
        self.context_shape = None

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        return -0.5 * jnp.sum(x * x) - 0.5 * _LOG_2PI * x.shape[-1]

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        x = jax.random.normal(key, shape + self.event_shape)
        return x, -0.5 * jnp.sum(x * x, axis=-1) - 0.5 * _LOG_2PI * x.shape[-1]


@register("uniform")
class Uniform(Distribution):
    """Uniform on ``[lower, upper)`` in each of ``dim`` coordinates."""

    lower: float = eqx.field(static=True)
    upper: float = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, dim: int, lower: float = 0.0, upper: float = 1.0):
        self.lower = lower
        self.upper = upper
        self.event_shape = (dim,)
        self.context_shape = None

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        inside = jnp.all((x >= self.lower) & (x < self.upper))
        level = -x.shape[-1] * float(np.log(self.upper - self.lower))
        return jnp.where(inside, jnp.asarray(level, x.dtype), -jnp.inf)

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        x = jax.random.uniform(key, shape + self.event_shape, minval=self.lower, maxval=self.upper)
        level = -x.shape[-1] * float(np.log(self.upper - self.lower))
        return x, jnp.full(shape, level, x.dtype)


@register("von_mises")
class VonMises(Distribution):
    """Independent von Mises angles on ``[-pi, pi)``, centred at 0; uniform at concentration 0.

    Args:
        concentration: ``(dim,)``, zero or positive.
    """

    concentration: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, concentration: Array):
        self.concentration = concentration
        self.event_shape = concentration.shape
        self.context_shape = None

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        k = self.concentration
        return jnp.sum(k * (jnp.cos(x) - 1) - jnp.log(i0e(k)) - _LOG_2PI)

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        x = _von_mises(key, self.concentration, shape)
        log_prob = self.log_prob
        for _ in shape:
            log_prob = jax.vmap(log_prob)
        return x, log_prob(x)


def _von_mises(key: PRNGKeyArray, k: Array, shape: tuple[int, ...]) -> Array:
    """Best and Fisher (1979) rejection; the uniform angle where the concentration is tiny."""
    full = (*shape, *k.shape)
    safe = jnp.maximum(k, 1e-4)
    tau = 1 + jnp.sqrt(1 + 4 * safe**2)
    rho = (tau - jnp.sqrt(2 * tau)) / (2 * safe)
    r = (1 + rho**2) / (2 * rho)

    def propose(state):
        key, x, todo = state
        key, a, b, c = jax.random.split(key, 4)
        z = jnp.cos(jnp.pi * jax.random.uniform(a, full))
        f = (1 + r * z) / (r + z)
        u = jax.random.uniform(b, full, minval=jnp.finfo(f.dtype).tiny)
        height = safe * (r - f)
        accept = (height * (2 - height) > u) | (jnp.log(height / u) + 1 - height >= 0)
        sign = jnp.sign(jax.random.uniform(c, full) - 0.5)
        angle = sign * jnp.arccos(jnp.clip(f, -1, 1))
        return key, jnp.where(todo & accept, angle, x), todo & ~accept

    key, flat = jax.random.split(key)
    uniform = jax.random.uniform(flat, full, minval=-jnp.pi, maxval=jnp.pi)
    start = (key, uniform, jnp.broadcast_to(k > 1e-3, full))
    _, x, _ = jax.lax.while_loop(lambda state: jnp.any(state[2]), propose, start)
    return x


@register("product")
class Product(Distribution):
    """Independent parts, each over some of the coordinates.

    Args:
        parts: distributions of one-dimensional events.
        indices: for each part, the coordinates that are its own; together all of them, once.
    """

    parts: tuple[Distribution, ...]
    indices: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, parts: tuple[Distribution, ...], indices: tuple[tuple[int, ...], ...]):
        self.parts = parts
        self.indices = indices
        self.event_shape = (sum(len(index) for index in indices),)
        self.context_shape = None

    def _order(self) -> np.ndarray:
        return np.argsort(np.concatenate([np.array(index) for index in self.indices]))

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        pairs = zip(self.parts, self.indices, strict=True)
        return sum(part.log_prob(x[np.array(index)]) for part, index in pairs)  # type: ignore

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        keys = jax.random.split(key, len(self.parts))
        draws, log_probs = zip(
            *[p.sample_and_log_prob(k, shape) for p, k in zip(self.parts, keys, strict=True)],
            strict=True,
        )
        return jnp.concatenate(draws, axis=-1)[..., self._order()], sum(log_probs)  # type: ignore
