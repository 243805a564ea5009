"""A distribution made invariant under a finite group: a base for modes that mirror one another."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import apply_batch
from posterion.bijections.groups import check_group
from posterion.core.errors import ShapeError
from posterion.core.registry import register
from posterion.distributions.base import Distribution


@register("symmetrised")
class Symmetrised(Distribution):
    """The mean of ``base`` over a finite group, ``p(x) = mean_g p0(g^-1 x)``: invariant.

    It is drawn from by an element at random. With a bijection that commutes with the group, such
    as :class:`~posterion.bijections.EquivariantCoupling`, the flow is invariant too (Koehler,
    Klein and Noe, 2006.02425); a base far from its images makes one mode of each. A density
    costs ``order`` evaluations of the base.

    Args:
        base: distribution of one-dimensional events; its context is passed on.
        group: ``(order, dim, dim)``, orthogonal matrices: `parity`, `permutations`, `cyclic` and
            `closure` of :mod:`posterion.bijections` give the usual ones. It is not learned.

    Raises:
        ShapeError: the group does not act on the base's events.
        SettingError: the matrices are no group of orthogonal ones.

    >>> from posterion.bijections import parity
    >>> from posterion.distributions import Normal
    >>> Symmetrised(Normal(2), parity(2)).event_shape
    (2,)
    """

    base: Distribution
    group: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, base: Distribution, group: np.ndarray | Array):
        elements = check_group(group)
        if base.event_shape != elements.shape[2:]:
            raise ShapeError(
                f"base draws events {base.event_shape}, the group {elements.shape} acts on "
                f"{elements.shape[2:]}"
            )
        self.base = base
        self.group = jnp.asarray(elements, float)
        self.event_shape = base.event_shape
        self.context_shape = base.context_shape

    def _act(self, subscripts: str, events: Array, group: Array) -> Array:
        group = lax.stop_gradient(group).astype(events.dtype)
        return jnp.einsum(subscripts, group, events, precision=lax.Precision.HIGHEST)

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        # The inverse of an orthogonal matrix is its transpose.
        images = self._act("gij,i->gj", x, self.group)
        each = apply_batch(self.base.log_prob, images, context=context)
        return jax.nn.logsumexp(each) - float(np.log(len(images)))

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> Array:
        draw, pick = jax.random.split(key)
        x = self.base.sample(draw, shape, context)
        element = jax.random.randint(pick, shape, 0, len(self.group))
        return self._act("...ij,...j->...i", x, self.group[element])

    def sample_and_log_prob(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = (), context: Array | None = None
    ) -> tuple[Array, Array]:
        x = self.sample(key, shape, context)
        log_prob = partial(self.log_prob, context=context)
        for _ in shape:
            log_prob = jax.vmap(log_prob)
        return x, log_prob(x)
