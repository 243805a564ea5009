"""Simulation-based calibration of networks over their own prior (Talts et al., 1804.06788)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.diagnostics import calibration_of
from posterion.emulators import Gaussian, Independent, Nuts
from posterion.emulators.chains import walk_networks
from posterion.emulators.density import Joint, data_of, flat
from posterion.networks import mlp

SIGMA, ROWS, PAIRS, DRAWS, THIN = 0.3, 12, 120, 50, 4
PLACES = np.array([[-1.0], [0.2], [1.5]], np.float32)


@dataclass(frozen=True)
class Shrinking(Nuts):
    """Broken on purpose: every transition ends two per cent nearer to zero."""

    def move(self, density, key, state, tuning):
        state, info = super().move(density, key, state, tuning)
        return state._replace(position=0.98 * state.position), info


def calibration(kernel, seed):
    """Ranks of the true network's values and log-density among those of the chain's networks."""
    prior = Independent(scale=1.5)
    network = mlp((4,), "tanh").build(1, 1, key=jax.random.key(0))
    joint, start = Joint.of(network, prior, Gaussian(SIGMA), 1)
    values = jax.jit(lambda theta: joint.outputs(theta, jnp.asarray(PLACES))[:, 0])
    log_prob = jax.jit(joint.log_prob)
    rng = np.random.default_rng(seed)
    truths, draws, densities = [], [], ([], [])
    for pair in range(PAIRS):
        drawn = prior.sample(jax.random.fold_in(jax.random.key(seed), pair), joint.parts(start)[0])
        truth = flat(drawn)
        x = rng.uniform(-2, 2, (ROWS, 1)).astype(np.float32)
        clean = np.asarray(joint.outputs(truth, jnp.asarray(x)))
        data = data_of(x, clean + SIGMA * rng.normal(size=(ROWS, 1)))
        settings = {"draws": DRAWS, "warmup": 150, "thin": THIN, "seed": pair}
        found = walk_networks(joint, data, np.asarray(truth)[None], kernel, **settings)
        theta = jnp.asarray(found.theta[0])
        truths.append(np.asarray(values(truth)))
        draws.append(np.asarray(jax.vmap(values)(theta)))
        densities[0].append(float(log_prob(truth, data)))
        densities[1].append(np.asarray(jax.vmap(lambda t, d=data: log_prob(t, d))(theta)))
    pair = np.asarray(densities[0]), np.stack(densities[1])
    return calibration_of(np.stack(truths), np.stack(draws), log_prob=pair, alpha=0.01, seed=seed)


@pytest.mark.slow
def test_a_small_network_is_calibrated_over_its_own_prior():
    """A right sampler is rejected once in a hundred seeds (alpha = .01 over all quantities)."""
    assert calibration(Nuts(), 11).ok


@pytest.mark.slow
def test_a_sampler_broken_on_purpose_is_found_out():
    assert not calibration(Shrinking(), 11).ok
