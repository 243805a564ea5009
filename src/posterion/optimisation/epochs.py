"""Epochs over rows held in memory, with early stopping: for networks that other verbs need."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from posterion.optimisation.loop import Trained, cosine, run_segment, trainable

_STEPS = 200


def train_epochs(
    loss: Callable[..., Any],
    model: PyTree,
    inputs: PyTree,
    count: int,
    score: Callable[[Any], float],
    *,
    epochs: int,
    batch: int,
    rate: float | int,
    patience: int,
    seed: int,
) -> tuple[PyTree, list[float]]:
    """Adam on shuffled batches, the rate falling as a cosine; the model of the best score is kept.

    Args:
        loss: ``loss(model, inputs, key, row) -> (value, record)``; ``row["rows"]`` are the batch's.
        model: what is trained.
        inputs: passed on.
        count: number of rows.
        score: of a model, such as its loss on held-out rows; less is better.
        epochs: at most.
        batch: rows a step.
        rate: learning rate at the start.
        patience: epochs without a better score, after which training stops.
        seed: of the order.

    Returns:
        The model, and the score after each epoch.
    """
    params, fixed = trainable(model)
    state = Trained.start(params)
    batch = min(batch, count)
    each = count // batch
    rates = np.asarray(cosine(epochs * each, float(rate)))
    best, kept, scores = np.inf, params, []
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
            state, _ = run_segment(loss, state, fixed, inputs, key, number, schedule)
        scores.append(float(score(eqx.combine(state.params, fixed))))
        if scores[-1] < best:
            best, kept = scores[-1], state.params
        elif epoch - int(np.argmin(scores)) >= patience:
            break
    return eqx.combine(kept, fixed), scores
