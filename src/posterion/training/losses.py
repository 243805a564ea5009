"""Losses of a fit: functions of a flow and of a batch of samples, for the compiled loop.

``inputs`` hold ``v`` (n, dim), ``context`` (n, width) and ``weight`` (n,); ``row["rows"]`` says
which of them make the batch.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import enable_x64, lax
from jaxtyping import Array

from posterion.bijections.base import apply_batch
from posterion.bijections.continuous import Continuous, flow_matching_errors, flow_matching_loss
from posterion.core.cores import chunks
from posterion.core.errors import SettingError
from posterion.distributions.adversarial import ConditionalGan
from posterion.distributions.flow import Flow
from posterion.distributions.manifold import ManifoldFlow
from posterion.distributions.summarising import see_through
from posterion.optimisation import adam
from posterion.targets.target import Target, pad_rows

_CHUNK = 16384
_REPEATS = 8
_SHARE = 10.0  # of the variance beside the likelihood

Inputs = dict[str, Any]

Learnable = Flow | ManifoldFlow | ConditionalGan
"""What a fit can learn."""


class Batch(NamedTuple):
    """Coordinates (n, dim), conditions (n, width) or ``None``, weights (n,) of mean about 1."""

    v: Array
    context: Array | None
    weight: Array


class Loss(eqx.Module):
    """What a fit minimises; a frozen record of settings, so that it compiles once."""

    @abstractmethod
    def value(self, flow: Any, batch: Batch, key: Array, inputs: Inputs) -> Array:
        """The loss of a batch."""

    def costs(self, flow: Any, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """What each held-out row costs, ``(n,)``: their mean decides when to stop."""
        return -log_probs(flow, v, context)

    @property
    def score(self) -> str:
        """What a report calls the mean over rows: of the log-density, or of the costs."""
        return "log-density"

    def defaults(self, rows: int) -> dict[str, Any]:
        """Settings by which it is best minimised over so many rows, where none are asked for."""
        return {"batch": 512, "average": 0.0}

    def optimiser(self, clip: float | int) -> optax.GradientTransformation:
        """What makes steps of gradients, one object for each ``clip``; without the rate."""
        return adam(clip)

    def refresh(self, flow: Any, fed: Any, epoch: int, seed: int) -> Inputs | None:
        """Further inputs from this epoch on, always of one structure; ``None``: as they are."""
        return None

    def __call__(
        self, flow: Any, inputs: Inputs, key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        batch = take(inputs, row["rows"])
        loss = self.value(flow, batch, key, inputs)
        return loss, {"loss": loss}


def take(inputs: Inputs, rows: Array) -> Batch:
    """Some rows of the inputs."""
    context = inputs["context"][rows] if inputs["context"].shape[1] else None
    return Batch(inputs["v"][rows], context, inputs["weight"][rows])


class NegativeLogLikelihood(Loss):
    """Minus the weighted mean log-density."""

    def value(self, flow: Flow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        log_prob = apply_batch(flow.log_prob, batch.v, context=batch.context)
        return -jnp.mean(batch.weight * log_prob)


class SamplesAndDensity(Loss):
    """Samples and the density that they are of: how much ``log p - log q`` varies over them.

    At the truth it does not vary at all, so that nothing is learned by heart where the density is
    known: ``-mean(log q) + 10 log(1 + variance / 2)``. The likelihood beside it forbids what a
    variance over samples cannot see: weight of the flow where there are none.
    """

    target: Target = eqx.field(static=True)

    def value(self, flow: Flow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        log_q = apply_batch(flow.log_prob, batch.v)
        with enable_x64(True):
            log_p = self.target.in_frame(inputs["frame"], batch.v.astype(jnp.float64))
            log_p = lax.stop_gradient((log_p - jnp.mean(log_p)).astype(jnp.float32))
        weight = batch.weight / jnp.mean(batch.weight)
        gap = log_p - log_q
        variance = jnp.mean(weight * (gap - jnp.mean(weight * gap)) ** 2)
        return _SHARE * jnp.log1p(variance / 2) - jnp.mean(batch.weight * log_q)


class FlowMatching(Loss):
    """The velocity of a continuous flow regressed on straight lines (Lipman et al. 2210.02747).

    Held-out rows cost what they miss by, over the same few draws and times in every epoch.
    """

    def value(self, flow: Flow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        inner, noise = jax.random.split(key)
        z = flow.base.sample(noise, batch.v.shape[:1])
        flow, context = see_through(flow, batch.context)
        return flow_matching_loss(
            continuous_of(flow), z, batch.v, inner, context=context, weights=batch.weight
        )

    def costs(self, flow: Any, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        return row_by_row(_mismatches, flow, v, context)


@eqx.filter_jit
def _mismatches(flow: Flow, v: Array, context: Array | None) -> Array:
    flow, context = see_through(flow, context)

    def once(key: Array) -> Array:
        inner, noise = jax.random.split(key)
        z = flow.base.sample(noise, v.shape[:1])
        return flow_matching_errors(continuous_of(flow), z, v, inner, context)

    return jnp.mean(lax.map(once, jax.random.split(jax.random.key(0), _REPEATS)), axis=0)


def continuous_of(flow: Flow) -> Continuous:
    """The one continuous bijection that a flow consists of.

    Raises:
        SettingError: it is of another kind.
    """
    bijection: Any = see_through(flow)[0].bijection
    while len(getattr(bijection, "bijections", ())) == 1:
        bijection = bijection.bijections[0]
    if not isinstance(bijection, Continuous):
        raise SettingError(
            f"flow matching is for continuous flows, not for a {type(bijection).__name__}: build "
            "one with posterion.flows.continuous, or use another loss"
        )
    return bijection


@eqx.filter_jit
def _log_probs(flow: Flow | ManifoldFlow, v: Array, context: Array | None) -> Array:
    return apply_batch(flow.log_prob, v, context=context)


def log_probs(flow: Any, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
    """Log-densities of rows on the host, float64 ``(n,)``.

    Args:
        flow: in the frame's coordinates.
        v: ``(n, dim)``, float32.
        context: ``(n, width)``, float32, or ``None``.
    """
    return row_by_row(_log_probs, flow, v, context)


def row_by_row(
    function: Callable[[Any, Array, Array | None], Array],
    flow: Any,
    v: np.ndarray,
    context: np.ndarray | None,
) -> np.ndarray:
    """``function(flow, v, context)`` of all rows, float64, in chunks of one shape."""
    out = []
    for _, start, stop in chunks(len(v), _CHUNK):
        piece = v[start:stop]
        rows = None if context is None else pad_rows(context[start:stop], _CHUNK)
        given = None if rows is None else jnp.asarray(rows)
        found = function(flow, jnp.asarray(pad_rows(piece, _CHUNK)), given)
        out.append(np.asarray(found, np.float64)[: len(piece)])
    return np.concatenate(out) if out else np.empty(0)
