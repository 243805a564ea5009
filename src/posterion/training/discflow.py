"""DiscFlow: a classifier says where the flow misses the samples, and these rows weigh more."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.distributions.flow import Flow
from posterion.networks.perceptron import MLP
from posterion.training.classifier import classify
from posterion.training.losses import Batch, Inputs, Loss, NegativeLogLikelihood

_HIDDEN = (64, 64)
_EPOCHS = 10
_LARGEST = 5.0  # of a log-ratio: a classifier knows no more


class Ratio(eqx.Module):
    """A calibrated classifier as the compiled loop takes it: ``log(p/q)`` of rows."""

    network: MLP
    location: Array
    scale: Array
    slope: Array
    offset: Array

    def __call__(self, rows: Array) -> Array:
        logit = self.network(((rows - self.location) / self.scale).T)[0]
        return jnp.clip(self.offset + self.slope * logit, -_LARGEST, _LARGEST)


class DiscFlow(Loss):
    """``-sum w^alpha log q`` with ``w = D/(1-D)`` of a classifier of samples and draws.

    The classifier is trained anew every few epochs on draws of the flow as it is then; where the
    two agree all weights are 1, so the minimum is that of the likelihood. Until the first one it is
    the likelihood.

    Args:
        alpha: power of the weights; 0 is the likelihood.
        every: epochs between two classifiers.
        rows: of samples, and as many draws, that a classifier sees.

    Raises:
        SettingError: ``alpha`` is negative, or a number is not positive.

    Source: Butter et al., 2110.13632.
    """

    alpha: float = eqx.field(static=True)
    every: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)

    def __init__(self, alpha: float | int = 0.5, every: int = 5, rows: int = 50_000):
        if not alpha >= 0 or every < 1 or rows < 40:
            raise SettingError(
                f"DiscFlow needs alpha >= 0, every >= 1 and 40 rows, got {alpha}, {every}, {rows}"
            )
        self.alpha, self.every, self.rows = float(alpha), every, rows

    def value(self, flow: Flow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        rows = batch.v if batch.context is None else jnp.hstack([batch.v, batch.context])
        ratio: Ratio = lax.stop_gradient(inputs["ratio"])
        weight = batch.weight * jnp.exp(self.alpha * ratio(rows))
        plain = NegativeLogLikelihood()
        return plain.value(flow, Batch(batch.v, batch.context, weight), key, inputs)

    def refresh(self, flow: Flow, fed: Any, epoch: int, seed: int) -> Inputs | None:
        if epoch % self.every:
            return None
        kept = fed.trained_on(self.rows)
        samples = np.hstack([kept["v"], kept["context"]])
        width = samples.shape[1]
        if epoch == 0:
            blank = MLP(width, 1, _HIDDEN, key=jax.random.key(seed), zero_output=True)
            one = jnp.ones(width)
            return {"ratio": Ratio(blank, one, one, jnp.ones(()), jnp.zeros(()))}
        context = jnp.asarray(kept["context"]) if flow.context_shape is not None else None
        drawn = _drawn(
            flow, jax.random.fold_in(jax.random.key(seed + 41), epoch), len(samples), context
        )
        rows = np.hstack([np.asarray(drawn), kept["context"]])
        fine = np.isfinite(rows).all(axis=1)
        found = classify(
            samples,
            rows[fine],
            weights_first=kept["weight"],
            weights_second=kept["weight"][fine] if context is not None else None,
            hidden=_HIDDEN,
            epochs=_EPOCHS,
            seed=seed + epoch,
        )
        numbers = (found.location, found.scale, found.slope, found.offset)
        return {"ratio": Ratio(found.network, *(jnp.asarray(n, jnp.float32) for n in numbers))}


@eqx.filter_jit
def _drawn(flow: Flow, key: Array, count: int, context: Array | None) -> Array:
    return flow.sample(key, (count,), context)
