"""The compiled loop: segments of steps as one scan, rates given at run time."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

_ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


class Trained(NamedTuple):
    """Parameters under training and the optimiser's memory of them."""

    params: PyTree
    memory: PyTree
    skipped: Array

    @classmethod
    def start(cls, params: PyTree) -> "Trained":
        """The state before the first step."""
        return cls(params, _ADAM.init(params), jnp.zeros((), jnp.int32))


def update(state: Trained, gradient: PyTree, rate: Array) -> Trained:
    """One step of Adam at ``rate``, the norm clipped; a gradient that is not finite is skipped."""
    usable = jnp.isfinite(optax.tree.norm(gradient))
    change, memory = _ADAM.update(gradient, state.memory)
    params = jax.tree.map(lambda p, c: p - rate * c, state.params, change)
    params, memory = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old), (params, memory), (state.params, state.memory)
    )
    return Trained(params, memory, state.skipped + ~usable)


def trainable(model: eqx.Module, frozen: Callable[[Any], bool] | None = None) -> tuple[Any, Any]:
    """Splits a model into its trained arrays and the rest.

    Masks and base distributions stay as they are; ``frozen`` says of a leaf's path (a string)
    whether it does too.
    """

    def learns(path, leaf) -> bool:
        name = jax.tree_util.keystr(path)
        if not eqx.is_inexact_array(leaf) or name.endswith(".mask") or name.startswith(".base"):
            return False
        return frozen is None or not frozen(name)

    return eqx.partition(model, jax.tree_util.tree_map_with_path(learns, model))


@partial(eqx.filter_jit)
def run_segment(
    loss: Callable[..., tuple[Array, Any]],
    state: Trained,
    fixed: PyTree,
    inputs: PyTree,
    key: Array,
    start: Array,
    schedule: dict[str, Array],
) -> tuple[Trained, Any]:
    """One compiled segment: as many steps as ``schedule`` has rows.

    Args:
        loss: ``loss(model, inputs, key, row) -> (value, record)``; a module-level function or a
            hashable object, so that it compiles once.
        state: parameters and memory.
        fixed: the rest of the model.
        inputs: passed on.
        key: each step folds its number into it.
        start: number of the first step.
        schedule: arrays with a row per step, ``"rate"`` the learning rate.

    Returns:
        The state after, and the records stacked.
    """

    def objective(params, key, row):
        return loss(eqx.combine(params, fixed), inputs, key, row)

    def step(state, row):
        number, row = row
        gradient, record = jax.grad(objective, has_aux=True)(
            state.params, jax.random.fold_in(key, number), row
        )
        return update(state, gradient, row["rate"]), record

    numbers = start + jnp.arange(len(schedule["rate"]), dtype=jnp.int32)
    return jax.lax.scan(step, state, (numbers, schedule))


def cosine(steps: int, rate: float) -> Array:
    """Cosine decay from ``rate`` to zero."""
    return jnp.asarray(0.5 * rate * (1 + jnp.cos(jnp.pi * jnp.arange(steps) / max(steps, 1))))
