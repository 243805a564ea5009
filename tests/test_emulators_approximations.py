"""Approximations against what they are exact for: a linear network's normal posterior."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.emulators import (
    DeepEnsemble,
    Gaussian,
    Independent,
    LastLayerLaplace,
    MeanField,
    Swag,
    emulate,
)
from posterion.emulators.approximations import APPROXIMATIONS, last_layer
from posterion.emulators.density import Joint, data_of
from posterion.networks import convolutional, mlp

SIGMA = 0.5
RNG = np.random.default_rng(4)
X = RNG.normal(size=(200, 3)).astype(np.float32)
Y = (X @ [[0.7], [-0.4], [0.2]] + 0.3 + SIGMA * RNG.normal(size=(200, 1))).astype(np.float32)
DESIGN = np.concatenate([X, np.ones((200, 1))], axis=1).astype(float)
PRECISION = np.eye(4) + DESIGN.T @ DESIGN / SIGMA**2
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ DESIGN.T @ Y[:, 0].astype(float) / SIGMA**2


def linear():
    network = mlp(()).build(3, 1, key=jax.random.key(0))
    return Joint.of(network, Independent(by_inputs=False), Gaussian(SIGMA), 1)[0]


def networks(how, draws=4000, start=MEAN, chunk=64):
    table = X, Y, data_of(X, Y, chunk=chunk)
    warmed = np.asarray(start, np.float32)[None]
    return how.networks(linear(), warmed, table, draws=draws, batch=50, seed=3)[0].astype(float)


def test_laplace_of_a_linear_network_is_its_posterior():
    found = networks(LastLayerLaplace())
    error = np.sqrt(np.diag(COVARIANCE) / 4000)
    assert np.abs((found.mean(0) - MEAN) / error).max() < 4
    np.testing.assert_allclose(np.cov(found.T), COVARIANCE, atol=0.08 * COVARIANCE.max())


def test_the_mean_field_has_the_posterior_s_conditional_spreads():
    """Of normals, the independent normal next to one (reverse KL) has 1 / its precisions."""
    found = networks(MeanField(epochs=400, rate=3e-3, start=0.03))
    spread = np.sqrt(1 / np.diag(PRECISION))
    np.testing.assert_allclose(found.std(0), spread, rtol=0.2)
    assert np.abs((found.mean(0) - MEAN) / np.sqrt(np.diag(COVARIANCE))).max() < 0.7


def test_swag_stays_about_the_optimum_with_the_spread_of_its_path():
    how = Swag(epochs=40, rate=5e-3, rank=10)
    found = networks(how)
    assert np.abs(found.mean(0) - MEAN).max() < 0.1
    path = how._path(linear(), MEAN.astype(np.float32), (X, Y, data_of(X, Y)), 50, 3)
    last = path[-10:] - path.mean(0)
    wanted = 0.5 * path.var(0) + 0.5 * (last**2).sum(0) / 9
    np.testing.assert_allclose(found.var(0), wanted, rtol=0.12)


def test_an_ensemble_is_its_members():
    warmed = RNG.normal(size=(5, 4)).astype(np.float32)
    table = X, Y, data_of(X, Y)
    found = DeepEnsemble().networks(linear(), warmed, table, draws=9, batch=50, seed=0)
    np.testing.assert_array_equal(found, warmed[:, None])


def test_the_last_layer_is_found():
    network = mlp((5,)).build(3, 2, key=jax.random.key(0))
    joint, start = Joint.of(network, Independent(), Gaussian(), 2)
    places = last_layer(joint)
    weights = joint.parts(start)[0]
    wanted = [np.ravel(weights.weights[-1]), np.ravel(weights.biases[-1])]
    np.testing.assert_array_equal(start[jnp.asarray(places)], np.concatenate(wanted))
    image = convolutional((1, 4), (2,), hidden=(3,)).build(4, 1, key=jax.random.key(0))
    assert last_layer(Joint.of(image, Independent(), Gaussian(), 1)[0]).size == 4
    other = eqx.nn.Linear(3, 1, key=jax.random.key(0))
    with pytest.raises(SettingError, match="last layer of Linear"):
        last_layer(Joint.of(other, Independent(), Gaussian(), 1)[0])


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_the_verb_takes_them_by_name(name):
    sampler = {"mean-field": MeanField(epochs=5), "swag": Swag(epochs=5, rank=3)}.get(name, name)
    found = emulate(
        X, Y, network=mlp((4,)), sampler=sampler, chains=3, draws=7, epochs=5, quiet=True
    )
    p = found.predict(X[:5])
    assert np.isfinite(p.sd).all() and (p.epistemic > 0).all()
    assert found.theta.shape[:2] == ((3, 1) if name == "ensemble" else (3, 7))
    assert not any("R-hat" in check.name for check in found.health.checks)


def test_unusable_settings_are_refused():
    with pytest.raises(SettingError, match="rank"):
        Swag(rank=1)
    with pytest.raises(SettingError, match="rate"):
        MeanField(rate=0.0)
