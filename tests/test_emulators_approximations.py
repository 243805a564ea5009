"""Approximations against what they are exact for: a linear network's normal posterior."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.core.status import Status
from posterion.emulators import (
    ConcreteDropout,
    DeepEnsemble,
    Flipout,
    Gaussian,
    Hierarchical,
    Independent,
    LastLayerLaplace,
    MeanField,
    Swag,
    emulate,
)
from posterion.emulators.approximations import APPROXIMATIONS, last_layer
from posterion.emulators.density import Joint, data_of
from posterion.emulators.dropout import Masked, masked, regulariser, relaxed_mask
from posterion.emulators.variational import _decorrelated, _Field, _shared, flipped
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


@pytest.mark.parametrize("family", [MeanField, Flipout])
def test_the_mean_field_has_the_posterior_s_conditional_spreads(family):
    """Of normals, the independent normal next to one (reverse KL) has 1 / its precisions."""
    found = networks(family(epochs=400, rate=3e-3, start=0.03))
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
    quick = {"mean-field": MeanField(epochs=5), "swag": Swag(epochs=5, rank=3)}
    quick |= {"flipout": Flipout(epochs=5), "concrete-dropout": ConcreteDropout(epochs=5)}
    sampler = quick.get(name, name)
    found = emulate(
        X, Y, network=mlp((4,)), sampler=sampler, chains=3, draws=7, epochs=5, quiet=True
    )
    p = found.predict(X[:5])
    assert np.isfinite(p.sd).all() and (p.epistemic > 0).all()
    assert found.theta.shape[:2] == ((3, 1) if name == "ensemble" else (3, 7))
    assert not any("R-hat" in check.name for check in found.health.checks)


def test_a_calibrated_ensemble_says_nothing_of_chains_that_it_has_not():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 2))
    y = x @ [1.0, -0.5] + 0.1 * rng.normal(size=3000)
    settings = {"network": mlp(()), "sampler": "ensemble", "epochs": 40, "rate": 0.05}
    found = emulate(x, y, correction=0.2, test=0.2, quiet=True, **settings)
    assert found.status is Status.calibrated
    said = " ".join(str(found).split())
    assert "Rows that the networks never saw lie within the error bars" in said
    assert "The chains agree" not in said and "chains, where there are any, agree" in said


def test_unusable_settings_are_refused():
    with pytest.raises(SettingError, match="rank"):
        Swag(rank=1)
    with pytest.raises(SettingError, match="rate"):
        MeanField(rate=0.0)
    with pytest.raises(SettingError, match="between 0 and 1"):
        ConcreteDropout(start=1.0)
    other = eqx.nn.Linear(3, 1, key=jax.random.key(0))
    for how, said in ((Flipout(), "flipout"), (ConcreteDropout(), "dropout")):
        with pytest.raises(SettingError, match=f"{said} of Linear"):
            emulate(X, Y, network=other, sampler=how, chains=1, epochs=1, quiet=True)


# Flipout ------------------------------------------------------------------------------------------


def test_flipped_rows_have_the_stated_mean_and_spread_and_are_independent():
    """Of a linear network: var = sum (x sigma)^2; the rows of a shared draw are correlated."""
    joint, keys = linear(), jax.random.split(jax.random.key(1), 20_000)
    mean, sigma = jnp.asarray([0.5, -1.0, 2.0, 0.3]), jnp.asarray([0.3, 0.2, 0.1, 0.4])
    x = jnp.asarray(X[:3])

    def change(key):
        return sigma * jax.random.normal(key, (4,))

    def apart(key):
        return flipped(joint, mean, change(key), jax.random.fold_in(key, 1), x)[:, 0]

    found = np.asarray(jax.vmap(apart)(keys))
    together = np.asarray(jax.vmap(lambda k: joint.outputs(mean + change(k), x)[:, 0])(keys))
    design = DESIGN[:3]
    variance = design**2 @ np.asarray(sigma, float) ** 2
    error = np.sqrt(variance / 20_000)
    assert np.abs((found.mean(0) - design @ np.asarray(mean)) / error).max() < 4
    np.testing.assert_allclose(found.var(0), variance, rtol=0.05)
    off = ~np.eye(3, dtype=bool)
    assert np.abs(np.corrcoef(found.T)[off]).max() < 4 / 20_000**0.5
    assert np.abs(np.corrcoef(together.T)[off]).max() > 0.1


def test_a_single_flip_is_the_perturbation_up_to_signs():
    network = mlp((4,), "scaled_tanh").build(3, 2, key=jax.random.key(0))
    joint, theta = Joint.of(network, Independent(), Gaussian(), 2)
    nothing = flipped(joint, theta, jnp.zeros_like(theta), jax.random.key(3), jnp.asarray(X))
    np.testing.assert_allclose(nothing, joint.outputs(theta, jnp.asarray(X)), atol=1e-6)
    image = convolutional((1, 6), (2,), hidden=(3,)).build(6, 1, key=jax.random.key(0))
    joint, theta = Joint.of(image, Independent(), Gaussian(), 1)
    x = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    found = flipped(joint, theta, jnp.zeros_like(theta), jax.random.key(3), x)
    np.testing.assert_allclose(found, joint.outputs(theta, x), atol=1e-6)


def test_flipout_s_gradient_is_that_of_the_mean_field_with_less_noise():
    joint, keys = linear(), jax.random.split(jax.random.key(2), 3000)
    model = _Field(jnp.asarray(MEAN, jnp.float32), jnp.full(4, np.log(0.3)))
    inputs = joint, jnp.asarray(X), jnp.asarray(Y), jnp.asarray(200.0)
    row = {"rows": jnp.arange(200)}
    slopes = []
    for loss in (_shared, _decorrelated):
        slope = jax.grad(lambda m, k, loss=loss: loss(m, inputs, k, row)[0])
        slopes.append(jax.vmap(lambda k, slope=slope: slope(model, k).mean)(keys))
    together, apart = (np.asarray(s, float) for s in slopes)
    error = np.sqrt((together.var(0) + apart.var(0)) / 3000)
    assert np.abs((together.mean(0) - apart.mean(0)) / error).max() < 4
    assert (apart.var(0) < 0.1 * together.var(0)).all()


# Concrete dropout ---------------------------------------------------------------------------------


def test_the_regulariser_is_the_paper_s():
    """(1 - p) |M|^2 / (2 s^2) - K H(p) of 1705.07832 in NumPy, with the normaliser of the prior."""
    network = mlp((5,)).build(3, 2, key=jax.random.key(0))
    prior = Independent(scale=0.7, bias_scale=1.3, by_inputs=False)
    joint, theta = Joint.of(network, prior, Gaussian(0.2), 2)
    rates = np.array([0.1, 0.4])
    model = Masked(theta, jnp.asarray(np.log(rates / (1 - rates)), jnp.float32))
    entropy = -rates * np.log(rates) - (1 - rates) * np.log(1 - rates)
    wanted = 0.0
    for i, inputs in enumerate((3, 5)):
        square = float((np.asarray(network.weights[i], float) ** 2).sum())
        wanted += (1 - rates[i]) / (2 * 0.7**2) * square - inputs * entropy[i]
        wanted += network.weights[i].size * np.log(0.7 * np.sqrt(2 * np.pi))
        wanted += network.biases[i].size * np.log(1.3 * np.sqrt(2 * np.pi))  # biases begin at 0
    assert float(regulariser(joint, model)) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_array_equal(network.biases[0], 0)


def test_the_regulariser_is_the_expectation_over_masks_of_any_independent_prior():
    network = mlp((2,)).build(2, 1, key=jax.random.key(1))
    joint, theta = Joint.of(network, Hierarchical("laplace"), Gaussian(), 1)
    rates = [0.3, 0.2]
    model = Masked(theta, jnp.asarray([np.log(p / (1 - p)) for p in rates], jnp.float32))
    total = 0.0
    for bits in np.ndindex(2, 2, 2, 2):
        keep = np.reshape(bits, (2, 2))
        chance = np.prod(
            [[1 - p if k else p for k in row] for p, row in zip(rates, keep, strict=True)]
        )
        vector = masked(joint, theta, [jnp.asarray(row, jnp.float32) for row in keep])
        total += chance * (np.log(chance) - float(joint.log_prior(vector)))
    assert float(regulariser(joint, model)) == pytest.approx(total, rel=1e-4)


def test_a_relaxed_mask_falls_out_at_its_rate():
    found = np.asarray(relaxed_mask(jax.random.key(0), jnp.asarray(np.log(0.2 / 0.8)), (20_000,)))
    assert abs(np.mean(found < 0.5) - 0.2) < 4 * (0.16 / 20_000) ** 0.5
    assert np.mean((found < 0.01) | (found > 0.99)) > 0.7


def test_draws_of_dropout_are_masks_of_one_network_and_rows_lower_the_rate():
    """Columns fall out whole; more rows say more, so that fewer do, as the paper finds."""
    joint, rates = linear(), []
    for count in (20, 200):
        table = X[:count], Y[:count], data_of(X[:count], Y[:count])
        how = ConcreteDropout(epochs=6000 // count, rate=0.03, start=0.3)
        warmed = np.asarray(MEAN, np.float32)[None]
        found = how.networks(joint, warmed, table, draws=3000, batch=20, seed=1)[0]
        assert found.shape == (3000, 4) and np.ptp(found[:, 3]) == 0  # a bias has no mask
        weights = np.unique(np.abs(found[:, :3]), axis=0)
        assert (weights != 0).all(axis=1).any() and len(weights) <= 8
        for column in found[:, :3].T:
            assert len(set(column)) <= 2 and (len(set(column)) == 1 or 0 in column)
        rates.append(np.mean(found[:, :3] == 0))
    assert rates[1] < 0.6 * rates[0]
