"""Priors of weights against SciPy, in float64, and their draws against their densities."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

from posterion.core.errors import SettingError
from posterion.core.registry import from_tree, to_tree
from posterion.emulators.priors import (
    PRIORS,
    Hierarchical,
    Horseshoe,
    Independent,
    OfGroups,
    log_half_cauchy_of_log,
    log_half_normal_of_log,
    make_prior,
)

SCIPY = {"gaussian": stats.norm, "laplace": stats.laplace, "cauchy": stats.cauchy}
HALF = {"gaussian": stats.halfnorm, "cauchy": stats.halfcauchy}


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {"bias": jnp.asarray(rng.normal(size=3)), "weight": jnp.asarray(rng.normal(size=(3, 4)))}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("by_inputs", [True, False])
@pytest.mark.parametrize("family", SCIPY)
def test_independent_weights_against_scipy(family, by_inputs):
    prior = Independent(family, 0.7, 1.3, by_inputs)
    w = weights()
    scale = 0.7 / (2 if by_inputs else 1)  # four inputs
    wanted = SCIPY[family](scale=1.3).logpdf(w["bias"]).sum()
    wanted += SCIPY[family](scale=scale).logpdf(w["weight"]).sum()
    assert float(prior.log_prob(w, prior.hyper(w))) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("hyperfamily", HALF)
@pytest.mark.parametrize("family", SCIPY)
def test_hierarchical_weights_against_scipy_with_the_jacobian(family, hyperfamily):
    prior = Hierarchical(family, hyperfamily, 0.4, 0.9)
    w = weights()
    location, log_scale = np.array([0.2, -0.5]), np.array([-0.3, 0.8])
    given = {"location": jnp.asarray(location), "log_scale": jnp.asarray(log_scale)}
    wanted = SCIPY[hyperfamily](scale=0.4).logpdf(location).sum()
    wanted += (HALF[hyperfamily](scale=0.9).logpdf(np.exp(log_scale)) + log_scale).sum()
    for i, (name, unit) in enumerate([("bias", 1.0), ("weight", 0.5)]):
        one = SCIPY[family](unit * location[i], unit * np.exp(log_scale[i]))
        wanted += one.logpdf(w[name]).sum()
    assert float(prior.log_prob(w, given)) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.usefixtures("x64")
def test_the_horseshoe_against_scipy_with_the_jacobians():
    prior, w = Horseshoe(0.6), weights()
    rng = np.random.default_rng(1)
    log_scale = rng.normal(size=2)
    own = [rng.normal(size=leaf.shape) for leaf in w.values()]
    given = {"log_scale": jnp.asarray(log_scale), "log_own": [jnp.asarray(a) for a in own]}
    wanted = (stats.halfcauchy(scale=0.6).logpdf(np.exp(log_scale)) + log_scale).sum()
    for i, (name, unit) in enumerate([("bias", 1.0), ("weight", 0.5)]):
        wanted += (stats.halfcauchy.logpdf(np.exp(own[i])) + own[i]).sum()
        wanted += stats.norm(0, unit * np.exp(log_scale[i] + own[i])).logpdf(w[name]).sum()
    assert float(prior.log_prob(w, given)) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("log_density", "family"),
    [(log_half_cauchy_of_log, "cauchy"), (log_half_normal_of_log, "gaussian")],
)
def test_the_density_of_a_logarithm_has_unit_integral(log_density, family):
    found = integrate.quad(lambda t: float(jnp.exp(log_density(jnp.asarray(t), 0.8))), -40, 40)
    assert found[0] == pytest.approx(1, abs=1e-8)
    wanted = HALF[family](scale=0.8).logpdf(np.exp(0.3)) + 0.3
    assert float(log_density(jnp.asarray(0.3), 0.8)) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.usefixtures("x64")
def test_numpyro_distributions_of_groups_against_scipy_and_after_storing():
    w = weights()
    prior = make_prior([dist.Normal(0.1, jnp.asarray([1.0, 2.0, 3.0])), dist.StudentT(3.0, 0, 0.5)])
    wanted = stats.norm(0.1, [1, 2, 3]).logpdf(w["bias"]).sum()
    wanted += stats.t(3, scale=0.5).logpdf(w["weight"]).sum()
    assert float(prior.log_prob(w, ())) == pytest.approx(wanted, abs=1e-10)
    arrays = {}
    again = from_tree(to_tree(prior, arrays), arrays)
    assert float(again.log_prob(w, ())) == pytest.approx(wanted, abs=1e-6)
    one = make_prior(dist.Normal(0.0, 2.0))
    wanted = sum(stats.norm(0, 2).logpdf(leaf).sum() for leaf in w.values())
    assert float(one.log_prob(w, ())) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("name", [*PRIORS, "numpyro"])
def test_draws_follow_the_density(name):
    """Quantiles of draws of one group under the prior, at fixed hyperparameters where there are."""
    prior = make_prior(dist.Normal(0.0, 0.5)) if name == "numpyro" else PRIORS[name]
    w = {"bias": jnp.zeros(40), "weight": jnp.zeros((50, 40))}
    keys = jax.random.split(jax.random.key(3), 200)
    made, hyper = jax.vmap(lambda key: prior.sample(key, w))(keys)
    if isinstance(prior, Hierarchical):
        shift = made["weight"] * 40**0.5 - hyper["location"][:, 1, None, None]
        z = shift / jnp.exp(hyper["log_scale"][:, 1, None, None])
        cdf = SCIPY[prior.family].cdf
    elif isinstance(prior, Horseshoe):
        z = made["weight"] * 40**0.5 / jnp.exp(hyper["log_own"][1])
        z = z / jnp.exp(hyper["log_scale"][:, 1, None, None])
        cdf = stats.norm.cdf
    elif isinstance(prior, Independent):
        z, cdf = made["weight"] * 40**0.5, SCIPY[prior.family].cdf
    else:
        z, cdf = made["weight"] / 0.5, stats.norm.cdf
    z = np.asarray(z).ravel()
    assert stats.kstest(z, cdf).pvalue > 1e-3
    if isinstance(prior, Hierarchical):
        scale = np.exp(np.asarray(hyper["log_scale"])).ravel()
        assert stats.kstest(scale, HALF[prior.hyperfamily].cdf).pvalue > 1e-3
        location = np.asarray(hyper["location"]).ravel() / prior.location_width
        assert stats.kstest(location, SCIPY[prior.hyperfamily].cdf).pvalue > 1e-3
    if isinstance(prior, Horseshoe):
        own = np.exp(np.asarray(hyper["log_own"][1])).ravel()
        assert stats.kstest(own, stats.halfcauchy.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", PRIORS)
def test_the_start_of_hyperparameters_has_a_finite_gradient(name):
    prior, w = PRIORS[name], jax.tree.map(lambda a: a.astype(jnp.float32), weights())
    value, slope = jax.value_and_grad(prior.log_prob, argnums=(0, 1))(w, prior.hyper(w))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((value, slope)))
    arrays = {}
    again = from_tree(to_tree(prior, arrays), arrays)
    assert float(again.log_prob(w, prior.hyper(w))) == float(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Independent("flat"), "unknown family 'flat'"),
        (lambda: Independent(scale=0.0), "scale must be positive"),
        (lambda: Hierarchical(hyperfamily="laplace"), "unknown family 'laplace'"),
        (lambda: Horseshoe(-1.0), "width must be positive"),
        (lambda: make_prior("spike"), "unknown prior 'spike'.*horseshoe"),
        (lambda: make_prior(3.0), "got float"),
        (lambda: make_prior([]), "got list"),
        (lambda: make_prior(dist.Normal), "got DistributionMeta"),
        (lambda: make_prior(dist.Poisson(1.0)), "Poisson is a distribution of whole numbers"),
        (lambda: make_prior([dist.Normal(), dist.Bernoulli(0.5)]), "whole numbers"),
        (lambda: make_prior(dist.HalfNormal(1.0)), "HalfNormal is a distribution of some alone"),
        (lambda: make_prior(dist.Uniform(-1.0, 1.0).expand([3])), "some alone .Interval"),
        (lambda: OfGroups((dist.Normal(),) * 3).log_prob(weights(), ()), "2 groups"),
        (lambda: make_prior(dist.Normal(jnp.zeros(5))).log_prob(weights(), ()), "broadcast"),
    ],
)
def test_unusable_priors_are_refused(make, message):
    with pytest.raises(SettingError, match=message):
        make()
