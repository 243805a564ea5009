"""Neural networks: the multilayer perceptron."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.core.registry import from_tree, to_tree
from posterion.networks import MLP, Convolutional, convolutional, mlp, on_rows
from posterion.networks.perceptron import ACTIVATIONS, LEARNED

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
    with pytest.raises(SettingError, match=r"unknown activation 'tangent'.*silu"):
        MLP(3, 2, (5,), "tangent", key=jax.random.key(0))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((3, 0, (5,)), "widths"), ((3, 2, (0,)), "hidden .* at least 1"), ((-1, 2, ()), "widths")],
)
def test_widths_must_be_positive(sizes, message):
    with pytest.raises(SettingError, match=message):
        MLP(*sizes, key=jax.random.key(0))


def test_a_network_of_no_input_is_a_constant():
    network = with_biases(MLP(0, 2, (4,), key=jax.random.key(0)))
    assert jnp.all(jnp.isfinite(network(jnp.zeros(0))))


def test_stored_and_rebuilt_it_is_the_same():
    network, arrays = MLP(3, 2, (5,), key=jax.random.key(0)), {}
    again = from_tree(to_tree(network, arrays), arrays)
    x = jnp.ones(3)
    assert jnp.all(again(x) == network(x)) and again.activation == "silu"


# ------------------------------------------------------------------------- learned activations


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_activation_has_a_number_for_each_unit_and_a_gradient(name):
    network = MLP(3, 2, (5, 4), name, key=jax.random.key(0))
    assert [s.shape for s in network.shapes] == [(5,), (4,)]
    x = jnp.asarray(np.random.default_rng(0).normal(size=3), jnp.float32)
    slope = jax.grad(lambda n: jnp.sum(n(x)))(network)
    assert all(float(jnp.abs(s).min()) >= 0 and float(jnp.abs(s).max()) > 0 for s in slope.shapes)
    batch = jnp.stack([x, 2 * x], axis=1)
    np.testing.assert_allclose(network(batch)[:, 1], network(2 * x), rtol=1e-6)


def test_learned_activations_start_as_what_they_are_named_after():
    x = jnp.linspace(-3, 3, 13)
    start = {name: function(x, jnp.asarray(a)) for name, (function, a) in LEARNED.items()}
    np.testing.assert_allclose(start["swish"], jax.nn.silu(x), rtol=1e-6)
    np.testing.assert_allclose(start["scaled_tanh"], jnp.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(start["prelu"], jnp.where(x > 0, x, 0.25 * x), rtol=1e-6)


# ----------------------------------------------------------------------------- convolutions


def test_a_convolution_in_one_dimension_is_the_sum_over_its_window():
    network = Convolutional((2, 6), 1, (3,), 3, (), "tanh", key=jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1)))
    kernel, bias = np.asarray(network.kernels[0]), np.asarray(network.biases[0])
    moved = np.array(
        [
            [np.sum(k * padded[:, i : i + 3]) + b for i in range(6)]
            for k, b in zip(kernel, bias, strict=True)
        ]
    )
    wanted = network.head(jnp.asarray(np.tanh(moved).ravel()))
    np.testing.assert_allclose(network(jnp.asarray(x.ravel())), wanted, rtol=2e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_a_batch_of_images_is_image_by_image(residual):
    network = convolutional((1, 6, 5), (4, 4, 4)[:2], hidden=(3,), residual=residual)
    built = network.build(30, 2, key=jax.random.key(1))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 30)), jnp.float32)
    whole = on_rows(built, x)
    assert whole.shape == (7, 2)
    np.testing.assert_allclose(whole, np.stack([built(row) for row in x]), rtol=1e-4, atol=1e-6)
    arrays = {}
    again = from_tree(to_tree(network, arrays), arrays).build(30, 2, key=jax.random.key(1))
    np.testing.assert_array_equal(on_rows(again, x), whole)


def test_convolutions_have_gradients_in_a_compiled_program():
    built = convolutional((1, 6), (2, 3), hidden=(3,)).build(6, 1, key=jax.random.key(1))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6)), jnp.float32)
    slope = eqx.filter_jit(eqx.filter_grad(lambda n: jnp.sum(on_rows(n, x))))(built)
    away = eqx.tree_at(lambda n: n.kernels[0], built, built.kernels[0] * 1.001)
    change = float(jnp.sum(on_rows(away, x)) - jnp.sum(on_rows(built, x)))
    wanted = float(jnp.sum(slope.kernels[0] * (away.kernels[0] - built.kernels[0])))
    assert change == pytest.approx(wanted, rel=0.02)


def test_halving_takes_the_mean_of_neighbours():
    network = Convolutional((1, 5), 1, (1, 1), 1, (), "relu", key=jax.random.key(0))
    one = (jnp.ones((1, 1, 1)),) * 2
    network = eqx.tree_at(lambda n: (n.kernels, n.biases), network, (one, (jnp.zeros(1),) * 2))
    ends = ((jnp.asarray([[1.0, 10.0]]),), (jnp.zeros(1),))
    head = eqx.tree_at(lambda h: (h.weights, h.biases), network.head, ends)
    network = eqx.tree_at(lambda n: n.head, network, head)
    assert float(network(jnp.arange(1.0, 6.0))[0]) == pytest.approx(1.5 + 35.0)


def test_any_module_is_mapped_over_rows():
    module = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    np.testing.assert_allclose(on_rows(module, x), x @ module.weight.T + module.bias, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp((0,)), "hidden .* at least 1"),
        (lambda: mlp((4,), "tangent"), "unknown activation"),
        (lambda: mlp((4, 5), residual=True), "one width"),
        (lambda: convolutional((3,)), "channels, length"),
        (lambda: convolutional((1, 8), kernel=2), "odd"),
        (lambda: convolutional((1, 8), ()), "channels must"),
        (lambda: convolutional((1, 3), (2, 2, 2)), "halve"),
        (lambda: convolutional((1, 8)).build(9, 1, key=jax.random.key(0)), "9 columns"),
    ],
)
def test_unusable_architectures_are_refused(make, message):
    with pytest.raises(SettingError, match=message):
        make()
