"""The monotone network: its formula, its iterated inverse, and that its units are told apart."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_expit, logsumexp

from bijection_cases import autoregressive, error, quick_jit
from posterion.bijections import NeuralTransformer, apply_batch
from posterion.bijections.elementwise import Swapped
from posterion.bijections.neural import _gains
from posterion.core.errors import SettingError

pytestmark = pytest.mark.usefixtures("strict_dtypes")

NEURAL = NeuralTransformer(units=5)


def raw_parameters(n, scale=1.0, seed=0, transformer=NEURAL):
    shape = transformer.parameter_shape(n)
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), float)


def units_of(transformer, raw):
    """Normalised log-weights, steepness and centres of one coordinate."""
    log_w, log_a, c = np.asarray(raw, np.float64).reshape(3, -1) * _gains(transformer.units)
    log_w = transformer.limit * np.tanh(log_w / transformer.limit)
    log_a = transformer.limit * np.tanh(log_a / transformer.limit)
    c = transformer.reach * np.tanh(c / transformer.reach)
    return log_w - logsumexp(log_w), np.exp(log_a), c


def textbook(transformer, x, raw):
    """``D + m (x - D)``, ``D = logit(w . sigmoid(a (x - c)))``, and its slope, in logarithms."""
    log_w, a, c = units_of(transformer, raw)
    s = a * (x - c)
    log_p, log_q = logsumexp(log_w + log_expit(s)), logsumexp(log_w + log_expit(-s))
    y = log_p - log_q
    log_rate = logsumexp(log_w + np.log(a) + log_expit(s) + log_expit(-s)) - log_p - log_q
    m = transformer.min_slope
    return y + m * (x - y), np.log(m + (1 - m) * np.exp(log_rate))


@pytest.mark.parametrize("units", [1, 3, 8])
def test_the_map_is_that_of_the_paper(units):
    with jax.enable_x64(True):
        transformer = NeuralTransformer(units, min_slope=0.01)
        x = jnp.asarray(np.random.default_rng(3).uniform(-30, 30, 60))
        raw = raw_parameters(len(x), 2.0, transformer=transformer)
        y, log_slope = quick_jit(transformer.forward)(x, raw)
        true = [textbook(transformer, float(x[i]), raw[i]) for i in range(len(x))]
        np.testing.assert_allclose(jnp.stack([y, log_slope], 1), true, rtol=1e-12, atol=1e-12)


def test_its_derivatives_are_those_of_the_formula():
    """Of value and slope, by numbers and parameters, forward and backward, and once more."""

    def plain(x, raw):
        w, a, c = NEURAL._units(raw)
        s = a * (x[:, None] - c)
        y = jnp.log(jnp.sum(w * jax.nn.sigmoid(s), 1) / jnp.sum(w * jax.nn.sigmoid(-s), 1))
        return y + NEURAL.min_slope * (x - y)

    def formula(x, raw):
        y, slope = jax.jvp(lambda x: plain(x, raw), (x,), (jnp.ones_like(x),))
        return y, jnp.log(slope)

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(4).uniform(-12, 12, 40))
        raw = raw_parameters(len(x), 2.0, seed=5)
        ways = (jnp.cos(x), raw_parameters(len(x), seed=6))
        found, true = [], []
        for function, into in ((NEURAL.forward, found), (formula, true)):

            def both(x, raw, function=function):
                y, log_slope = function(x, raw)
                return jnp.sum(jnp.sin(x) * y + jnp.cos(2 * x) * log_slope)

            slopes = jax.grad(both, argnums=(0, 1))
            into.append(quick_jit(lambda f=function: jax.jvp(f, (x, raw), ways))())
            into.append(quick_jit(lambda g=slopes: jax.jvp(g, (x, raw), ways))())
        for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("units", [3, 8])
def test_zero_parameters_are_the_identity_exactly(units, x64):
    with jax.enable_x64(x64):
        transformer = NeuralTransformer(units)
        x = jnp.asarray([0.0, 0.1, -3.7, 17.0, -100.0, 1e5, -1e20, 1e30], float)
        for method in (transformer.forward, transformer.inverse):
            y, log_slope = quick_jit(method)(x, jnp.zeros(transformer.parameter_shape(len(x))))
            assert jnp.all(y == x)
            assert jnp.max(jnp.abs(log_slope)) <= 4 * jnp.finfo(x.dtype).eps


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_far_outside_the_flattest_unit_is_all_that_counts(x64):
    with jax.enable_x64(x64):
        raw = raw_parameters(1)
        _, a, _ = units_of(NEURAL, raw[0])
        slope = min(a) + NEURAL.min_slope * (1 - min(a))
        x = jnp.asarray([s * 10.0**p for s in (-1, 1) for p in (7, 20, 30)], float)
        rows = jnp.broadcast_to(raw, (len(x), raw.shape[1]))
        y, log_slope = quick_jit(NEURAL.forward)(x, rows)
        np.testing.assert_allclose(y, slope * np.asarray(x), rtol=1e-5)
        np.testing.assert_allclose(log_slope, np.log(slope), atol=1e-5)
        back, inverse_log_slope = quick_jit(NEURAL.inverse)(y, rows)
        np.testing.assert_allclose(back, x, rtol=1e-5)
        np.testing.assert_allclose(inverse_log_slope, -np.log(slope), atol=1e-5)


@pytest.mark.parametrize(
    ("x64", "bound"), [(False, 1e-5), (True, 1e-12)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("scale", [0.5, 2.0, 50.0], ids=["usual", "strong", "extreme"])
def test_round_trip(scale, x64, bound):
    with jax.enable_x64(x64):
        raw = raw_parameters(4000, scale)
        x = jnp.asarray(5 * np.random.default_rng(1).normal(size=4000), float)
        forward, inverse = quick_jit(NEURAL.forward), quick_jit(NEURAL.inverse)
        y, log_slope = forward(x, raw)
        back, inverse_log_slope = inverse(y, raw)
        assert jnp.all(log_slope > np.log(0.999 * NEURAL.min_slope))
        assert scale < 50 or jnp.min(log_slope) < np.log(1.001 * NEURAL.min_slope)
        # y carries a rounding error, worth that over the slope in x.
        gap = jnp.abs(back - x) * jnp.minimum(1, jnp.exp(log_slope)) / (1 + jnp.abs(x))
        assert jnp.max(gap) < bound
        assert jnp.median(jnp.abs(inverse_log_slope + log_slope)) < 10 * bound
        # And from any y, not only from images.
        z, flatness = inverse(x, raw)
        again, _ = forward(z, raw)
        slack = jnp.maximum(1, jnp.exp(-flatness))
        assert jnp.max(jnp.abs(again - x) / slack / (1 + jnp.abs(x))) < bound


def test_derivatives_of_the_inverse():
    """By ``y`` and by the parameters, of the root and its log-slope, in both modes and twice."""
    with jax.enable_x64(True):
        raw, y = raw_parameters(1), jnp.array([0.7])

        def inverse(y, raw):
            return jnp.stack(NEURAL.inverse(y, raw))[:, 0]

        def central(function, step=1e-5):
            flat = jnp.concatenate([y, raw.ravel()])

            def at(moved):
                return function(moved[:1], moved[1:].reshape(raw.shape))

            steps = step * jnp.eye(len(flat))
            return jax.vmap(lambda d: (at(flat + d) - at(flat - d)) / (2 * step))(steps)

        def flat(jacobians):
            by_y, by_raw = jacobians
            return jnp.moveaxis(jnp.concatenate([by_y, by_raw[..., 0, :]], axis=-1), -1, 0)

        true = quick_jit(lambda: central(inverse))()
        for mode in (jax.jacfwd, jax.jacrev):
            found = flat(quick_jit(mode(inverse, argnums=(0, 1)))(y, raw))
            assert jnp.max(jnp.abs(found - true)) < 1e-8

        def slope(y, raw):
            return jax.grad(lambda y: inverse(y, raw)[0])(y)

        true = quick_jit(lambda: central(slope))()
        found = flat(quick_jit(jax.jacrev(slope, argnums=(0, 1)))(y, raw))
        assert jnp.max(jnp.abs(found - true)) < 1e-8


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0], ids=["zero", "usual", "extreme"])
def test_gradients_are_finite_everywhere(scale, x64):
    with jax.enable_x64(x64):
        raw = raw_parameters(1, scale)
        far = [s * 10.0**p for s in (-1, 1) for p in (1, 2, 5, 20, 30)]
        x = jnp.asarray([0.0, 1e-30, *units_of(NEURAL, raw[0])[2], *far], float)
        raw = jnp.broadcast_to(raw, (len(x), raw.shape[1]))
        for method in (NEURAL.forward, NEURAL.inverse):

            @quick_jit
            def all_gradients(x, raw, method=method):
                def total(x, raw):
                    y, log_slope = method(x, raw)
                    return jnp.sum(y), jnp.sum(log_slope)

                return method(x, raw), jax.jacrev(total, argnums=(0, 1))(x, raw)

            (y, log_slope), ((slope, bend), (by_raw, slope_by_raw)) = all_gradients(x, raw)
            for values in (y, log_slope, slope, bend, by_raw, slope_by_raw):
                assert jnp.all(jnp.isfinite(values))
            assert error(jnp.log(slope), log_slope) < 1e-3


def test_no_event_disturbs_another():
    """The iteration runs until the last has converged; the others, and NaN, stay what they are."""
    raw, x = raw_parameters(6, 2.0), jnp.array([0.3, jnp.nan, -1e20, 2.0, 1e4, -0.5])
    inverse = quick_jit(NEURAL.inverse)
    together, _ = inverse(x, raw)
    alone = jnp.concatenate([inverse(x[i : i + 1], raw[i : i + 1])[0] for i in range(6)])
    assert jnp.isnan(together[1]) and jnp.all(jnp.isfinite(together[jnp.array([0, 2, 3, 4, 5])]))
    assert jnp.allclose(together, alone, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("transformer", [NEURAL, Swapped(NEURAL)], ids=["forward", "swapped"])
def test_training_tells_the_units_apart(transformer):
    """From zero parameters, towards two separate normals: the loss falls and no two units agree."""
    rng = np.random.default_rng(0)
    data = jnp.asarray(np.where(rng.random(256) < 0.5, -2, 2) + 0.3 * rng.normal(size=256), float)
    adam = optax.adam(0.05)

    def loss(raw):
        z, log_slope = transformer.inverse(data[None], raw[..., None])
        return jnp.mean(0.5 * z * z - log_slope)

    @quick_jit
    def step(raw, state):
        value, gradient = jax.value_and_grad(loss)(raw)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = adam.update(gradient, state)
        return optax.apply_updates(raw, updates), state, value

    raw = jnp.zeros(NEURAL.parameter_shape(1))
    state, losses = adam.init(raw), []
    for _ in range(30):
        raw, state, value = step(raw, state)
        losses.append(float(value))
    assert losses[-1] < losses[0] - 0.3
    _, a, c = units_of(NEURAL, raw[0])
    for values in (a, c):
        assert np.min(np.diff(np.sort(values))) > 1e-3


def test_a_neural_autoregressive_flow():
    layer = autoregressive(Swapped(NEURAL))
    weights = 0.3 * jax.random.normal(jax.random.key(1), layer.conditioner.weights[-1].shape)
    layer = eqx.tree_at(lambda layer: layer.conditioner.weights[-1], layer, weights)
    z = jax.random.normal(jax.random.key(0), (20, 3))
    x, log_det = quick_jit(partial(apply_batch, layer.forward_and_log_det))(z)
    back, inverse_log_det = quick_jit(partial(apply_batch, layer.inverse_and_log_det))(x)
    assert jnp.max(jnp.abs(x - z)) > 0.1
    assert error(back, z) < 1e-4 and error(inverse_log_det, -log_det) < 1e-4


@pytest.mark.parametrize(
    "settings", [{"units": 0}, {"limit": 0.0}, {"reach": -1.0}, {"min_slope": 0.0}]
)
def test_settings_that_make_no_map(settings):
    with pytest.raises(SettingError, match="units >= 1"):
        NeuralTransformer(**settings)
