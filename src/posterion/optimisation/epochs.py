"""Epochs over rows held in memory, with early stopping: for networks that other verbs need."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from posterion.optimisation.loop import Trained, cosine, run_segment, run_segments, trainable

_STEPS = 200


def train_epochs(
    loss: Callable[..., Any],
    model: PyTree,
    inputs: PyTree,
    count: int,
    score: Callable[[Any], Any],
    *,
    epochs: int,
    batch: int,
    rate: float | int,
    patience: int,
    seed: int,
    together: bool = False,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[PyTree, np.ndarray]:
    """Adam on shuffled batches, the rate falling as a cosine; the model of the best score is kept.

    Args:
        loss: ``loss(model, inputs, key, row) -> (value, record)``; ``row["rows"]`` are the batch's.
        model: what is trained; with ``together`` several, their arrays stacked.
        inputs: passed on.
        count: number of rows.
        score: of a model, such as its loss on held-out rows; less is better. Of several an array.
        epochs: at most.
        batch: rows a step.
        rate: learning rate at the start.
        patience: epochs without a better score, after which training stops.
        seed: of the order.
        together: train several models in one program; each keeps its own best.
        on_epoch: called with the epochs done and the mean score.

    Returns:
        The model, and the score after each epoch: (epochs,), of several (epochs, models).
    """
    params, fixed = trainable(model)
    state = jax.vmap(Trained.start)(params) if together else Trained.start(params)
    run = run_segments if together else run_segment
    batch = min(batch, count)
    each = count // batch
    rates = np.asarray(cosine(epochs * each, float(rate)))
    best, kept, scores = np.asarray(np.inf), params, []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 13, epoch]).permutation(count)[: each * batch]
        rows = order.reshape(each, batch).astype(np.int32)
        first = epoch * each
        for start in range(0, each, _STEPS):
            piece = slice(start, start + _STEPS)
            schedule = {
                "rate": jnp.asarray(rates[first:][piece], jnp.float32)[: len(rows[piece])],
                "rows": jnp.asarray(rows[piece]),
            }
            number = jnp.asarray(first + start, jnp.int32)
            key = jax.random.key(seed)
            state, _ = run(loss, state, fixed, inputs, key, number, schedule)
        scores.append(np.asarray(score(eqx.combine(state.params, fixed)), float))
        better = np.asarray(scores[-1] < best)
        best, kept = np.where(better, scores[-1], best), _chosen(better, state.params, kept)
        if on_epoch is not None:
            on_epoch(epoch + 1, float(np.mean(scores[-1])))
        if np.all(epoch - np.argmin(scores, axis=0) >= patience):
            break
    return eqx.combine(kept, fixed), np.stack(scores)


def _chosen(better: np.ndarray, new: PyTree, old: PyTree) -> PyTree:
    """The new arrays where they are better, model by model."""

    def one(a: Any, b: Any) -> Any:
        return jnp.where(better.reshape(better.shape + (1,) * (a.ndim - better.ndim)), a, b)

    return jax.tree.map(one, new, old)
