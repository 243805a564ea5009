"""The two losses of a flow on a surface: where the surface is, and the density on it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.distributions.manifold import ManifoldFlow, projected, projected_log_probs
from posterion.training.losses import Batch, Inputs, Loss, row_by_row


@eqx.filter_jit
def _squares(flow: ManifoldFlow, v: Array, context: Array | None) -> Array:
    return jnp.sum((v - projected(flow, v, context)) ** 2, axis=1)


@eqx.filter_jit
def _project(flow: ManifoldFlow, v: Array, context: Array | None) -> Array:
    return projected(flow, v, context)


@eqx.filter_jit
def _densities(flow: ManifoldFlow, v: Array, context: Array | None) -> Array:
    return projected_log_probs(flow, v, context)


class Reconstruction(Loss):
    """Weighted mean squared distance from the surface: the first phase."""

    def value(self, flow: ManifoldFlow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        near = projected(flow, batch.v, batch.context)
        return jnp.mean(batch.weight * jnp.sum((batch.v - near) ** 2, axis=1))

    def costs(self, flow: ManifoldFlow, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        return row_by_row(_squares, flow, v, context)


class ProjectedLikelihood(Loss):
    """Minus the weighted mean log-density of the projections: the second, the surface at rest."""

    def value(self, flow: ManifoldFlow, batch: Batch, key: Array, inputs: Inputs) -> Array:
        return -jnp.mean(batch.weight * projected_log_probs(flow, batch.v, batch.context))

    def costs(self, flow: ManifoldFlow, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        return -row_by_row(_densities, flow, v, context)


def project_rows(flow: ManifoldFlow, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
    """The points of the surface that belong to rows, float32 ``(n, dim)``."""
    return row_by_row(_project, flow, v, context)
