"""Neural networks: the multilayer perceptron."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.core.registry import from_tree, to_tree
from posterion.networks import MLP
from posterion.networks.mlp import ACTIVATIONS

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FORMULAS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
}


def with_biases(network):
    rng = np.random.default_rng(1)
    biases = tuple(jnp.asarray(rng.normal(size=b.shape), b.dtype) for b in network.biases)
    return eqx.tree_at(lambda n: n.biases, network, biases)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_output_is_the_formula(name, x64):
    with jax.enable_x64(x64):
        network = with_biases(MLP(3, 2, (5, 4), name, key=jax.random.key(0)))
        x = jnp.asarray(np.random.default_rng(0).normal(size=3), float)
        layers = [np.asarray(leaf, np.float64) for leaf in (*network.weights, *network.biases)]
        h = np.asarray(x, np.float64)
        for weight, bias in zip(layers[:2], layers[3:5], strict=True):
            h = FORMULAS[name](weight @ h + bias)
        out = network(x)
        assert out.dtype == x.dtype == (jnp.float64 if x64 else jnp.float32)
        np.testing.assert_allclose(out, layers[2] @ h + layers[5], rtol=1e-12 if x64 else 1e-5)


def test_a_batch_along_the_last_axis_is_the_vmapped_one():
    network = with_biases(MLP(3, 2, (5,), key=jax.random.key(0)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), float)
    np.testing.assert_allclose(network(x.T).T, jax.vmap(network)(x), rtol=1e-6)


def test_no_hidden_layer_is_a_linear_map():
    network = MLP(3, 2, (), key=jax.random.key(0))
    x = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(network(x), network.weights[0] @ x, rtol=1e-6)


@pytest.mark.parametrize(("activation", "variance"), [("silu", 1 / 300), ("relu", 1 / 900)])
def test_initial_weights(activation, variance):
    """Of 400 x 300: LeCun's with zero biases where the activation is smooth, else small ones."""
    network = MLP(300, 400, (), activation, key=jax.random.key(0))
    assert float(jnp.mean(network.weights[0] ** 2)) == pytest.approx(variance, rel=0.02)
    spread = float(jnp.mean(network.biases[0] ** 2))
    assert spread == (0 if activation == "silu" else pytest.approx(variance, rel=0.2))
    first, second = MLP(4, 4, (4,), activation, key=jax.random.key(0)).weights
    assert not jnp.any(first == second)


def test_zero_output_starts_at_zero_and_learns():
    network = MLP(3, 2, (5,), key=jax.random.key(0), zero_output=True)
    x = jnp.ones(3)
    assert jnp.all(network(x) == 0)
    gradient = eqx.filter_grad(lambda n: jnp.sum(n(x)))(network)
    assert jnp.any(gradient.weights[-1] != 0) and jnp.all(gradient.biases[-1] == 1)


def test_unknown_activation_names_the_known_ones():
    with pytest.raises(SettingError, match=r"unknown activation 'swish'.*silu"):
        MLP(3, 2, (5,), "swish", key=jax.random.key(0))


@pytest.mark.parametrize("sizes", [(3, 0, (5,)), (3, 2, (0,)), (-1, 2, ())])
def test_widths_must_be_positive(sizes):
    with pytest.raises(SettingError, match="widths"):
        MLP(*sizes, key=jax.random.key(0))


def test_a_network_of_no_input_is_a_constant():
    network = with_biases(MLP(0, 2, (4,), key=jax.random.key(0)))
    assert jnp.all(jnp.isfinite(network(jnp.zeros(0))))


def test_stored_and_rebuilt_it_is_the_same():
    network, arrays = MLP(3, 2, (5,), key=jax.random.key(0)), {}
    again = from_tree(to_tree(network, arrays), arrays)
    x = jnp.ones(3)
    assert jnp.all(again(x) == network(x)) and again.activation == "silu"
