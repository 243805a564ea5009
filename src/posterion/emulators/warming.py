"""Starts of chains: networks trained by Adam, each from weights of its own."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.emulators.density import Data, Joint
from posterion.emulators.sharding import everywhere
from posterion.optimisation.epochs import train_epochs


class Vector(eqx.Module):
    """A network's vector, as what is trained."""

    theta: Array


def minibatch_loss(
    model: Vector, inputs: Any, key: Array, row: dict[str, Array]
) -> tuple[Array, Array]:
    """Minus the log-density of all rows, a row, as the rows of a batch tell."""
    joint, x, y, count = inputs
    rows = row["rows"]
    alone = Data(x[rows][None], y[rows][None], None)
    value = joint.log_likelihood(model.theta, alone) / len(rows)
    value = -value - joint.log_prior(model.theta) / count
    return value, value


@eqx.filter_jit
def _log_probs(joint: Joint, thetas: Array, data: Data) -> Array:
    return everywhere(data.mesh, lax.map(lambda theta: joint.log_prob(theta, data), thetas))


def warm_starts(
    joint: Joint,
    starts: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    data: Data,
    *,
    epochs: int,
    batch: int,
    rate: float | int,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Networks near maxima of the density, all trained at once on the same batches.

    Args:
        joint: the density of a vector.
        starts: vectors, ``(chains, dim)``.
        x: rows, (n, inputs).
        y: their targets, (n, targets).
        data: the same in chunks.
        epochs: passes over the rows; of each the best network of their ends is taken.
        batch: rows a step.
        rate: learning rate at the start; it falls as a cosine.
        seed: of the order of rows.
        on_epoch: called with the epochs done and the mean of the losses.

    Returns:
        The vectors, and minus the log-density a row after each epoch, ``(epochs, chains)``.
    """
    count = len(x)
    inputs = joint, jnp.asarray(x), jnp.asarray(y), jnp.asarray(float(count))

    def score(model: Vector) -> np.ndarray:
        return -np.asarray(_log_probs(joint, model.theta, data), float) / count

    trained, scores = train_epochs(
        minibatch_loss,
        Vector(jnp.asarray(starts, jnp.float32)),
        inputs,
        count,
        score,
        epochs=epochs,
        batch=batch,
        rate=rate,
        patience=epochs,
        seed=seed,
        together=True,
        on_epoch=on_epoch,
    )
    return np.asarray(trained.theta), scores
