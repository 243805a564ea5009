"""Another prior by weights, against the conjugate posterior under it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import SampleError, SettingError
from posterion.emulators import Gaussian, Hierarchical, Independent, emulate
from posterion.networks import mlp

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 2))
Y = X @ [0.8, -0.3] + 0.5 * RNG.normal(size=60)


@pytest.fixture(scope="module")
def emulator():
    """A linear network with draws of its conjugate posterior in place of a chain's."""
    made = emulate(
        X,
        Y,
        network=mlp(()),
        likelihood=Gaussian(0.7),
        prior=Independent(by_inputs=False),
        chains=1,
        draws=1,
        warmup=0,
        epochs=1,
        quiet=True,
        correction=0,
        test=0,
    )
    mean, covariance = posterior(made, 1.0)
    draws = RNG.multivariate_normal(mean, covariance, 4000).astype(np.float32)
    return replace(made, theta=draws[None])


def posterior(made, scale):
    x = made.inputs.scaled(X)
    y = made.targets.scaled(Y[:, None])[:, 0]
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)  # weights, then the bias
    precision = np.diag([1 / scale**2, 1 / scale**2, 1.0]) + design.T @ design / 0.7**2
    covariance = np.linalg.inv(precision)
    return covariance @ design.T @ y / 0.7**2, covariance


def test_the_networks_follow_the_posterior_of_the_other_prior(emulator):
    again = emulator.reweight(prior=Independent(scale=0.2, by_inputs=False), seed=1)
    mean, covariance = posterior(emulator, 0.2)
    before, _ = posterior(emulator, 1.0)
    found = again.networks.astype(float)
    error = np.sqrt(np.diag(covariance) / again.health.checks[0].value)
    assert np.abs((found.mean(0) - mean) / error).max() < 3.5
    assert np.abs((before - mean) / error).max() > 5  # the priors differ enough to tell
    assert again.prior.scale == 0.2 and again.networks.shape == emulator.networks.shape
    p = again.predict(X[:3])
    assert p.factors == {} and np.isfinite(p.mean).all()


def test_the_same_prior_changes_nothing(emulator):
    again = emulator.reweight(prior=emulator.prior)
    assert again.health.checks[0].value == pytest.approx(4000, rel=1e-6)
    np.testing.assert_array_equal(np.unique(again.networks, axis=0).shape, emulator.networks.shape)


def test_what_cannot_be_weighed_is_refused(emulator):
    with pytest.raises(SampleError, match="20 are needed"):
        emulator.reweight(prior=Independent(scale=0.005, by_inputs=False))
    with pytest.raises(SettingError, match="other hyperparameters"):
        emulator.reweight(prior=Hierarchical())
    with pytest.raises(SettingError, match="unknown prior"):
        emulator.reweight(prior="flat")
    assert jnp.isfinite(emulator.joint.log_prior(jnp.asarray(emulator.networks[0])))
