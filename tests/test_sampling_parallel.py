"""HMC of many chains in step: exact moments, bounds, budgets, the same seed the same bits."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import posterion
from posterion.core.errors import DensityError

SD = np.array([1e-3, 1.0, 40.0])


def target():
    x = posterion.Parameter("x", shape=(3,), scale=1.0)
    y = posterion.Parameter("y", lower=0.0)

    def log_density(t):
        v = t["x"] / SD
        return -0.5 * (v @ v + (v[0] + v[1]) ** 2) - 2 * t["y"]

    return posterion.Target(log_density, [x, y])


def chain(**options):
    given = {"draws": 300, "warmup": 200, "chains": 64, "sampler": "parallel", "seed": 3}
    return posterion.sample_chain(target(), **{**given, **options}, quiet=True)


@pytest.fixture(scope="module")
def found():
    return chain()


def test_moments(found):
    """Scales of 1e-3 to 40, a correlation, and an exponential beside its bound."""
    covariance = np.linalg.inv(np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]))
    x = found.draws["x"].reshape(-1, 3) / SD
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.06)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.05)
    y = found.draws["y"]
    assert y.min() > 0 and y.mean() == pytest.approx(0.5, rel=0.05)
    assert found.r_hat.max() < 1.02 and found.divergences == 0 and found.complete
    assert found.effective > 4000 and "PARALLEL" in found.report()
    value = target().evaluate(found.flat())
    np.testing.assert_allclose(found.log_density.ravel(), value, rtol=1e-9, atol=1e-9)


def test_bounds_where_hardly_anything_is_and_where_most_is():
    """One normal cut at three standard deviations, and one that ends where it is densest."""
    middle = posterion.Parameter("middle", lower=-1.0, upper=5.0)
    edge = posterion.Parameter("edge", lower=0.0, upper=1.0)

    def log_density(t):
        return -0.5 * ((t["middle"] - 0.2) / 0.4) ** 2 - 4 * t["edge"]

    target = posterion.Target(log_density, [middle, edge])
    chain = posterion.sample_chain(
        target, draws=400, warmup=200, chains=64, sampler="parallel", seed=1, quiet=True
    )
    cut = stats.truncnorm(-3.0, 12.0, 0.2, 0.4)
    exponential = stats.truncexpon(4.0, scale=0.25)
    for name, exact in (("middle", cut), ("edge", exponential)):
        x = chain.draws[name].ravel()
        assert abs(x.mean() - exact.mean()) < 0.03 * exact.std(), name
        assert abs(x.std() / exact.std() - 1) < 0.03, name
        share = stats.kstest(x[::4], exact.cdf).statistic
        assert share < 0.03, name


def test_the_same_seed_gives_the_same_bits(found):
    np.testing.assert_array_equal(chain().x, found.x)


def test_a_budget_ends_it():
    short = chain(max_calls=40_000)
    assert not short.complete and short.length < 300
    assert short.warmup_calls + short.calls + short.scouting_calls <= 41_000


def test_a_start_without_a_density():
    nowhere = posterion.Target(
        lambda t: jnp.where(t["x"] > 1e9, 0.0, jnp.nan), [posterion.Parameter("x", scale=1.0)]
    )
    start = {"x": np.zeros(8)}
    with pytest.raises(DensityError, match="not finite at a start"):
        posterion.sample_chain(nowhere, chains=8, sampler="parallel", start=start, quiet=True)
