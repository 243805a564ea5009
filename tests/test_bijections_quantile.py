"""Quantile networks as maps: levels to coordinates, one given those before."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr

from bijection_cases import CASES, perturbed
from posterion.bijections import QuantileMap, apply_batch

DIM, WIDTH, N = 3, 2, 40


def rising(**options):
    """A published network whose weights are positive, so that it rises in all its inputs."""
    made = QuantileMap(DIM, (6, 5), context_size=WIDTH, key=jax.random.key(1), **options)
    weights = jax.tree.map(jnp.abs, made.network.weights)
    return eqx.tree_at(lambda m: m.network.weights, made, weights)


MAPS = {
    "one": rising,
    "separate": lambda: rising(separate=True),
    "normal level": lambda: rising(normal_level=True),
    "masked": lambda: perturbed(CASES["masked quantiles"].build()),
    "monotone": lambda: perturbed(CASES["quantiles of one network"].build()),
}


def rows(seed=0):
    z, context = np.random.default_rng(seed).normal(size=(2, N, DIM)).astype(np.float32)
    return jnp.asarray(z), jnp.asarray(context[:, :WIDTH])


@pytest.fixture(params=MAPS)
def quantiles(request):
    return MAPS[request.param]()


def test_levels_given_the_coordinates_before_make_the_coordinates(quantiles):
    z, context = rows()
    x, _ = apply_batch(quantiles.forward_and_log_det, z, context=context)
    several = jnp.stack([z.T, z.T + 0.5])
    value, slope = quantiles.quantiles_at(several, x.T, context.T)
    np.testing.assert_allclose(value[0], x.T, atol=2e-5)
    assert (np.asarray(value[1]) > np.asarray(value[0])).all() and (np.asarray(slope) > 0).all()
    one = quantiles.quantiles_at(several[:, :, 0], x[0], context[0])[0]
    np.testing.assert_allclose(one, value[:, :, 0], atol=2e-5)


def test_the_inverse_is_the_level(quantiles):
    z, context = rows()
    z = jnp.clip(z, -2, 2)
    x, log_det = apply_batch(quantiles.forward_and_log_det, z, context=context)
    back, minus = apply_batch(quantiles.inverse_and_log_det, x, context=context)
    again, _ = apply_batch(quantiles.forward_and_log_det, back, context=context)
    np.testing.assert_allclose(again, x, atol=2e-5)
    np.testing.assert_allclose(back, z, atol=1e-2)  # where it hardly rises, no nearer in float32
    np.testing.assert_allclose(minus, -log_det, atol=2e-2)
    jacobian = jax.jacfwd(lambda z: quantiles.forward_and_log_det(z, context[0])[0])(z[0])
    assert np.allclose(jacobian, np.tril(jacobian)) or not isinstance(quantiles, QuantileMap)
    exact = np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
    assert log_det[0] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("name", ["one", "separate", "normal level"])
def test_the_inverse_is_differentiated_as_an_implicit_function(name):
    quantiles = MAPS[name]()
    z, context = rows()
    z0, c0 = jnp.clip(z[0], -2, 2), context[0]
    x = quantiles.forward_and_log_det(z0, c0)[0]
    forward = jax.jacfwd(lambda z: quantiles.forward_and_log_det(z, c0)[0])(z0)
    inverse = jax.jacfwd(lambda x: quantiles.inverse_and_log_det(x, c0)[0])(x)
    np.testing.assert_allclose(inverse @ forward, np.eye(DIM), atol=2e-3)


def test_what_the_network_sees_of_a_level():
    z = jnp.array([-1.0, 0.0, 2.0])
    made = QuantileMap(1, (4,), key=jax.random.key(0))
    np.testing.assert_allclose(made.level(z), 6 * ndtr(z) - 3, rtol=1e-6)
    normal = QuantileMap(1, (4,), normal_level=True, key=jax.random.key(0))
    assert normal.level(z) is z


def test_slopes_are_by_what_the_network_sees():
    made = rising()
    z, context = rows()
    x, _ = apply_batch(made.forward_and_log_det, z, context=context)

    def values(z):
        return made.quantiles_at(z[None], x.T, context.T)[0][0]

    _, slope = made.quantiles_at(z.T[None], x.T, context.T)
    by_z = jax.jvp(values, (z.T,), (jnp.ones_like(z.T),))[1]
    np.testing.assert_allclose(by_z, slope[0] * 6 * jax.scipy.stats.norm.pdf(z.T), rtol=1e-4)


def test_networks_of_the_same_weights_see_which_coordinate_is_asked_for():
    """One network with a one-hot input, separate ones without: a bias for each says the same."""
    one = QuantileMap(2, (5,), context_size=WIDTH, key=jax.random.key(3))
    weight, bias = one.network.weights[0], one.network.biases[0]
    kept = np.r_[0:WIDTH, WIDTH, WIDTH + 3]  # without the one-hot of two
    separate = QuantileMap(2, (5,), context_size=WIDTH, separate=True, key=jax.random.key(3))
    hot = weight[:, WIDTH + 1 : WIDTH + 3]
    network = eqx.tree_at(
        lambda n: (n.weights, n.biases),
        separate.network,
        (
            (jnp.stack([weight[:, kept]] * 2), jnp.stack([one.network.weights[1]] * 2)),
            (
                jnp.stack([bias + hot[:, i] for i in range(2)]),
                jnp.stack([one.network.biases[1]] * 2),
            ),
        ),
    )
    separate = eqx.tree_at(lambda m: m.network, separate, network)
    z, context = rows()
    for a, b in zip(
        apply_batch(one.forward_and_log_det, z[:, :2], context=context),
        apply_batch(separate.forward_and_log_det, z[:, :2], context=context),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
