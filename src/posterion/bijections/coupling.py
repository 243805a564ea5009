"""Couplings: some coordinates are moved by amounts that depend on the others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, across
from posterion.bijections.elementwise import Transformer
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.networks.perceptron import MLP


@register("coupling")
class Coupling(Bijection):
    """Moves the coordinates where ``mask`` is 0, conditioned on those where it is 1.

    The mask is an array, so couplings of different masks stack and scan.

    Args:
        mask: ``(dim,)``, 1 where a coordinate is kept.
        transformer: the element-wise map.
        hidden: widths of the conditioner's hidden layers.
        activation: name of its activation.
        context_size: width of the context, 0 for none.
        periodic: for each coordinate, whether it is an angle on ``[-pi, pi)``: where kept, the
            conditioner sees its cosine and sine. By default the circles of the transformer.
        residual: whether the conditioner's hidden layers add to the ones before.
        key: random key; the conditioner's last layer starts at zero, the layer as the identity.

    Raises:
        SettingError: a periodic coordinate would be moved along a line, or the reverse.

    Source: Dinh et al., 1605.08803, equations 7 and 8.
    """

    mask: Array
    conditioner: MLP
    transformer: Transformer
    slots: int = eqx.field(static=True)
    periodic: tuple[bool, ...] | None = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        mask: Array,
        transformer: Transformer,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        context_size: int = 0,
        periodic: tuple[bool, ...] | None = None,
        residual: bool = False,
        key: PRNGKeyArray,
    ):
        dim = mask.shape[-1]
        circles = transformer.circles(dim)
        self.periodic = _periodic(mask, circles, circles if periodic is None else periodic)
        self.mask = mask
        self.transformer = transformer
        self.slots = _slots(mask, transformer)
        self.conditioner = MLP(
            dim + sum(self.periodic or ()) + context_size,
            int(np.prod(transformer.parameter_shape(self.slots))),
            hidden,
            activation,
            key=key,
            zero_output=True,
            residual=residual,
        )
        self.event_shape = (dim,)
        self.context_shape = (context_size,) if context_size else None

    @property
    def batch_last(self) -> bool:
        return True

    def parameters(self, kept: Array, context: Array | None) -> Array:
        """The transformer's parameters, from the kept coordinates (zero where not kept)."""
        parts = [kept]
        if self.periodic is not None:
            flags = np.array(self.periodic)
            angles = kept[np.flatnonzero(flags)]
            parts = [kept[np.flatnonzero(~flags)], jnp.cos(angles), jnp.sin(angles)]
        if context is not None:
            context = across(context, kept)
            parts.append(jnp.broadcast_to(context, (*context.shape[:1], *kept.shape[1:])))
        out = self.conditioner(parts[0] if len(parts) == 1 else jnp.concatenate(parts))
        return out.reshape(*self.transformer.parameter_shape(self.slots), *kept.shape[1:])

    def _places(self, events: Array) -> tuple[Array, Array, Array, Array]:
        """Which coordinates move; by slot, its coordinate and whether that one moves; by
        coordinate, where it ends up among all the coordinates followed by the slots.
        """
        moves = self.mask < 0.5
        index = jnp.arange(moves.shape[0], dtype=jnp.int32)
        order, rank, used = index, index, moves
        if self.transformer.uniform:
            rank = jnp.cumsum(moves, dtype=jnp.int32) - 1
            here = moves & (rank == index[: self.slots, None])
            order = jnp.sum(jnp.where(here, index, 0), axis=1, dtype=jnp.int32)
            used = jnp.any(here, axis=1)
        found = jnp.where(moves, index.shape[0] + rank, index)
        return across(moves, events), order, across(used, events), found

    def _apply(self, method, events: Array, context: Array | None) -> tuple[Array, Array]:
        moves, order, used, found = self._places(events)
        parameters = self.parameters(jnp.where(moves, 0, events), context)
        moved, log_slope = method(_take(events, order), parameters)
        log_det = jnp.sum(jnp.where(used, log_slope, 0), axis=0)
        return _take(jnp.concatenate([events, moved]), found), log_det

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._apply(self.transformer.forward, z, context)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._apply(self.transformer.inverse, x, context)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        moves, order, used, found = self._places(z)
        kept, z_moved = jnp.where(moves, 0, z), _take(z, order)
        parameters, pull_kept = jax.vjp(lambda kept: self.parameters(kept, context), kept)

        def move(parameters):
            # The map is element-wise: one tangent of ones gives d log_slope / dz of each.
            forward = lambda z: self.transformer.forward(z, parameters)  # noqa: E731
            out, (_, bend) = jax.jvp(forward, (z_moved,), (jnp.ones_like(z_moved),))
            return out, bend

        (moved, log_slope), pull, bend = jax.vjp(move, parameters, has_aux=True)
        log_det = jnp.sum(jnp.where(used, log_slope, 0), axis=0)
        moved_score = jnp.where(used, (_take(score, order) - bend) * jnp.exp(-log_slope), 0)
        by_slope = jnp.broadcast_to(used, moved.shape).astype(moved.dtype)
        (kept_score,) = pull_kept(*pull((moved_score, by_slope)))
        score = _take(jnp.concatenate([score - kept_score, moved_score]), found)
        return _take(jnp.concatenate([z, moved]), found), log_det, lax.stop_gradient(score)


def _take(rows: Array, index: Array) -> Array:
    return rows.at[index].get(mode="promise_in_bounds")


def _is_concrete(mask: Array) -> bool:
    return not isinstance(mask, Tracer)


def _slots(mask: Array, transformer: Transformer) -> int:
    """How many coordinates the transformer is given: half of all, for any mask that moves as many
    or fewer, so that layers of complementary masks have one shape.
    """
    dim = mask.shape[-1]
    if not transformer.uniform or not _is_concrete(mask):
        return dim
    return max((dim + 1) // 2, int(jnp.sum(mask < 0.5)))


def _periodic(mask: Array, circles: tuple, periodic: tuple) -> tuple[bool, ...] | None:
    """``periodic``, checked against how the transformer moves; ``None`` where nothing is."""
    periodic = tuple(bool(p) for p in periodic)
    if len(periodic) != len(circles):
        raise ShapeError(f"periodic has {len(periodic)} entries for {len(circles)} coordinates")
    for i, (circle, declared) in enumerate(zip(circles, periodic, strict=True)):
        if circle != declared and (not _is_concrete(mask) or mask[i] != 1):
            raise SettingError(
                f"coordinate {i} is {'periodic' if declared else 'not periodic'}, but the "
                f"transformer moves it along a {'circle' if circle else 'line'}; use a "
                "MixedTransformer"
            )
    return periodic if any(periodic) else None
