"""The losses as functions of a model, for the compiled loop."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from posterion.bijections.base import apply_batch
from posterion.distributions.bases import Product, Uniform
from posterion.distributions.flow import Flow
from posterion.distributions.mixture import NormalMixture
from posterion.networks.products import product
from posterion.targets.frame import Frame
from posterion.targets.target import Target
from posterion.training.divergences import Divergence

_NARROWED = 0.25  # of the widened share
FAR = 30  # dimensions: half of the values' weight
_FARTHEST = 3.0  # standard deviations of a base draw's squared norm


class PathObjective(eqx.Module):
    """A divergence by path gradients, at the flow's own draws and at wider ones.

    A share of each batch is drawn from the base widened by a factor. Where the flow fits, the path
    gradient vanishes at every point, so this moves no optimum; it carries the fit into the tails,
    where the flow's own draws hardly come. Without it the importance weights of a good fit are
    unbounded. A quarter of that share is drawn narrower instead: in many dimensions the maximum,
    from which profiles are counted, is as far from the flow's own draws as the tails. There the
    values count too, as squares of ``log p - log q`` (beyond 1, straight): gradients alone leave a
    slow drift. The factor is bounded where there are many coordinates, whose own draws lie in a
    thin shell.

    Attributes:
        target: the density.
        divergence: what is minimised.
        batch: draws a step, a density call each.
        widened: the share of them not drawn as the flow is.
        clip: largest weight, as a share of the batch.
        score_limit: largest norm of one draw's gradient.
    """

    target: Target = eqx.field(static=True)
    divergence: Divergence = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    widened: float | int = eqx.field(static=True)
    clip: float | int = eqx.field(static=True, default=0.1)
    score_limit: float | int = eqx.field(static=True, default=1e3)

    def __call__(
        self, flow: Flow, frame: Frame, key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        wide = jnp.arange(self.batch) < round(self.batch * self.widened)
        spread = jnp.where(wide, jnp.minimum(row["spread"], widest(frame.dim)), 1.0)
        narrowed = round(self.batch * self.widened * _NARROWED)
        narrow = jnp.arange(self.batch) < narrowed
        shrink = jax.random.uniform(jax.random.fold_in(key, 1), (self.batch,))
        spread = jnp.where(narrow, shrink, spread)
        z, base_log_prob, base_score = self._draw(flow, key, spread)
        x, log_det, score = apply_batch(flow.bijection.forward_and_score, z, base_score)
        points = lax.stop_gradient(x)
        value, density_score = self.target.value_and_score(frame, points)
        log_w = value - lax.stop_gradient(base_log_prob - log_det)
        usable = jnp.isfinite(log_w) & jnp.all(jnp.isfinite(density_score), axis=1)
        reached = jnp.all(jnp.isfinite(points), axis=1)
        own = usable & ~wide
        count = jnp.sum(~wide)
        log_own = jnp.where(own, log_w, -jnp.inf)
        log_z = jax.nn.logsumexp(log_own) - jnp.log(count)
        shifted = jnp.clip(log_w - log_z, -30.0, jnp.log(self.clip * self.batch))
        ess = jnp.exp(2 * jax.nn.logsumexp(log_own) - jax.nn.logsumexp(2 * log_own)) / count
        ess = jnp.where(jnp.isfinite(ess), ess, 0.0)
        coefficient = self.divergence.coefficient(shifted, jnp.clip(2 * ess, 0.0, 1.0))
        density_score = self._anneal(frame, points, density_score, row["beta"])
        pull = coefficient[:, None] * (lax.stop_gradient(score) - density_score)
        size = jnp.linalg.norm(pull, axis=1, keepdims=True)
        keep = usable[:, None] & jnp.isfinite(size)
        pull = jnp.where(keep, pull * jnp.minimum(1.0, self.score_limit / (size + 1e-30)), 0.0)
        pull, points = lax.stop_gradient((pull, points))
        moved = jnp.where(keep, x, 0.0)
        loss = jnp.mean(jnp.sum(pull * moved, axis=1))
        if narrowed:
            gap = jnp.where(narrow & keep[:, 0], jnp.clip(log_w - log_z, -1.0, 1.0), 0.0)
            gap = lax.stop_gradient(gap * jnp.clip(2 * ess - 1, 0.0, 1.0))
            # Minus the gradient of log q at a point that stays where it is.
            fixed = lax.stop_gradient(jnp.where(keep, score, 0.0))
            fall = jnp.where(keep[:, 0], log_det, 0.0) + jnp.sum(fixed * moved, axis=1)
            loss += self._distant(x) * jnp.sum(gap * fall) / narrowed
        record = {
            "loss": jnp.sum(jnp.where(own, -log_w, 0.0)) / jnp.maximum(jnp.sum(own), 1),
            "log_sum": jax.nn.logsumexp(log_own),
            "log_square": jax.nn.logsumexp(2 * log_own),
            # A point that is not finite itself says nothing of the density.
            "not_finite": jnp.sum((jnp.isnan(value) | (value == jnp.inf)) & reached),
            "excluded": jnp.sum((value == -jnp.inf) & reached),
        }
        return loss, record

    def _distant(self, x: Array) -> float:
        """Weight of the values: it grows with the nats from the draws to their maximum."""
        return x.shape[1] / (x.shape[1] + FAR)

    def _draw(self, flow: Flow, key: Array, spread: Array) -> tuple[Array, Array, Array]:
        base = flow.base
        shape = (self.batch,)
        if isinstance(base, NormalMixture):
            z, _ = base.sample_components(key, shape, spread[:, None])
        else:
            z, _ = base.sample_and_log_prob(key, shape)
            # Uniform circles are as wide as can be: only the line is widened.
            line = jnp.array([not flag for flag in flow_circular(flow)])
            z = jnp.where(line, z * spread[:, None], z)
        log_prob, score = jax.vmap(jax.value_and_grad(base.log_prob))(z)
        return lax.stop_gradient((z, log_prob, score))

    def _anneal(self, frame: Frame, points: Array, score: Array, beta: Array) -> Array:
        """Score of ``(1 - beta) log p0 + beta log p``, ``p0`` the reference measure."""
        lower = frame.whitening.lower.astype(points.dtype)
        u = frame.whitening.location.astype(points.dtype) + product(points, lower.T)
        reference = product(jnp.where(jnp.asarray(frame.circular), 0.0, -u), lower)
        return beta * score + (1 - beta) * reference


def widest(dim: int) -> float:
    """By how much draws of ``dim`` coordinates may be widened: to the edge of their own norms.

    The squared norm of a normal draw is ``dim``, give or take ``sqrt(2 dim)``.
    """
    return math.sqrt(1 + _FARTHEST * math.sqrt(2 / dim))


def flow_circular(flow: Flow) -> tuple[bool, ...]:
    """Which coordinates of a flow's base are on the circle."""
    base = flow.base
    if isinstance(base, Uniform):
        return (True,) * flow.event_shape[0]
    if isinstance(base, Product):
        flags = [False] * flow.event_shape[0]
        for part, index in zip(base.parts, base.indices, strict=True):
            for i in index:
                flags[i] = isinstance(part, Uniform)
        return tuple(flags)
    return (False,) * flow.event_shape[0]


class Likelihood(eqx.Module):
    """Minus the mean log-density of the flow at kept points: forward KL from samples."""

    batch: int = eqx.field(static=True)

    def __call__(
        self, flow: Flow, points: Array, key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        chosen = points[jax.random.randint(key, (self.batch,), 0, len(points))]
        loss = -jnp.mean(apply_batch(flow.log_prob, chosen))
        return loss, {"loss": loss}


class LogVariance(eqx.Module):
    """Variance of ``log p - log q`` at kept points, and their weighted log-likelihood.

    ``inputs`` are points, values and how many of them count. Needs values of the density, no
    gradient and no fresh calls; at ``q = p`` both its value and
    its variance vanish (Nuesken and Richter, 2005.05409).
    """

    batch: int = eqx.field(static=True)

    def __call__(
        self, flow: Flow, kept: tuple[Array, Array, Array], key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        points, values, count = kept
        chosen = jax.random.randint(key, (self.batch,), 0, count)
        log_q = apply_batch(flow.log_prob, points[chosen])
        log_w = values[chosen] - log_q
        centred = log_w - lax.stop_gradient(jnp.mean(log_w))
        # Huber: far points pull with a bounded force.
        size = jnp.abs(centred)
        variance = jnp.mean(jnp.where(size < 2.0, 0.5 * centred**2, 2.0 * size - 2.0))
        loss = row["variance"] * variance - (1 - row["variance"]) * jnp.mean(log_q)
        return loss, {"loss": loss}


@eqx.filter_jit
def mean_log_prob(flow: Flow, points: Array) -> Any:
    """Mean log-density of a flow at points; -inf where it is not finite."""
    value = jnp.mean(apply_batch(flow.log_prob, points))
    return jnp.where(jnp.isfinite(value), value, -jnp.inf)
