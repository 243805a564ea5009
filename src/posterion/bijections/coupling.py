"""Couplings: some coordinates are moved by amounts that depend on the others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, across
from posterion.bijections.elementwise import Transformer
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.networks.mlp import MLP


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
        key: random key; the conditioner's last layer starts at zero, the layer as the identity.

    Raises:
        SettingError: a periodic coordinate would be moved along a line, or the reverse.

    Source: Dinh et al., 1605.08803, equations 7 and 8.
    """

    mask: Array
    conditioner: MLP
    transformer: Transformer
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
        key: PRNGKeyArray,
    ):
        dim = mask.shape[-1]
        circles = transformer.circles(dim)
        self.periodic = _periodic(mask, circles, circles if periodic is None else periodic)
        self.mask = mask
        self.transformer = transformer
        self.conditioner = MLP(
            dim + sum(self.periodic or ()) + context_size,
            int(np.prod(transformer.parameter_shape(dim))),
            hidden,
            activation,
            key=key,
            zero_output=True,
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
            parts.append(jnp.broadcast_to(context, (*self.context_shape, *kept.shape[1:])))
        out = self.conditioner(parts[0] if len(parts) == 1 else jnp.concatenate(parts))
        return out.reshape(*self.transformer.parameter_shape(kept.shape[0]), *kept.shape[1:])

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        mask = across(lax.stop_gradient(self.mask), z)
        x, log_slope = self.transformer.forward(z, self.parameters(z * mask, context))
        return mask * z + (1 - mask) * x, jnp.sum((1 - mask) * log_slope, axis=0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        mask = across(lax.stop_gradient(self.mask), x)
        z, log_slope = self.transformer.inverse(x, self.parameters(x * mask, context))
        return mask * x + (1 - mask) * z, jnp.sum((1 - mask) * log_slope, axis=0)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        x, log_det = self.forward_and_log_det(z, context)
        fixed, z, context = lax.stop_gradient((self, z, context))
        mask = across(fixed.mask, z)
        moves = jnp.broadcast_to(1 - mask, z.shape)
        parameters, pull_kept = jax.vjp(lambda kept: fixed.parameters(kept, context), z * mask)
        # The map is element-wise: one tangent of ones gives d log_slope / dz of each coordinate.
        log_slope, bend = jax.jvp(
            lambda z: fixed.transformer.forward(z, parameters)[1], (z,), (jnp.ones_like(z),)
        )
        moved_score = moves * (score - bend) * jnp.exp(-log_slope)
        _, pull = jax.vjp(lambda parameters: fixed.transformer.forward(z, parameters), parameters)
        (kept_score,) = pull_kept(*pull((moved_score, moves)))
        return x, log_det, moved_score + mask * (score - kept_score)


def _periodic(mask: Array, circles: tuple, periodic: tuple) -> tuple[bool, ...] | None:
    """``periodic``, checked against how the transformer moves; ``None`` where nothing is."""
    periodic = tuple(bool(p) for p in periodic)
    if len(periodic) != len(circles):
        raise ShapeError(f"periodic has {len(periodic)} entries for {len(circles)} coordinates")
    for i, (circle, declared) in enumerate(zip(circles, periodic, strict=True)):
        if circle != declared and (isinstance(mask, jax.core.Tracer) or mask[i] != 1):
            raise SettingError(
                f"coordinate {i} is {'periodic' if declared else 'not periodic'}, but the "
                f"transformer moves it along a {'circle' if circle else 'line'}; use a "
                "MixedTransformer"
            )
    return periodic if any(periodic) else None
