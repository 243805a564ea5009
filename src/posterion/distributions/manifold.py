"""Flows on a surface of fewer dimensions than the space it lies in, and how they are learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, apply_batch
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.distributions.base import Distribution, Samplable


@register("manifold_flow")
class ManifoldFlow(Distribution):
    """A density on the ``n``-dimensional surface ``x = chart([u, 0])`` in ``dim`` dimensions.

    With ``J = dx/du``, ``(dim, n)``, the density per unit of ``n``-dimensional volume of the
    surface is ``log p(x) = log p(u) - 1/2 log det(J^T J)``.

    Off the surface there is no density: `log_prob` of a point is that of its projection, the point
    of the same ``u`` (not the nearest one, unless the chart is such); `distance` says how far the
    point is from it. `posterion.fit` learns it in two phases, first the surface, then the density
    on it: likelihood alone does not find the surface.

    Args:
        chart: bijection of the space, ``(dim,)``; its context is passed on.
        density: distribution of ``u``, ``(n,)`` with ``n`` up to ``dim``; its context likewise.

    Raises:
        ShapeError: their events do not fit, or both have a context, of different shapes.

    Source: Brehmer and Cranmer, 2003.13913.

    >>> from posterion.bijections import Linear
    >>> from posterion.distributions import Normal
    >>> plane = ManifoldFlow(Linear(3), Normal(2))
    >>> float(plane.distance(jnp.array([0.0, 1.0, -2.0])))
    2.0
    """

    chart: Bijection
    density: Distribution
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, chart: Bijection, density: Distribution):
        space, surface = chart.event_shape, density.event_shape
        if len(space) != 1 or len(surface) != 1 or surface[0] > space[0]:
            raise ShapeError(
                f"a density of events {surface} does not fit a chart of {space}: one axis each, "
                "the density's no longer"
            )
        contexts = {part.context_shape for part in (chart, density)} - {None}
        if len(contexts) > 1:
            raise ShapeError(f"chart and density have contexts of different shapes: {contexts}")
        self.chart = chart
        self.density = density
        self.event_shape = space
        self.context_shape = contexts.pop() if contexts else None

    def embed(self, u: Array, context: Array | None = None) -> Array:
        """The point ``(dim,)`` of the surface with coordinates ``u``, ``(n,)``."""
        z = _raised(u, self.event_shape[0])
        return self.chart.forward_and_log_det(z, _own(self.chart, context))[0]

    def coordinates(self, x: Array, context: Array | None = None) -> Array:
        """The coordinates ``u``, ``(n,)``, of the projection of ``x``."""
        z, _ = self.chart.inverse_and_log_det(x, _own(self.chart, context))
        return z[: self.density.event_shape[0]]

    def project(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """The point of the surface that belongs to ``x``, ``(dim,)``, and its coordinates."""
        u = self.coordinates(x, context)
        return self.embed(u, context), u

    def distance(self, x: Array, context: Array | None = None) -> Array:
        """Euclidean distance of ``x`` from its projection."""
        square = jnp.sum((x - self.project(x, context)[0]) ** 2)
        # The slope of a square root is infinite at 0.
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        u = self.coordinates(x, context)
        _, log_volume = self._embed_and_log_volume(u, context)
        return self.density.log_prob(u, _own(self.density, context)) - log_volume

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> Array:
        u = self.density.sample(key, shape, _own(self.density, context))
        x = _embed(self, u.reshape(-1, *self.density.event_shape), context)
        return x.reshape(*shape, *self.event_shape)

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        own = _own(self.density, context)
        u, log_prob = self.density.sample_and_log_prob(key, shape, own)
        flat = u.reshape(-1, *self.density.event_shape)
        x, log_volume = apply_batch(self._embed_and_log_volume, flat, context=context)
        return x.reshape(*shape, *self.event_shape), log_prob - log_volume.reshape(shape)

    def _embed_and_log_volume(self, u: Array, context: Array | None = None) -> tuple[Array, Array]:
        """The point, and ``1/2 log det(J^T J)`` there."""

        def embed(u):
            x = self.embed(u, context)
            return x, x

        jacobian, x = jax.jacfwd(embed, has_aux=True)(u)
        # From J = Q R: the condition number of J^T J is the square of that of J.
        sides = jnp.abs(jnp.diagonal(jnp.linalg.qr(jacobian, mode="reduced")[1]))
        return x, jnp.sum(jnp.log(sides))


def projected(flow: ManifoldFlow, x: Array, context: Array | None = None) -> Array:
    """The points of the surface that belong to ``x``, ``(rows, dim)`` both.

    Phase one of learning brings them together, which moves the chart alone.

    Args:
        flow: the surface.
        x: points.
        context: one condition for all, or one per row.
    """
    return _embed(flow, _coordinates(flow, x, context), context)


def projected_log_probs(flow: ManifoldFlow, x: Array, context: Array | None = None) -> Array:
    """``log p(u)`` of the projections of ``x``, ``(rows,)``: phase two maximises it.

    The volume element depends on the chart alone, so this is maximum likelihood on the surface at
    the cost of a flow of ``u``; the gradient of the chart is zero.

    Args:
        flow: the surface and the density on it.
        x: points, ``(rows, dim)``.
        context: one condition for all, or one per row.
    """
    u = lax.stop_gradient(_coordinates(flow, x, context))
    return apply_batch(flow.density.log_prob, u, context=_own(flow.density, context))


def _own(part: Bijection | Samplable, context: Array | None) -> Array | None:
    return None if part.context_shape is None else context


def _raised(u: Array, dim: int) -> Array:
    """``u`` with zeros after it, ``dim`` coordinates along the last axis."""
    return jnp.concatenate([u, jnp.zeros((*u.shape[:-1], dim - u.shape[-1]), u.dtype)], axis=-1)


# Batches go through the chart itself, which may take them along the last axis.


def _coordinates(flow: ManifoldFlow, x: Array, context: Array | None) -> Array:
    own = _own(flow.chart, context)
    z, _ = apply_batch(flow.chart.inverse_and_log_det, x, context=own)
    return z[:, : flow.density.event_shape[0]]


def _embed(flow: ManifoldFlow, u: Array, context: Array | None) -> Array:
    own, z = _own(flow.chart, context), _raised(u, flow.event_shape[0])
    return apply_batch(flow.chart.forward_and_log_det, z, context=own)[0]
