"""Networks without a hidden layer, whose posteriors are known, and chains of them."""

import jax
import numpy as np
from scipy import stats

from posterion.emulators.chains import walk_networks
from posterion.emulators.density import Joint, data_of
from posterion.emulators.likelihoods import Gaussian
from posterion.emulators.priors import Independent
from posterion.networks import mlp

SIGMA = 0.5
WIDTH = 0.5  # of the prior of the noise, where it is learned
THREE_SIGMA = 2 * stats.norm.sf(3)  # 0.0027
RNG = np.random.default_rng(4)
X = RNG.normal(size=(40, 3)) * [1.0, 0.5, 2.0]
Y = X @ [[0.7], [-0.4], [0.2]] + 0.3 + SIGMA * RNG.normal(size=(40, 1))
DESIGN = np.concatenate([X, np.ones((len(X), 1))], axis=1)


def linear(learned_noise=False):
    """The density and a vector; weights and bias have standard normal priors."""
    network = mlp(()).build(3, 1, key=jax.random.key(0))
    noise = Gaussian(None, WIDTH) if learned_noise else Gaussian(SIGMA)
    joint, start = Joint.of(network, Independent(by_inputs=False), noise, 1)
    return joint, np.asarray(start)


def _given(sigma):
    covariance = np.linalg.inv(np.eye(4) + DESIGN.T @ DESIGN / sigma**2)
    return covariance @ DESIGN.T @ Y[:, 0] / sigma**2, covariance


def truth(learned_noise=False):
    """Mean and covariance of the posterior: conjugate, and averaged over the noise."""
    if not learned_noise:
        return _given(SIGMA)
    logs = np.linspace(-2, 1, 3001)
    sigmas = np.exp(logs)
    inner = DESIGN @ DESIGN.T
    weight = np.array(
        [
            stats.multivariate_normal(np.zeros(40), inner + s**2 * np.eye(40)).logpdf(Y[:, 0])
            for s in sigmas[::10]
        ]
    )
    weight = np.interp(logs, logs[::10], weight)
    weight = np.exp(weight - weight.max()) * stats.halfcauchy(scale=WIDTH).pdf(sigmas) * sigmas
    weight /= weight.sum()
    parts = [_given(s) for s in sigmas]
    means = np.stack([np.append(mean, log) for (mean, _), log in zip(parts, logs, strict=True)])
    mean = weight @ means
    covariance = np.einsum("s,si,sj->ij", weight, means - mean, means - mean)
    covariance[:4, :4] += np.einsum("s,sij->ij", weight, np.stack([c for _, c in parts]))
    return mean, covariance


def walked(kernel, *, learned_noise=False, draws=1500, warmup=600, chains=4, seed=0, **settings):
    joint, start = linear(learned_noise)
    starts = start + 0.3 * np.random.default_rng(1).normal(size=(chains, joint.dim))
    given = {"draws": draws, "warmup": warmup, "seed": seed} | settings
    return walk_networks(joint, data_of(X, Y), starts.astype(np.float32), kernel, **given)


def chances(theta, learned_noise=False):
    """Of means and of second moments at least as far from the truth as these, by chance alone.

    Each is one number for all of them together: Hotelling's test of the means over batches, ten a
    chain, which must be much longer than the chain remembers; their own spread is the Monte Carlo
    error. Second moments are about the true mean. Chance goes below `THREE_SIGMA` as seldom as a
    normal number goes beyond three of its errors.
    """
    mean, covariance = truth(learned_noise)
    dim = len(mean)
    shift = theta.reshape(theta.shape[0] * 10, -1, dim).astype(np.float64) - mean
    products = np.einsum("bni,bnj->bij", shift, shift) / shift.shape[1] - covariance
    upper = np.triu_indices(dim)
    return _hotelling(shift.mean(axis=1)), _hotelling(products[:, *upper])


def _hotelling(batches):
    """Chance of means at least as far from zero, given independent normal rows."""
    n, dim = batches.shape
    mean, covariance = batches.mean(axis=0), np.cov(batches.T)
    square = n * mean @ np.linalg.solve(covariance, mean)
    return stats.f.sf(square * (n - dim) / (dim * (n - 1)), dim, n - dim)


def widened(theta, factor, learned_noise=False):
    """The draws with their variances, about the true mean, times a factor."""
    mean, _ = truth(learned_noise)
    return mean + factor**0.5 * (theta - mean)


def shifted(theta, share, learned_noise=False):
    """The draws moved in each direction by a share of its spread."""
    _, covariance = truth(learned_noise)
    return theta + share * np.sqrt(np.diag(covariance))
