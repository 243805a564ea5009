"""Mixtures of normals fitted to particles: starting bases of flows."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from posterion.distributions.flow import Flow
from posterion.distributions.mixture import NormalMixture
from posterion.training.objectives import mean_log_prob

Floats = NDArray[np.float64]

_AHEAD = 0.1  # nats: a ring's mixture is ahead by 0.4, a banana's or a funnel's behind


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
        # Without the cut products of tiny numbers become denormal, and slow.
        shares = np.where(shares > 1e-9, shares, 0.0)[:, shares.sum(0) > 0.5]
    return _mixture(*_moments(v, shares))


def parted(v: Floats, seed: int) -> tuple[Floats, Floats]:
    """Four fifths of the points to learn from, in random order, and the fifth that is held out."""
    shuffled = v[np.random.default_rng([seed, 5]).permutation(len(v))]
    held = len(v) // 5
    return shuffled[held:], shuffled[:held]


def predicts_better(v: Floats, flow: Flow, components: int, *, seed: int) -> bool:
    """Whether a mixture foretells the held-out points better than a flow trained on the others.

    So it is where the points surround a hole: a normal that is bent to a ring has a crack for good.
    """
    train, held = parted(v, seed)
    mixture = by_expectation_maximisation(train, components, seed=seed)
    points = jnp.asarray(held, jnp.float32)
    rival = float(jnp.mean(jax.vmap(mixture.log_prob)(points)))
    return rival > float(mean_log_prob(flow, points)) + _AHEAD


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
