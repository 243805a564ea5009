"""Combined targets: log-densities add, a prior of what they share counts once."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from posterion import Parameter, Target
from posterion.core.errors import ParameterError
from posterion.targets import combine

MASS = Parameter("mass", unit="GeV", lower=0.0, upper=10.0)
SCALE = Parameter("scale", prior=dist.Normal(1.0, 0.05))
SHAPE = Parameter("shape", shape=(2,), scale=3.0)


def one_point(t):
    return -0.5 * ((t["mass"] * t["scale"] - 4.0) / 0.5) ** 2


def batched(t):
    return -0.5 * jnp.sum((t["shape"] - t["scale"][:, None]) ** 2, axis=1)


def plain(t):
    return float(-0.5 * (np.asarray(t["mass"]) - 5.0) ** 2)


class Flat:
    """Of coordinates, as they are."""

    def __call__(self, theta):
        raise NotImplementedError

    def at_coordinates(self, x):
        return -0.5 * jnp.sum((x - 1.0) ** 2, axis=1) - 1e7


@pytest.fixture
def first():
    return Target(one_point, [MASS, SCALE], name="first")


@pytest.fixture
def second():
    return Target(batched, [SHAPE, SCALE], vectorized=True, name="second")


def points(n=50):
    rng = np.random.default_rng(0)
    return {
        "mass": rng.uniform(1, 9, n),
        "scale": rng.normal(1, 0.05, n),
        "shape": rng.normal(size=(n, 2)),
    }


def of(target, theta):
    return target.evaluate(target.flatten({name: theta[name] for name in target.names}))


def prior_of_scale(theta):
    return -0.5 * ((theta["scale"] - 1) / 0.05) ** 2 - np.log(0.05 * np.sqrt(2 * np.pi))


def test_densities_add_and_a_common_prior_counts_once(first, second):
    both = combine(first, second)
    assert both.names == ("mass", "scale", "shape") and both.name == "first + second"
    assert both.has_gradient and both.dim == 4
    theta = points()
    expected = of(first, theta) + of(second, theta) - prior_of_scale(theta)
    np.testing.assert_allclose(of(both, theta), expected, rtol=0, atol=1e-12)
    x = both.flatten(theta)
    with jax.enable_x64(True):
        grad = jax.grad(lambda x: jnp.sum(both.log_density64(x)))(jnp.asarray(x))
    step = np.array([0.0, 1e-5, 0.0, 0.0])
    difference = (both.evaluate(x + step) - both.evaluate(x - step)) / 2e-5
    np.testing.assert_allclose(grad[:, 1], difference, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        named = jax.jit(both.log_density)({k: jnp.asarray(v) for k, v in theta.items()})
    np.testing.assert_allclose(named, expected - prior_of_scale(theta), rtol=0, atol=1e-9)


def test_a_third_of_coordinates_in_float64(first, second):
    third = Target(Flat(), [SHAPE, MASS], name="third")
    theta = points()
    both, three = combine(first, second), combine(first, second, third, name="all")
    assert three.name == "all" and three.names == both.names
    expected = of(both, theta) + of(third, theta)
    np.testing.assert_allclose(of(three, theta) + 1e7, expected + 1e7, rtol=0, atol=1e-7)
    nested = combine(both, third)
    np.testing.assert_allclose(of(nested, theta) + 1e7, expected + 1e7, rtol=0, atol=1e-7)


def test_plain_code_among_them(first, second):
    opaque = Target(plain, [MASS], plain=True, name="opaque")
    mixed = combine(opaque, first, second)
    assert not mixed.has_gradient
    for n in (1, 7):
        theta = points(n)
        expected = of(opaque, theta) + of(combine(first, second), theta)
        np.testing.assert_allclose(of(mixed, theta), expected, rtol=0, atol=1e-12)


def test_a_joint_prior_is_shared():
    prior = {("mass", "scale"): dist.MultivariateNormal(jnp.ones(2), jnp.eye(2))}
    pair = [Parameter("mass"), Parameter("scale")]
    one = Target(one_point, pair, prior=prior, name="one")
    two = Target(lambda t: -(t["scale"] ** 2), pair, prior=prior, name="two")
    both, theta = combine(one, two), points()
    once = -0.5 * ((theta["mass"] - 1) ** 2 + (theta["scale"] - 1) ** 2) - np.log(2 * np.pi)
    expected = of(one, theta) + of(two, theta) - once
    np.testing.assert_allclose(of(both, theta), expected, rtol=0, atol=1e-5)
    alone = Target(lambda t: t["mass"], [Parameter("mass")], name="alone")
    with pytest.raises(ParameterError, match=r"'mass' has prior Multi.*mass, scale together.*none"):
        combine(one, alone)


def test_a_scale_is_taken_from_who_gives_it():
    loose = Target(lambda t: -jnp.sum(t["shape"] ** 2), [Parameter("shape", shape=(2,))])
    known = Target(lambda t: -jnp.sum(t["shape"] ** 2), [SHAPE])
    assert combine(loose, known).parameters[0].scale == 3.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Parameter("mass", unit="MeV", lower=0.0, upper=10.0), "unit 'GeV' in 'a', and 'MeV' in"),
        (Parameter("mass", unit="GeV", lower=0.0), r"bounds \(0.0, 10.0\) .* \(0.0, None\) in 'b'"),
        (Parameter("mass", unit="GeV", shape=(2,), lower=0.0, upper=10.0), r"shape \(\) in"),
        (Parameter("mass", unit="GeV", lower=0.0, upper=10.0, periodic=True), "periodic False"),
        (
            Parameter("mass", unit="GeV", lower=0.0, upper=10.0, prior=dist.Normal(5.0, 1.0)),
            r"prior none in 'a', and Normal\(loc=5, scale=1\) in 'b'; make them agree, or rename",
        ),
    ],
)
def test_what_is_shared_must_agree(other, message):
    a = Target(lambda t: t["mass"], [MASS], name="a")
    b = Target(lambda t: jnp.sum(t["mass"]), [other], name="b")
    with pytest.raises(ParameterError, match=rf"parameter 'mass' has .*{message}"):
        combine(a, b)


def test_priors_that_differ_by_a_number(first):
    other = Parameter("scale", prior=dist.Normal(1.0, 0.06))
    again = Target(lambda t: -t["scale"], [other], name="again")
    with pytest.raises(ParameterError, match=r"scale=0.05\) in 'first', and .*0.06\) in 'again'"):
        combine(first, again)
