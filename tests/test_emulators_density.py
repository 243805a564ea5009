"""The posterior of a network as a density of a vector: its parts, chunks and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from posterion.emulators.density import Joint, Layout, data_of, flat
from posterion.emulators.likelihoods import Bernoulli, Gaussian, Heteroscedastic
from posterion.emulators.priors import PRIORS, Independent
from posterion.networks import convolutional, mlp

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(23, 3)), RNG.normal(size=(23, 2))


def made(prior="gaussian", likelihood=None, network=None):
    likelihood = likelihood or Gaussian()
    architecture = network or mlp((4,), "tanh")
    built = architecture.build(3, likelihood.outputs(2), key=jax.random.key(1))
    return Joint.of(built, PRIORS[prior], likelihood, 2)


def test_a_linear_network_is_the_sum_of_scipy_s_parts():
    joint, start = made(network=mlp(()))
    weights, _, noise = joint.parts(start)
    w, b = np.asarray(weights.weights[0], float), np.asarray(weights.biases[0], float)
    sigma = np.exp(np.asarray(noise["log_sigma"], float))
    wanted = stats.norm(0, 3**-0.5).logpdf(w).sum() + stats.norm.logpdf(b).sum()
    wanted += (stats.halfcauchy(scale=0.1).logpdf(sigma) + np.log(sigma)).sum()
    wanted += stats.norm(X @ w.T + b, sigma).logpdf(Y).sum()
    assert float(joint.log_prob(start, data_of(X, Y))) == pytest.approx(wanted, rel=1e-5)
    assert joint.dim == 6 + 2 + 2


@pytest.mark.parametrize("prior", ["gaussian", "hierarchical-cauchy", "horseshoe"])
@pytest.mark.parametrize("likelihood", [Gaussian(), Heteroscedastic(), Bernoulli()])
def test_chunks_do_not_change_value_and_gradient(prior, likelihood):
    joint, start = made(prior, likelihood)
    y = (Y > 0).astype(float) if isinstance(likelihood, Bernoulli) else Y
    with jax.enable_x64(True):
        theta = jnp.asarray(start, jnp.float64)
        of = jax.jit(jax.value_and_grad(joint.log_prob))
        whole = of(theta, data_of(X, y))
        parts = of(theta, data_of(X, y, chunk=6))
    assert data_of(X, y, chunk=6).x.shape == (4, 6, 3)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-12)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-9, atol=1e-9)


def test_rows_of_weight_zero_add_nothing_even_where_they_are_not_finite():
    joint, start = made()
    data = data_of(X, Y, chunk=6)
    spoilt = eqx.tree_at(lambda d: d.y, data, data.y.at[-1, -1].set(jnp.inf))
    assert float(data.weight[-1, -1]) == 0
    assert float(joint.log_prob(start, spoilt)) == float(joint.log_prob(start, data))


def test_chains_can_be_mapped_over_the_density():
    joint, start = made()
    data = data_of(X, Y, chunk=6)
    thetas = jnp.stack([start, 0.5 * start])
    both = jax.vmap(jax.grad(lambda theta: joint.log_prob(theta, data)))(thetas)
    alone = [jax.grad(lambda t: joint.log_prob(t, data))(theta) for theta in thetas]
    np.testing.assert_allclose(both, jnp.stack(alone), rtol=1e-4, atol=1e-4)


def test_two_networks_of_one_shape_compile_once():
    count = []

    @eqx.filter_jit
    def of(joint, theta, data):
        count.append(1)
        return joint.log_prob(theta, data)

    for seed in (0, 1):
        network = mlp((4,)).build(3, 2, key=jax.random.key(seed))
        joint, start = Joint.of(network, Independent(), Gaussian(), 2)
        of(joint, start, data_of(X, Y))
    assert len(count) == 1


@pytest.mark.parametrize(
    "network",
    [mlp((4, 4), "prelu", residual=True), convolutional((1, 3), (2,), hidden=(2,))],
)
def test_any_network_s_vector_comes_back(network):
    joint, start = made(network=network)
    np.testing.assert_array_equal(flat(joint.parts(start)), start)
    built = network.build(3, 2, key=jax.random.key(1))
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(
        joint.outputs(start, x), np.stack([built(row) for row in x]), rtol=1e-4, atol=1e-6
    )
    assert hash(joint.layout) == hash(Layout.of(joint.parts(start)))


def test_a_module_of_equinox_is_made_bayesian():
    network = eqx.nn.MLP(3, 2, 5, 1, activation=jnp.tanh, key=jax.random.key(0))
    joint, start = Joint.of(network, Independent(), Gaussian(), 2)
    slope = jax.grad(lambda theta: joint.log_prob(theta, data_of(X, Y)))(start)
    assert joint.dim == 3 * 5 + 5 + 5 * 2 + 2 + 2
    assert bool(jnp.isfinite(slope).all()) and float(jnp.abs(slope).min()) > 0
