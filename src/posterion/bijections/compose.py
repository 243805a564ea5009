"""Bijections made of bijections: a chain, a scan over stacked layers, the inverse."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from posterion.bijections.base import Bijection, Direction
from posterion.core.errors import ShapeError
from posterion.core.registry import register


@register("chain")
class Chain(Bijection):
    """Bijections one after the other; the first stands next to the base."""

    bijections: tuple[Bijection, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, bijections: Sequence[Bijection]):
        if not bijections:
            raise ShapeError("a Chain needs at least one bijection")
        shapes = {bijection.event_shape for bijection in bijections}
        contexts = {b.context_shape for b in bijections if b.context_shape is not None}
        if len(shapes) > 1 or len(contexts) > 1:
            raise ShapeError(f"chained bijections differ: events {shapes}, contexts {contexts}")
        self.bijections = tuple(bijections)
        self.event_shape = bijections[0].event_shape
        self.context_shape = contexts.pop() if contexts else None

    @property
    def fast(self) -> Direction:
        each: set[Direction] = {b.fast for b in self.bijections if b.fast != "both"}
        return each.pop() if len(each) == 1 else "both"

    @property
    def batch_last(self) -> bool:
        return all(bijection.batch_last for bijection in self.bijections)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        total = jnp.zeros(z.shape[1:], z.dtype)
        for bijection in self.bijections:
            z, log_det = bijection.forward_and_log_det(z, context)
            total = total + log_det
        return z, total

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        total = jnp.zeros(x.shape[1:], x.dtype)
        for bijection in reversed(self.bijections):
            x, log_det = bijection.inverse_and_log_det(x, context)
            total = total + log_det
        return x, total

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        total = jnp.zeros(z.shape[1:], z.dtype)
        for bijection in self.bijections:
            z, log_det, score = bijection.forward_and_score(z, score, context)
            total = total + log_det
        return z, total, score


@register("stack")
class Stack(Bijection):
    """Layers of one kind, their arrays stacked along a leading axis and scanned.

    Compiles in the time of one layer, whatever their number. Build with :meth:`of`.
    """

    layers: Bijection
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    @classmethod
    def of(cls, layers: Sequence[Bijection]) -> "Stack":
        """Stacks ``layers``, which must be of one structure."""
        structures = {jax.tree.structure(layer) for layer in layers}
        shapes = {tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(layer)) for layer in layers}
        if len(structures) != 1 or len(shapes) != 1:
            raise ShapeError(
                f"stacked layers need one structure and one set of shapes, got {len(structures)} "
                f"and {len(shapes)} of them; use a Chain"
            )
        return cls(jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers))

    def __init__(self, layers: Bijection):
        self.layers = layers
        self.event_shape = layers.event_shape
        self.context_shape = layers.context_shape

    @property
    def fast(self) -> Direction:
        return self.layers.fast

    @property
    def batch_last(self) -> bool:
        return self.layers.batch_last

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        def step(z, layer):
            return layer.forward_and_log_det(z, context)

        x, log_dets = lax.scan(step, z, self.layers)
        return x, jnp.sum(log_dets, axis=0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        def step(x, layer):
            return layer.inverse_and_log_det(x, context)

        z, log_dets = lax.scan(step, x, self.layers, reverse=True)
        return z, jnp.sum(log_dets, axis=0)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        def step(carry, layer):
            x, log_det, score = layer.forward_and_score(*carry, context)
            return (x, score), log_det

        (x, score), log_dets = lax.scan(step, (z, score), self.layers)
        return x, jnp.sum(log_dets, axis=0), score


@register("invert")
class Invert(Bijection):
    """A bijection with its two directions exchanged."""

    bijection: Bijection
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, bijection: Bijection):
        self.bijection = bijection
        self.event_shape = bijection.event_shape
        self.context_shape = bijection.context_shape

    @property
    def fast(self) -> Direction:
        turned: dict[Direction, Direction] = {"forward": "inverse", "inverse": "forward"}
        return turned.get(self.bijection.fast, "both")

    @property
    def batch_last(self) -> bool:
        return self.bijection.batch_last

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.bijection.inverse_and_log_det(z, context)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.bijection.forward_and_log_det(x, context)

    def forward_and_score(
        self, z: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return self.bijection.inverse_and_score(z, score, context)

    def inverse_and_score(
        self, x: Array, score: Array, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        return self.bijection.forward_and_score(x, score, context)
