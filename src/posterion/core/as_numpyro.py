"""A learned posterior as a NumPyro distribution: the prior of the next analysis."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to

from posterion.core.columns import columns_of
from posterion.core.errors import ShapeError

__all__ = ["Box", "PosteriorDistribution", "ToBox"]


class Box(constraints.Constraint):
    """Vectors between bounds that may be infinite.

    Args:
        lower, upper: of each coordinate, infinite where there is none.
    """

    event_dim = 1

    def __init__(self, lower: tuple[float, ...], upper: tuple[float, ...]):
        self.lower, self.upper = lower, upper
        self.lower_bound, self.upper_bound = np.array(lower), np.array(upper)

    def __call__(self, x: Any) -> Any:
        return jnp.all((x >= self.lower_bound) & (x <= self.upper_bound), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        """The middle of the box, or one unit inside its only bound."""
        return jnp.broadcast_to(
            ToBox(self.lower, self.upper)(jnp.zeros(len(self.lower))), jnp.shape(prototype)
        )

    def eq(self, other: object, static: bool = False) -> bool:
        """Whether the bounds are the same."""
        return isinstance(other, Box) and (self.lower, self.upper) == (other.lower, other.upper)

    def tree_flatten(self) -> Any:
        """No arrays; the bounds are static."""
        return (), ((), {"lower": self.lower, "upper": self.upper})


class ToBox(Transform):
    """The line to the box, coordinate by coordinate: logistic, exponential or nothing.

    Args:
        lower, upper: of each coordinate, infinite where there is none.
    """

    def __init__(self, lower: tuple[float, ...], upper: tuple[float, ...]):
        self.lower, self.upper = lower, upper
        low, high = np.array(lower), np.array(upper)
        self._both = np.isfinite(low) & np.isfinite(high)
        self._below = np.isfinite(low) & ~self._both
        self._above = np.isfinite(high) & ~self._both
        self._low = np.where(np.isfinite(low), low, 0.0)
        self._high = np.where(np.isfinite(high), high, 0.0)
        self._width = np.where(self._both, self._high - self._low, 1.0)

    @property
    def domain(self) -> Any:
        """All vectors."""
        return constraints.real_vector

    @property
    def codomain(self) -> Any:
        """The box."""
        return Box(self.lower, self.upper)

    def __call__(self, x: Any) -> Any:
        inside = self._low + self._width * jax.nn.sigmoid(x)
        growth = jnp.exp(jnp.where(self._below | self._above, x, 0.0))
        return self._choose(inside, self._low + growth, self._high - growth, x)

    def _inverse(self, y: Any) -> Any:
        share = jnp.where(self._both, (y - self._low) / self._width, 0.5)
        gap = jnp.where(self._below, y - self._low, jnp.where(self._above, self._high - y, 1.0))
        tiny = jnp.finfo(jnp.result_type(y)).tiny
        log_gap = jnp.log(jnp.maximum(gap, tiny))
        logit = jnp.log(jnp.maximum(share, tiny)) - jnp.log(jnp.maximum(1 - share, tiny))
        return self._choose(logit, log_gap, log_gap, y)

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """The log of the volume that a unit cell at ``x`` becomes, ``(...,)``."""
        both = np.log(self._width) - jax.nn.softplus(-x) - jax.nn.softplus(x)
        return jnp.sum(self._choose(both, x, x, jnp.zeros_like(x)), axis=-1)

    def _choose(self, both: Any, below: Any, above: Any, free: Any) -> Any:
        one = jnp.where(self._below, below, jnp.where(self._above, above, free))
        return jnp.where(self._both, both, one).astype(jnp.result_type(free))

    def eq(self, other: object, static: bool = False) -> bool:
        """Whether the bounds are the same."""
        return isinstance(other, ToBox) and (self.lower, self.upper) == (other.lower, other.upper)

    def tree_flatten(self) -> Any:
        """No arrays; the bounds are static."""
        return (), ((), {"lower": self.lower, "upper": self.upper})


@biject_to.register(Box)
def _biject_to_box(constraint: Box) -> ToBox:
    return ToBox(constraint.lower, constraint.upper)


class PosteriorDistribution(dist.Distribution):
    """The flow of a result as a NumPyro distribution; an event is a flat vector.

    Its coordinates stand in the order of `columns`; `unflatten` gives them their names back. A
    periodic coordinate is sampled by NumPyro on the interval between its bounds.

    Values have NumPyro's precision: with float32, what varies by less than 1e-7 of its size is
    lost; ``numpyro.enable_x64()`` keeps it.

    Args:
        result: with ``parameters``, ``_sample_flat(key, shape)`` to ``(*shape, dim)`` and
            ``_log_prob_flat(x)`` from ``(n, dim)`` to ``(n,)``, both traceable.
    """

    arg_constraints = {}  # noqa: RUF012
    pytree_aux_fields = ("result",)

    def __init__(self, result: Any, *, validate_args: bool | None = None):
        self.result = result
        dim = len(columns_of(result.parameters))
        super().__init__((), (dim,), validate_args=validate_args)

    @property
    def described(self) -> str:
        """The distribution in words."""
        return f"the posterior of {self.result.name!r}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return tuple(column.name for column in columns_of(self.result.parameters))

    @property
    def support(self) -> Box:
        """The box between the parameters' bounds."""
        columns = columns_of(self.result.parameters)
        lower = tuple(-np.inf if c.lower is None else float(c.lower) for c in columns)
        upper = tuple(np.inf if c.upper is None else float(c.upper) for c in columns)
        return Box(lower, upper)

    def unflatten(self, value: Any) -> dict[str, Any]:
        """Arrays ``(..., *shape)`` by parameter name, of vectors ``(..., dim)``."""
        theta, start = {}, 0
        for parameter in self.result.parameters:
            stop = start + len(parameter.columns)
            theta[parameter.name] = value[..., start:stop].reshape(
                *value.shape[:-1], *parameter.shape
            )
            start = stop
        return theta

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws ``(*sample_shape, dim)``."""
        return _in_precision(self.result._sample_flat(key, tuple(sample_shape)))

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Normalised log-density of ``(..., dim)``; -inf outside the support."""
        value = jnp.asarray(value)
        if value.shape[-1:] != self.event_shape:
            raise ShapeError(f"value of shape {value.shape}: the last axis must be {self.columns}")
        rows = value.reshape(-1, *self.event_shape)
        inside = self.support(rows)
        # outside, the flow is asked at a place that it knows: no NaN gets into gradients
        safe = jnp.where(inside[:, None], rows, self.support.feasible_like(rows))
        found = jnp.where(inside, _log_density(self.result, safe), -jnp.inf)
        return found.reshape(value.shape[:-1])


def _in_precision(x: Array) -> Array:
    """``x`` in the default floating type of the caller, whichever the flow computes in."""
    dtype = jnp.result_type(float)
    with jax.enable_x64(True):
        return x.astype(dtype)


def _log_density(result: Any, x: Array) -> Array:
    """The flow's log-density with a derivative that is traced where its precision holds."""

    @jax.custom_jvp
    def value(x: Array) -> Array:
        return _in_precision(result._log_prob_flat(x))

    @value.defjvp
    def derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (direction,) = primals, tangents
        dtype = x.dtype
        with jax.enable_x64(True):
            slope = jax.grad(lambda x: result._log_prob_flat(x).sum())(x).astype(dtype)
        return value(x), jnp.sum(slope * direction, axis=-1)

    return value(x)
