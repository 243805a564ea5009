"""Mixtures of normals fitted to particles: starting bases of flows."""

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from posterion.distributions.mixture import NormalMixture

Floats = NDArray[np.float64]


def by_labels(v: Floats, labels: NDArray[np.intp]) -> NormalMixture:
    """One normal for each label, with its share, mean and covariance; ``v`` is ``(n, dim)``."""
    shares = np.eye(labels.max() + 1)[labels]
    return _mixture(*_moments(v, shares))


def by_expectation_maximisation(
    v: Floats, components: int, *, seed: int, rounds: int = 60
) -> NormalMixture:
    """Full covariances by expectation maximisation, from k-means++ centres."""
    _, labels = kmeans2(v, components, rng=np.random.default_rng(seed), minit="++")
    shares = np.eye(components)[labels]
    shares = shares[:, shares.sum(0) > 0]
    for _ in range(rounds):
        weights, means, lowers = _moments(v, shares)
        each = np.log(weights) + np.stack(
            [_log_normal(v, m, low) for m, low in zip(means, lowers, strict=True)], axis=1
        )
        shares = np.exp(each - logsumexp(each, axis=1, keepdims=True))
        shares = shares[:, shares.sum(0) > 0.5]
    return _mixture(*_moments(v, shares))


def _moments(v: Floats, shares: Floats) -> tuple[Floats, Floats, Floats]:
    dim = v.shape[1]
    counts = shares.sum(0)
    means = (shares.T @ v) / counts[:, None]
    whole = np.cov(v.T).reshape(dim, dim)
    lowers = []
    for k, mean in enumerate(means):
        centred = v - mean
        covariance = (shares[:, k, None] * centred).T @ centred / counts[k]
        shrink = dim / (dim + counts[k])
        smooth = np.diag(np.diag(covariance)) + 1e-3 * np.diag(np.diag(whole))
        covariance = (1 - shrink) * covariance + shrink * smooth + 1e-6 * np.diag(np.diag(whole))
        lowers.append(np.linalg.cholesky(covariance))
    return counts / counts.sum(), means, np.stack(lowers)


def _log_normal(v: Floats, mean: Floats, lower: Floats) -> Floats:
    z = solve_triangular(lower, (v - mean).T, lower=True)
    log_det = np.log(np.diag(lower)).sum()
    return -0.5 * (z * z).sum(0) - log_det - 0.5 * len(mean) * np.log(2 * np.pi)


def _mixture(weights: Floats, means: Floats, lowers: Floats) -> NormalMixture:
    return NormalMixture(
        jnp.asarray(np.log(weights), jnp.float32),
        jnp.asarray(means, jnp.float32),
        jnp.asarray(lowers, jnp.float32),
    )
