"""The compiled loop: segments of steps as one scan, rates given at run time."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

_FIXED = (".mask", ".group", ".probes")


@lru_cache
def adam(clip: float | int = 1.0) -> optax.GradientTransformation:
    """Adam without its rate, the gradient's norm clipped; one object for each ``clip``."""
    return optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam())


class Trained(NamedTuple):
    """Parameters under training and the optimiser's memory of them.

    ``average`` is the moving average of the parameters, ``None`` where there is none.
    """

    params: PyTree
    memory: PyTree
    skipped: Array
    average: PyTree = None

    @classmethod
    def start(
        cls,
        params: PyTree,
        optimiser: optax.GradientTransformation | None = None,
        *,
        averaged: bool = False,
    ) -> "Trained":
        """The state before the first step; :func:`adam` by default."""
        memory = (optimiser or adam()).init(params)
        return cls(params, memory, jnp.zeros((), jnp.int32), params if averaged else None)


def update(
    state: Trained,
    gradient: PyTree,
    rate: Array,
    optimiser: optax.GradientTransformation | None = None,
    decay: Array | None = None,
) -> Trained:
    """One step at ``rate``; one with a gradient that is not finite is skipped, and counted.

    ``decay`` is that of the moving average, where the state has one.
    """
    usable = jnp.isfinite(optax.tree.norm(gradient))
    change, memory = (optimiser or adam()).update(gradient, state.memory, state.params)
    params = jax.tree.map(lambda p, c: p - rate * c, state.params, change)
    params, memory = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old), (params, memory), (state.params, state.memory)
    )
    average = state.average
    if average is not None and decay is not None:
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
    return Trained(params, memory, state.skipped + ~usable, average)


def trainable(model: eqx.Module, frozen: Callable[[Any], bool] | None = None) -> tuple[Any, Any]:
    """Splits a model into its trained arrays and the rest.

    Masks, groups, random probes and base distributions stay as they are; ``frozen`` says of a
    leaf's path (a string) whether it does too.
    """

    def learns(path, leaf) -> bool:
        name = jax.tree_util.keystr(path)
        if not eqx.is_inexact_array(leaf) or name.endswith(_FIXED) or name.startswith(".base"):
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
    optimiser: optax.GradientTransformation | None = None,
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
        schedule: arrays with a row per step, ``"rate"`` the learning rate, ``"decay"`` that of the
            moving average if there is one.
        optimiser: :func:`adam` by default; one and the same object, so that it compiles once.

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
        return update(state, gradient, row["rate"], optimiser, row.get("decay")), record

    numbers = start + jnp.arange(len(schedule["rate"]), dtype=jnp.int32)
    return jax.lax.scan(step, state, (numbers, schedule))


@partial(eqx.filter_jit)
def run_segments(
    loss: Callable[..., tuple[Array, Any]],
    states: Trained,
    fixed: PyTree,
    inputs: PyTree,
    key: Array,
    start: Array,
    schedule: dict[str, Array],
) -> tuple[Trained, Any]:
    """`run_segment` of several models in one program, their arrays stacked; rows are shared.

    Each is trained as if alone. Small batches of small networks spend their time on the way into a
    matrix product, not in it: several at once cost little more than one.
    """

    def one(state: Trained) -> tuple[Trained, Any]:
        return run_segment(loss, state, fixed, inputs, key, start, schedule)

    return jax.vmap(one)(states)


def cosine(steps: int, rate: float) -> Array:
    """Cosine decay from ``rate`` to zero."""
    return jnp.asarray(0.5 * rate * (1 + jnp.cos(jnp.pi * jnp.arange(steps) / max(steps, 1))))
