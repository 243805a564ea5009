"""Likelihoods against SciPy, in float64; their draws and moments against their densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from posterion.core.errors import SettingError
from posterion.core.registry import from_tree, to_tree
from posterion.emulators.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    Categorical,
    Gaussian,
    Heteroscedastic,
    Own,
    StudentT,
    make_likelihood,
)

RNG = np.random.default_rng(5)
OUT, Y = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 2))
LOG_SIGMA = np.array([-0.4, 0.3])
NOISE = {"log_sigma": LOG_SIGMA}
WIDE = np.concatenate([OUT, RNG.normal(size=(6, 2))], axis=1)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y", "noise", "wanted"),
    [
        (Gaussian(), OUT, Y, NOISE, stats.norm(OUT, np.exp(LOG_SIGMA)).logpdf(Y)),
        (Gaussian(0.3), OUT, Y, (), stats.norm(OUT, 0.3).logpdf(Y)),
        (Heteroscedastic(), WIDE, Y, (), stats.norm(OUT, np.exp(WIDE[:, 2:])).logpdf(Y)),
        (StudentT(5.0), OUT, Y, NOISE, stats.t(5, OUT, np.exp(LOG_SIGMA)).logpdf(Y)),
        (Bernoulli(), OUT, Y > 0, (), stats.bernoulli(special.expit(OUT)).logpmf(Y > 0)),
        (
            Categorical(2),
            OUT,
            (Y > 0)[:, :1],
            (),
            special.log_softmax(OUT, axis=1)[np.arange(6), (Y[:, 0] > 0).astype(int)][:, None],
        ),
    ],
    ids=["gaussian", "fixed", "heteroscedastic", "student-t", "bernoulli", "categorical"],
)
def test_the_density_against_scipy(likelihood, outputs, y, noise, wanted):
    given = {k: jnp.asarray(v) for k, v in noise.items()} if noise else ()
    found = likelihood.log_prob(jnp.asarray(outputs), jnp.asarray(y, float), given)
    np.testing.assert_allclose(found, wanted.sum(axis=1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("likelihood", [Gaussian(width=0.2), StudentT(width=0.2)])
def test_the_prior_of_the_noise_against_scipy_with_the_jacobian(likelihood):
    noise = {"log_sigma": jnp.asarray(LOG_SIGMA)}
    wanted = (stats.halfcauchy(scale=0.2).logpdf(np.exp(LOG_SIGMA)) + LOG_SIGMA).sum()
    assert float(likelihood.log_prior(noise)) == pytest.approx(wanted, abs=1e-10)
    assert likelihood.noise(2)["log_sigma"].shape == (2,)


@pytest.mark.parametrize(
    ("likelihood", "outputs", "noise"),
    [
        (Gaussian(), OUT, NOISE),
        (Gaussian(0.3), OUT, ()),
        (Heteroscedastic(), WIDE, ()),
        (StudentT(9.0), OUT, NOISE),
        (Bernoulli(), OUT, ()),
    ],
)
def test_draws_have_the_stated_moments(likelihood, outputs, noise):
    noise = {k: jnp.asarray(v) for k, v in noise.items()} if noise else ()
    mean, variance = likelihood.mean_and_variance(jnp.asarray(outputs), noise)
    keys = jax.random.split(jax.random.key(2), 20_000)
    draws = jax.vmap(lambda key: likelihood.sample(key, jnp.asarray(outputs), noise))(keys)
    assert draws.shape == (20_000, 6, 2)
    pull = (draws.mean(0) - mean) / jnp.sqrt(variance / 20_000)
    assert float(jnp.abs(pull).max()) < 4.5
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.12)


def test_classes_are_drawn_by_their_probabilities():
    likelihood, outputs = Categorical(3), jnp.asarray(RNG.normal(size=(4, 3)))
    keys = jax.random.split(jax.random.key(2), 20_000)
    draws = jax.vmap(lambda key: likelihood.sample(key, outputs, ()))(keys)
    p, _ = likelihood.mean_and_variance(outputs, ())
    for c in range(3):
        np.testing.assert_allclose((draws[:, :, 0] == c).mean(0), p[:, c], atol=0.015)
    assert likelihood.outputs(1) == 3


def test_an_own_likelihood_is_used_as_it_is():
    own = Own(
        lambda out, y: -jnp.abs(out - y)[:, 0],
        lambda key, out: out,
        lambda out: (out, jnp.ones_like(out)),
        per_target=3,
    )
    assert own.outputs(2) == 6 and own.noise(2) == ()
    found = own.log_prob(jnp.asarray(OUT), jnp.asarray(Y), ())
    np.testing.assert_allclose(found, -np.abs(OUT - Y)[:, 0])
    assert make_likelihood(own, 2) is own


@pytest.mark.parametrize("name", [*LIKELIHOODS, "categorical"])
def test_a_name_gives_a_likelihood_that_can_be_stored(name):
    likelihood = make_likelihood(name, 3)
    arrays = {}
    assert from_tree(to_tree(likelihood, arrays), arrays) == likelihood


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0.0), "sigma must be positive"),
        (lambda: Gaussian(width=-1.0), "width must be positive"),
        (lambda: StudentT(2.0), "more than 2 degrees"),
        (lambda: Categorical(1), "two classes"),
        (lambda: Categorical(3).outputs(2), "one target"),
        (lambda: make_likelihood("poisson", 2), "unknown likelihood 'poisson'.*student-t"),
    ],
)
def test_unusable_likelihoods_are_refused(make, message):
    with pytest.raises(SettingError, match=message):
        make()
