"""Targets of NumPyro models: the joint density of the model, whatever its priors depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import posterion
from posterion.core.errors import ParameterError
from posterion.targets import from_numpyro

Y = np.array([4.8, 5.1, 5.6])
SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def simple(y, width=0.3):
    mass = numpyro.sample("mass", dist.Normal(5.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(0.5))
    numpyro.sample("y", dist.Normal(mass, jnp.hypot(scale, width)), obs=y)


def schools(y, errors):
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(y)):
        effect = numpyro.sample("effect", dist.Normal(mean, spread))
        numpyro.sample("y", dist.Normal(effect, errors), obs=y)


def mixed():
    fraction = numpyro.sample("fraction", dist.Beta(2.0, 3.0))
    angle = numpyro.sample("angle", dist.VonMises(0.5, 2.0))
    pair = numpyro.sample(
        "pair", dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.5], [0.5, 2.0]]))
    )
    numpyro.sample("width", dist.LogNormal(0.0, 0.3 + fraction))
    numpyro.factor("extra", -0.5 * (pair[0] - angle) ** 2)


def values(target, theta):
    """Log-density with the priors, ``(n,)``, at arrays by name."""
    return target.evaluate(target.flatten(theta))


def test_the_density_is_that_of_the_model():
    target = from_numpyro(simple, Y, width=0.2, units={"mass": "GeV"}, labels={"mass": "$m$"})
    assert target.names == ("mass", "scale") and target.parameters[0].unit == "GeV"
    assert target.parameters[0].prior is not None and target.parameters[0].label == "$m$"
    theta = {"mass": np.array([4.9, 5.3]), "scale": np.array([0.1, 0.7])}
    found = values(target, theta)
    truth = [
        stats.norm(5, 1).logpdf(m)
        + stats.halfnorm(0, 0.5).logpdf(s)
        + stats.norm(m, np.hypot(s, 0.2)).logpdf(Y).sum()
        for m, s in zip(*theta.values(), strict=True)
    ]
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_priors_that_depend_on_other_sites_stay_in_the_density():
    target = from_numpyro(schools, SCHOOLS, ERRORS)
    mean, spread, effect = target.parameters
    assert mean.prior is not None and spread.prior is not None
    assert effect.prior is None and effect.shape == (8,) and effect.scale > 1
    rng = np.random.default_rng(0)
    theta = {
        "mean": rng.normal(size=3),
        "spread": rng.uniform(1, 9, 3),
        "effect": rng.normal(size=(3, 8)),
    }
    truth = [
        stats.norm(0, 5).logpdf(m)
        + stats.halfcauchy(0, 5).logpdf(s)
        + stats.norm(m, s).logpdf(e).sum()
        + stats.norm(e, ERRORS).logpdf(SCHOOLS).sum()
        for m, s, e in zip(*theta.values(), strict=True)
    ]
    np.testing.assert_allclose(values(target, theta), truth, rtol=1e-9)


def test_supports_of_all_kinds():
    target = from_numpyro(mixed)
    kinds = {p.name: p for p in target.parameters}
    assert kinds["angle"].periodic and kinds["angle"].lower == pytest.approx(-np.pi)
    assert kinds["pair"].shape == (2,) and kinds["fraction"].prior is not None
    assert kinds["width"].prior is None and kinds["width"].lower == 0
    theta = {
        "fraction": np.array([0.2]),
        "angle": np.array([1.0]),
        "pair": np.array([[0.3, -1.0]]),
        "width": np.array([0.8]),
    }
    truth = (
        stats.beta(2, 3).logpdf(0.2)
        + stats.vonmises(2.0, loc=0.5).logpdf(1.0)
        + stats.multivariate_normal(np.zeros(2), [[1, 0.5], [0.5, 2]]).logpdf([0.3, -1.0])
        + stats.lognorm(0.5).logpdf(0.8)
        - 0.5 * 0.7**2
    )
    np.testing.assert_allclose(values(target, theta), [truth], rtol=1e-6)


def test_a_model_is_sampled_by_chains():
    chain = posterion.sample_chain(from_numpyro(simple, Y), draws=300, warmup=300, seed=1)
    assert float(np.mean(chain.draws["mass"])) == pytest.approx(5.16, abs=0.1)


def discrete():
    numpyro.sample("count", dist.Poisson(3.0))


def simplex():
    numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))


def moving():
    top = numpyro.sample("top", dist.Uniform(1.0, 2.0))
    numpyro.sample("x", dist.Uniform(0.0, top))


def nothing():
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=1.0)


def uneven():
    middle = numpyro.sample("middle", dist.Normal(0.0, 1.0))
    ends = jnp.array([1.0, 2.0])
    numpyro.sample("x", dist.TruncatedNormal(middle, 1.0, low=-ends, high=ends))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (discrete, "'count' is discrete"),
        (simplex, "'shares' lies on"),
        (moving, "bounds of the site 'x' depend"),
        (nothing, "no latent site"),
        (uneven, "different bounds"),
    ],
)
def test_models_that_cannot_be_learned(model, message):
    with pytest.raises(ParameterError, match=message):
        from_numpyro(model)


def test_flags_of_jax_stay():
    before = jax.config.jax_enable_x64
    from_numpyro(simple, Y)
    assert jax.config.jax_enable_x64 == before
