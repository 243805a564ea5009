"""Couplings that commute with a symmetry: exchanges, reflections, translations, rotations."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, across
from posterion.bijections.groups import check_signed_permutations
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.networks.perceptron import MLP


@register("equivariant_coupling")
class EquivariantCoupling(Bijection):
    """An affine coupling with ``f(g x) = g f(x)`` for each element ``g`` of a finite group.

    The group exchanges coordinates and turns their signs: parity, charge conjugation, exchange of
    particles, translations of a lattice. From the network's ``t0`` and ``s0`` of the kept
    coordinates come the shift ``t(x) = mean_g g^-1 t0(g x)`` and the log-scale
    ``s(x) = mean_g |g|^-1 s0(g x)``. Each of the ``order`` elements costs one pass of the network.
    The context stays as it is under the group. With an invariant base
    (:class:`~posterion.distributions.Symmetrised`) the flow is invariant.

    The mask is an array, so couplings of different masks stack and scan.

    Args:
        mask: ``(dim,)``, 1 where a coordinate is kept; each element leaves it in place.
        group: ``(order, dim, dim)``, signed permutation matrices, such as `permutations`.
        hidden: widths of the network's hidden layers.
        activation: name of its activation.
        limit: bound of the log-scale; ``None`` leaves it free.
        context_size: width of the context, 0 for none.
        key: random key; the network's last layer starts at zero, the coupling as the identity.

    Raises:
        ShapeError: mask and group do not fit.
        SettingError: an element is no signed permutation, or takes a kept coordinate to a moved
            one, or the elements are no group.

    Source: Koehler, Klein and Noe, 2006.02425; of lattices Kanwar et al., 2003.06413; a coupling
    that commutes as soon as its conditioner does: Bose et al., 2110.08649.
    """

    mask: Array
    group: Array
    conditioner: MLP
    limit: float | None = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        mask: Array,
        group: np.ndarray | Array,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        limit: float | None = None,
        context_size: int = 0,
        key: PRNGKeyArray,
    ):
        elements = check_signed_permutations(group)
        dim = mask.shape[-1]
        if mask.shape != elements.shape[1:2]:
            raise ShapeError(f"mask {mask.shape} does not fit the group {elements.shape}")
        kept = np.asarray(mask) > 0.5
        stays = np.all(np.abs(elements) @ kept.astype(np.int8) == kept, axis=1)
        if not np.all(stays):
            raise SettingError(
                f"element {np.argmin(stays)} of the group takes a kept coordinate to a moved one; "
                "choose a mask that it leaves in place, or a smaller group"
            )
        self.mask = mask
        self.group = jnp.asarray(elements)
        self.conditioner = MLP(
            dim + context_size, 2 * dim, hidden, activation, key=key, zero_output=True
        )
        self.limit = limit
        self.event_shape = (dim,)
        self.context_shape = (context_size,) if context_size else None

    @property
    def batch_last(self) -> bool:
        return True

    def scale_and_shift(self, events: Array, context: Array | None) -> tuple[Array, Array]:
        """Log-scale and shift of each coordinate, ``(dim,)`` each; zero where kept."""
        dim, order, batch = len(self.mask), len(self.group), events.shape[1:]
        moves = across(self.mask < 0.5, events)
        group = self.group.astype(events.dtype)
        images = _copy("gij,j...->ig...", group, jnp.where(moves, 0, events))
        inputs = images.reshape(dim, -1)
        if context is not None:
            context = across(context, events)[:, None]
            spread = jnp.broadcast_to(context, (len(context), order, *batch))
            inputs = jnp.concatenate([inputs, spread.reshape(len(context), -1)])
        raw_scale, raw_shift = self.conditioner(inputs).reshape(2, dim, order, *batch)
        # The inverse of an orthogonal matrix is its transpose.
        scale = _copy("gij,ig...->j...", jnp.abs(group), raw_scale) / order
        shift = _copy("gij,ig...->j...", group, raw_shift) / order
        return jnp.where(moves, _bounded(scale, self.limit), 0), jnp.where(moves, shift, 0)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        scale, shift = self.scale_and_shift(z, context)
        return z * jnp.exp(scale) + shift, jnp.sum(scale, axis=0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        scale, shift = self.scale_and_shift(x, context)
        return (x - shift) * jnp.exp(-scale), -jnp.sum(scale, axis=0)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return _forward_and_score(self.scale_and_shift, z, score, context)


@register("vector_coupling")
class VectorCoupling(Bijection):
    """A coupling of vectors that commutes with a common rotation or reflection of them all.

    An event is a list of vectors, vector by vector. A moved one becomes
    ``x_b exp(s_b) + sum_a c_ba x_a`` over the kept ones; ``s`` and ``c`` come from a network of
    the kept vectors' scalar products, ``log(1 + x_a^2)`` and ``x_a x_a'`` over
    ``sqrt(1 + x_a^2) sqrt(1 + x_a'^2)``, and of the context, which stays as it is. Vectors are
    thus to be given in units in which they are of order 1. As reflections commute too, a density
    that tells left from right cannot be learned. Every rotation-invariant base will do, such as
    the standard normal.

    The mask is an array, so couplings of different masks stack and scan.

    Args:
        mask: ``(vectors,)``, 1 where a vector is kept.
        size: components of each vector.
        hidden: widths of the network's hidden layers.
        activation: name of its activation.
        limit: bound of the log-scale; ``None`` leaves it free.
        context_size: width of the context, 0 for none.
        key: random key; the network's last layer starts at zero, the coupling as the identity.

    Raises:
        ShapeError: the mask is no list, or a vector has no components.

    Source: invariance by equivariance, Koehler, Klein and Noe, 2006.02425; functions of scalar
    products times vectors, Villar et al., 2106.06610.
    """

    mask: Array
    conditioner: MLP
    size: int = eqx.field(static=True)
    limit: float | None = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        mask: Array,
        size: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        limit: float | None = None,
        context_size: int = 0,
        key: PRNGKeyArray,
    ):
        if mask.ndim != 1 or size < 1:
            raise ShapeError(f"vectors need a mask (vectors,) and a size, got {mask.shape}, {size}")
        count = mask.shape[0]
        self.mask = mask
        self.conditioner = MLP(
            count * (count + 1) // 2 + context_size,
            count * (count + 1),
            hidden,
            activation,
            key=key,
            zero_output=True,
        )
        self.size = size
        self.limit = limit
        self.event_shape = (count * size,)
        self.context_shape = (context_size,) if context_size else None

    @property
    def batch_last(self) -> bool:
        return True

    def scale_and_shift(self, events: Array, context: Array | None) -> tuple[Array, Array]:
        """Log-scale and shift of each coordinate, ``(dim,)`` each; zero where kept."""
        count, batch = len(self.mask), events.shape[1:]
        moves = across(self.mask < 0.5, events)[:, None]
        kept = jnp.where(moves, 0, events.reshape(count, self.size, *batch))
        # Sums of products, no matrix products: a batch would be their innermost axis.
        squares = jnp.sum(kept * kept, axis=1)
        inside = kept * lax.rsqrt(1 + squares)[:, None]
        first, second = np.triu_indices(count, 1)
        inputs = [jnp.log1p(squares), jnp.sum(inside[first] * inside[second], axis=1)]
        if context is not None:
            context = across(context, events)
            inputs.append(jnp.broadcast_to(context, (len(context), *batch)))
        raw = self.conditioner(jnp.concatenate(inputs)).reshape(1 + count, count, 1, *batch)
        scale = jnp.where(moves, _bounded(raw[0], self.limit), 0)
        shift = jnp.where(moves, jnp.sum(raw[1:] * kept[:, None], axis=0), 0)
        scale = jnp.broadcast_to(scale, kept.shape)
        return scale.reshape(events.shape), shift.reshape(events.shape)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        scale, shift = self.scale_and_shift(z, context)
        return z * jnp.exp(scale) + shift, jnp.sum(scale, axis=0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        scale, shift = self.scale_and_shift(x, context)
        return (x - shift) * jnp.exp(-scale), -jnp.sum(scale, axis=0)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return _forward_and_score(self.scale_and_shift, z, score, context)


def _copy(subscripts: str, group: Array, values: Array) -> Array:
    """A product with matrices of few entries, to the last digit also on accelerators."""
    return jnp.einsum(subscripts, group, values, precision=lax.Precision.HIGHEST)


def _bounded(scale: Array, limit: float | None) -> Array:
    return scale if limit is None else limit * jnp.tanh(scale / limit)


def _forward_and_score(
    scale_and_shift: Callable, z: Array, score: Array, context: Array | None
) -> tuple[Array, Array, Array]:
    """``x = z exp(s) + t`` with the score carried along; ``s`` and ``t`` are zero where kept."""
    (scale, shift), pull = jax.vjp(lambda z: scale_and_shift(z, context), z)
    stretched = z * jnp.exp(scale)
    moved_score = score * jnp.exp(-scale)
    (kept_score,) = pull((moved_score * stretched + 1, moved_score))
    carried = lax.stop_gradient(moved_score - kept_score)
    return stretched + shift, jnp.sum(scale, axis=0), carried
