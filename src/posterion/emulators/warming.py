"""Starts of chains: networks trained by Adam, each from weights of its own."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.emulators.density import Data, Joint
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
def _log_prob(joint: Joint, theta: Array, data: Data) -> Array:
    return joint.log_prob(theta, data)


def warm_start(
    joint: Joint,
    start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    data: Data,
    *,
    epochs: int,
    batch: int,
    rate: float | int,
    seed: int,
) -> tuple[np.ndarray, list[float]]:
    """A network near a maximum of the density.

    Args:
        joint: the density of a vector.
        start: a vector, ``(dim,)``.
        x: rows, (n, inputs).
        y: their targets, (n, targets).
        data: the same in chunks.
        epochs: passes over the rows; the best network of their ends is taken.
        batch: rows a step.
        rate: learning rate at the start; it falls as a cosine.
        seed: of the order of rows.

    Returns:
        The vector, and minus the log-density a row after each epoch.
    """
    count = len(x)
    inputs = joint, jnp.asarray(x), jnp.asarray(y), jnp.asarray(float(count))

    def score(model: Vector) -> float:
        return -float(_log_prob(joint, model.theta, data)) / count

    model = Vector(jnp.asarray(start, jnp.float32))
    settings = {"epochs": epochs, "batch": batch, "rate": rate, "patience": epochs, "seed": seed}
    trained, scores = train_epochs(minibatch_loss, model, inputs, count, score, **settings)
    return np.asarray(trained.theta), scores
