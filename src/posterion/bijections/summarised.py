"""A bijection that sees what a network makes of its context."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array

from posterion.bijections.base import Bijection, Direction
from posterion.core.registry import register


@register("summarised")
class Summarised(Bijection):
    """``bijection`` under ``network(context)``, which is worked out once, for all of its layers.

    Args:
        bijection: its context is the summary.
        network: from a context, ``(width,)`` or ``(width, batch)``, to its summary.
        width: of the context.
    """

    bijection: Bijection
    network: eqx.Module
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, bijection: Bijection, network: eqx.Module, width: int):
        self.bijection = bijection
        self.network = network
        self.event_shape = bijection.event_shape
        self.context_shape = (width,)

    @property
    def fast(self) -> Direction:
        return self.bijection.fast

    @property
    def batch_last(self) -> bool:
        return self.bijection.batch_last

    def summary(self, context: Array | None) -> Array | None:
        """What the network makes of a context, or of a batch along a last axis."""
        network: Callable[[Any], Array] = self.network  # pyright: ignore[reportAssignmentType]
        return None if context is None else network(context)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.bijection.forward_and_log_det(z, self.summary(context))

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.bijection.inverse_and_log_det(x, self.summary(context))

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return self.bijection.forward_and_score(z, score, self.summary(context))

    def inverse_and_score(
        self, x: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return self.bijection.inverse_and_score(x, score, self.summary(context))
