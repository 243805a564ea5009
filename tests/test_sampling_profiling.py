"""Profiles: exact for normals, at bounds and with two modes; of flows beside the exact one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion.core.errors import DensityError, GradientError, SettingError

COVARIANCE = np.array([[1.0, 0.6, 0.2], [0.6, 2.0, -0.3], [0.2, -0.3, 0.5]])


def normal_target():
    precision = np.linalg.inv(COVARIANCE)
    x = posterion.Parameter("x", scale=2.0)
    y = posterion.Parameter("y", shape=(2,), scale=2.0)

    def log_density(t):
        v = jnp.concatenate([t["x"][None], t["y"]]) - jnp.array([3.0, -1.0, 0.5])
        return -0.5 * v @ precision @ v

    return posterion.Target(log_density, [x, y])


@pytest.mark.parametrize(("name", "i", "centre"), [("x", 0, 3.0), ("y[1]", 2, 0.5)])
def test_of_a_normal(name, i, centre):
    """``t`` is the square of the pull, whatever the correlations."""
    sd = np.sqrt(COVARIANCE[i, i])
    found = posterion.profile(normal_target(), name, centre + sd * np.array([-2, -1, 0, 0.5, 2]))
    np.testing.assert_allclose(found.t, [4, 1, 0, 0.25, 4], atol=1e-6)
    assert found.best[i] == pytest.approx(centre, abs=1e-5)
    fine = posterion.profile(normal_target(), name)
    np.testing.assert_allclose(fine.interval(), [centre - sd, centre + sd], rtol=2e-3)
    assert fine.best_fit["y"].shape == (2,) and len(fine.grid) == 41
    two = fine.interval(0.9544997361036416)
    np.testing.assert_allclose(two, [centre - 2 * sd, centre + 2 * sd], rtol=2e-3)


def test_at_a_bound():
    """The best fit lies on the bound, and the interval is open to its side."""
    x = posterion.Parameter("x", lower=0.0, upper=4.0)
    y = posterion.Parameter("y", lower=0.0)
    target = posterion.Target(lambda t: -0.5 * (t["x"] + 1) ** 2 - t["y"], [x, y])
    found = posterion.profile(target, "x", np.linspace(0, 2, 9))
    np.testing.assert_allclose(found.t, (found.grid + 1) ** 2 - 1, atol=1e-6)
    assert found.best[0] == pytest.approx(0, abs=1e-6)
    low, high = found.interval()
    assert np.isnan(low) and high == pytest.approx(np.sqrt(2) - 1, abs=0.02)


def test_of_results_with_the_exact_one_beside():
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal([3.0, -1.0, 0.5], COVARIANCE, 4000)
    flow = posterion.flows.maf(3, transforms=1, hidden=(8,), seed=1)
    samples = {"x": x[:, 0], "y": x[:, 1:]}
    fit = posterion.fit(flow, samples, target=normal_target(), epochs=30, batch=400, quiet=True)
    before = jax.config.read("jax_enable_x64")
    found = fit.profile("x", [2.0, 3.0, 4.0])
    assert jax.config.read("jax_enable_x64") == before
    assert found.exact is not None
    np.testing.assert_allclose(found.exact.t, [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found.error, found.t - found.exact.t)
    assert np.abs(found.error).max() < 0.3
    best = fit.log_prob({k: np.asarray(v)[None] for k, v in found.best_fit.items()})
    assert found.best_log_prob == pytest.approx(best[0], abs=1e-4)
    alone = posterion.fit(flow, samples, epochs=1, quiet=True).profile("x", [3.0])
    with pytest.raises(DensityError, match="no exact one"):
        _ = alone.error


def test_two_modes_are_both_climbed():
    """Draws near a grid point start there too: the far mode is not overlooked."""
    x, y = (posterion.Parameter(n, scale=4.0) for n in "xy")

    def log_density(t):
        one = -0.5 * ((t["x"] + 2) ** 2 + (t["y"] + 5) ** 2 / 0.01)
        other = -0.5 * ((t["x"] - 2) ** 2 + (t["y"] - 5) ** 2 / 0.01)
        return jnp.logaddexp(one, other)

    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 8000)
    draws = {"x": 2 * side + rng.normal(size=8000), "y": 5 * side + 0.1 * rng.normal(size=8000)}
    target = posterion.Target(log_density, [x, y])
    flow = posterion.flows.coupling_spline(2, transforms=2, hidden=(16,), seed=0)
    fit = posterion.fit(flow, draws, target=target, epochs=5, quiet=True)
    t = fit.profile("x", [-2.0, 0.0, 2.0]).exact.t
    np.testing.assert_allclose(t, [0, 4, 0], atol=1e-2)


def test_what_cannot_be_profiled():
    target = normal_target()
    with pytest.raises(SettingError, match=r"no coordinate 'z'.*x, y\[0\]"):
        posterion.profile(target, "z")
    for grid in ([], [np.nan]):
        with pytest.raises(SettingError, match="finite numbers"):
            posterion.profile(target, "x", grid)
    bounded = posterion.Target(lambda t: -t["x"], [posterion.Parameter("x", lower=0, upper=1)])
    with pytest.raises(SettingError, match="leaves its bounds"):
        posterion.profile(bounded, "x", [0.5, 2.0])
    with pytest.raises(SettingError, match="between 0 and 1"):
        posterion.profile(bounded, "x").interval(1.5)
    x = posterion.Parameter("x", scale=1.0)
    plain = posterion.Target(lambda t: float(-(t["x"] ** 2)), [x], plain=True)
    with pytest.raises(GradientError, match="a profile"):
        posterion.profile(plain, "x")
    nowhere = posterion.Target(lambda t: jnp.where(t["x"] > 2e9, 0.0, -jnp.inf), [x])
    with pytest.raises(DensityError, match="not finite"):
        posterion.profile(nowhere, "x", [0.0])
