"""Where a density lives: from no knowledge to a reference measure several times as wide."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions

from posterion.core.errors import DensityError
from posterion.sampling.scales import find_scales
from posterion.sampling.smc import scout
from posterion.targets import Frame, Parameter, Target

BOTH = pytest.mark.parametrize("library", [jnp, np], ids=["jax", "plain"])


def target_of(density, parameters, library) -> Target:
    return Target(
        density, parameters, vectorized=True, plain=True if library is np else None, name="case"
    )


def normal(x, mean, sd):
    return -0.5 * ((x - mean) / sd) ** 2


@BOTH
@pytest.mark.parametrize(("mean", "sd"), [(1e5, 1e-2), (3e-5, 1e-7), (-2e3, 40.0), (0.0, 1e-6)])
def test_a_normal_of_any_magnitude(library, mean, sd):
    target = target_of(lambda t: normal(t["x"], mean, sd), [Parameter("x")], library)
    found = find_scales(target, seed=1)
    assert abs(found.centre[0] - mean) < sd
    assert 5 < found.scale[0] / sd < 12
    assert found.calls < 6000
    assert "x = " in found.searched and "one optimum" in found.searched


@BOTH
def test_correlated_parameters_of_far_magnitudes(library):
    def density(t):
        a, b = (t["a"] - 3e-5) / 1e-7, (t["b"] - 1e5) / 1e-2
        return -0.5 * (a**2 - 1.8 * a * b + b**2) / 0.19 + normal(t["c"], 0.0, 1.0)

    parameters = [Parameter("a"), Parameter("b"), Parameter("c")]
    found = find_scales(target_of(density, parameters, library), seed=1)
    sd = np.array([1e-7, 1e-2, 1.0])
    np.testing.assert_array_less(np.abs(found.centre - [3e-5, 1e5, 0.0]), sd)
    np.testing.assert_array_less(np.abs(np.log(found.scale / (8 * sd))), np.log(1.6))
    assert found.calls < 30_000


@BOTH
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_a_banana_beside_a_bounded_parameter(library, offset):
    def density(t):
        return offset - 0.5 * (t["x"] ** 2 + (t["y"] - t["x"] ** 2) ** 2 / 0.1)

    target = target_of(density, [Parameter("x"), Parameter("y", lower=-5.0, upper=30.0)], library)
    found = find_scales(target, seed=1)
    assert abs(found.centre[0]) < 1
    assert 4 < found.scale[0] < 25
    assert (found.centre[1], found.scale[1]) == (0, 1)  # y has bounds: nothing to find
    assert "y" not in found.searched.partition("within")[2]


@BOTH
def test_heavy_tails(library):
    target = target_of(
        lambda t: -2 * library.log1p(((t["x"] - 2) / 0.1) ** 2 / 3), [Parameter("x")], library
    )
    found = find_scales(target, seed=1)
    assert abs(found.centre[0] - 2) < 0.2
    assert 0.6 < found.scale[0] < 4  # 68 % of the probability lies within 0.12


@BOTH
def test_half_bounded_parameters(library):
    def density(t):
        return normal(t["m"], 3e-5, 1e-7) - (t["s"] - 2.0) / 1e6 + normal(t["n"], -3e5, 1e-2)

    parameters = [Parameter("m", lower=0.0), Parameter("s", lower=2.0), Parameter("n", upper=0.0)]
    found = find_scales(target_of(density, parameters, library), seed=1)
    np.testing.assert_allclose(found.centre, [0.0, 2.0, 0.0])
    # Three times the 97.5 % quantile of the distance from the bound.
    wanted = 3 * np.array([3e-5, 3.69e6, 3e5])
    np.testing.assert_array_less(np.abs(np.log(found.scale / wanted)), np.log(1.5))
    assert "m = 0 to 0 + " in found.searched and "n = 0 to 0 - " in found.searched


def test_separated_modes_are_within_reach():
    def density(t):
        return jnp.logaddexp(normal(t["x"], 1000.0, 1.0), normal(t["x"], -1000.0, 1.0))

    found = find_scales(target_of(density, [Parameter("x")], jnp), seed=1)
    assert "2 optima" in found.searched
    assert found.scale[0] > 1000


def test_a_flat_direction_is_named():
    target = target_of(
        lambda t: normal(t["x"], 0.0, 1.0) + 0 * t["y"], [Parameter("x"), Parameter("y")], jnp
    )
    with pytest.raises(DensityError, match=r"does not fall off along y: .* `scale`"):
        find_scales(target, seed=1)


@BOTH
def test_nowhere_finite(library):
    target = target_of(lambda t: t["x"] * library.nan, [Parameter("x")], library)
    with pytest.raises(DensityError, match="finite at none of 40 points with x between 1e-08"):
        find_scales(target, seed=1)


def test_other_supports_stay_what_they_are():
    parameters = [
        Parameter("free"),
        Parameter("phi", lower=-180.0, upper=180.0, periodic=True),
        Parameter("z", prior=distributions.Normal(3.0, 2.0)),
        Parameter("w", scale=7.0, centre=1.0),
    ]
    target = target_of(
        lambda t: (
            normal(t["free"], 10.0, 0.5)
            + jnp.cos(jnp.deg2rad(t["phi"]))
            + normal(t["z"], 2.0, 1.0)
            + normal(t["w"], 0.0, 1.0)
        ),
        parameters,
        jnp,
    )
    found = find_scales(target, seed=1)
    support = target.support(found.centre, found.scale)
    assert float(support.a[0]) == pytest.approx(10.0, abs=0.5)
    assert 2 < float(support.b[0]) < 8
    np.testing.assert_allclose(support.a[1:], [-180.0, 3.0, 1.0])
    np.testing.assert_allclose(support.b[1:], [180.0, 2.0, 7.0])


def test_no_second_derivative_is_no_obstacle():
    """A kink at the top: Newton's method finds no Gaussian there, the walkers find the width."""
    found = find_scales(
        target_of(lambda t: -jnp.abs(t["x"] - 1e-3) / 1e-5, [Parameter("x")], jnp), seed=1
    )
    assert abs(found.centre[0] - 1e-3) < 1e-5
    assert found.scale[0] > 5e-5


def test_a_limit_is_kept_and_said():
    def density(t):
        return (
            normal(t["v"], 0.0, 3.0)
            - 4.5 * t["v"]
            - 0.5 * np.exp(-t["v"]) * np.square(t["x"]).sum(-1)
        )

    target = target_of(density, [Parameter("v"), Parameter("x", shape=(9,))], np)
    found = find_scales(target, seed=1, calls_limit=8000)
    assert found.calls <= 8000
    assert "a `scale` is safer" in found.searched


def test_what_was_found_serves_the_real_run():
    """The evidence of N(1e5, 1e-2) through the scales found; five standard errors."""
    target = target_of(lambda t: normal(t["x"], 1e5, 1e-2), [Parameter("x")], jnp)
    scales = find_scales(target, seed=1)
    frame = Frame.plain(target.support(scales.centre, scales.scale))
    found = scout(target, frame, particles=500, seed=1)
    truth = 0.5 * np.log(2 * np.pi) + np.log(1e-2)
    assert abs(found.log_evidence - truth) < 5 * found.error < 0.8


def test_seeds_reproduce():
    target = target_of(lambda t: normal(t["x"], 5.0, 2.0), [Parameter("x")], np)
    first, again, other = (find_scales(target, seed=seed) for seed in (1, 1, 2))
    assert (first.centre, first.scale) == (again.centre, again.scale)
    assert first.searched == again.searched
    assert first.scale != other.scale
