"""The independence Metropolis chain and autocorrelation, against exact chains.

Statistical tests have fixed seeds and limits of 4.5 standard errors: a false alarm of 7e-6 each.
"""

import numpy as np
import pytest

from posterion.core.errors import DensityError, SettingError, ShapeError
from posterion.core.interchange import arviz
from posterion.diagnostics import (
    autocorrelation,
    ess_bulk,
    ess_tail,
    exact_chain,
    expected_acceptance,
    expected_autocorrelation,
    independence_chain,
    integrated_time,
    split_rhat,
)


def two_weights(n: int, seed: int) -> tuple[np.ndarray, float, float]:
    """Weights 1/2 (80 % of draws) and 3 (20 %), with the exact acceptance and autocorrelation."""
    rng = np.random.default_rng(seed)
    light, heavy, share = 0.5, 3.0, 0.2
    leave = share + (1 - share) * light / heavy  # from a heavy draw; a light one is always left
    p_heavy = share * heavy
    tau = (1 - p_heavy) + p_heavy * (2 / leave - 1)
    return (
        np.log(np.where(rng.random(n) < share, heavy, light)),
        1 - p_heavy + p_heavy * leave,
        tau,
    )


def test_two_weights_exactly() -> None:
    n = 200_000
    x, acceptance, tau = two_weights(n, seed=1)
    chain = independence_chain(x, seed=2)
    assert chain.acceptance == pytest.approx(acceptance, abs=0.01)
    assert expected_acceptance(x) == pytest.approx(acceptance, abs=0.005)
    assert expected_autocorrelation(x) == pytest.approx(tau, rel=0.02)
    # An observable independent of the weight has exactly this autocorrelation.
    observable = np.random.default_rng(3).normal(size=n)
    found = integrated_time(observable[chain.indices])
    assert abs(found.value - tau) < 4.5 * found.error
    assert found.error < 0.05 * tau


def test_chain_is_exact() -> None:
    """Draws from N(0, 1.5^2) become N(0, 1): the mean of x^2 is 1, that of the draws 2.25."""
    z = 1.5 * np.random.default_rng(0).normal(size=100_000)
    x = -(z**2) / 2 + z**2 / 4.5
    chain = z[independence_chain(x, seed=1).indices]
    tau = integrated_time(chain**2)
    error = np.sqrt(2 * tau.value / chain.size)
    assert np.mean(chain**2) == pytest.approx(1.0, abs=4.5 * error)
    assert 4.5 * error < 0.05


def test_discrete_target() -> None:
    """Uniform draws of three states with the weights 1, 2, 5 visit them 1 : 2 : 5."""
    state = np.random.default_rng(0).integers(3, size=80_000)
    x = np.log([1.0, 2.0, 5.0])[state]
    visited = np.bincount(state[independence_chain(x, seed=1).indices]) / state.size
    np.testing.assert_allclose(visited, np.array([1, 2, 5]) / 8, atol=0.012)


def test_indices_are_a_chain_of_proposals() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    chain = independence_chain(x, seed=4)
    steps = np.arange(1000)
    moved = chain.indices == steps
    assert chain.indices.shape == (1000,)
    assert moved[0]
    assert (moved | (chain.indices == np.roll(chain.indices, 1))).all()
    assert chain.acceptance == pytest.approx(moved[1:].mean())
    runs = np.diff(np.append(np.flatnonzero(moved), 1000))
    assert chain.longest_stay == runs.max()
    np.testing.assert_array_equal(chain.indices, independence_chain(x, seed=4).indices)
    assert (chain.indices != independence_chain(x, seed=5).indices).any()


def test_equal_and_zero_weights() -> None:
    equal = independence_chain(np.full(10, 1e7), seed=0)
    np.testing.assert_array_equal(equal.indices, np.arange(10))
    assert equal.acceptance == 1.0
    assert expected_autocorrelation(np.full(10, 1e7)) == pytest.approx(1.0)
    x = np.array([-np.inf, -np.inf, 0.0, -np.inf, -np.inf])
    np.testing.assert_array_equal(independence_chain(x, seed=0).indices, np.full(5, 2))
    assert independence_chain([0.0], seed=0).indices.tolist() == [0]
    with pytest.raises(DensityError, match="zero"):
        independence_chain(np.full(4, -np.inf), seed=0)
    with pytest.raises(DensityError, match="NaN"):
        independence_chain([0.0, np.nan], seed=0)


def test_exact_chain_reports_the_slowest_parameter() -> None:
    n = 50_000
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(n, 3)) * [1.0, 0.8, 1.0]  # the second too narrow: heavy tails
    x = -(draws[:, 1] ** 2) / 2 + draws[:, 1] ** 2 / (2 * 0.8**2)
    report = exact_chain(x, draws, seed=1)
    assert report.slowest == 1
    assert report.effective == pytest.approx(n / report.autocorrelation.value)
    assert report.acceptance == pytest.approx(expected_acceptance(x), abs=0.01)
    assert report.expected_autocorrelation == pytest.approx(expected_autocorrelation(x))
    angle = exact_chain(x, draws, seed=1, periods=[6.3, None, None])
    assert angle.autocorrelation == report.autocorrelation
    with pytest.raises(ShapeError, match="weights"):
        exact_chain(x[:-1], draws, seed=1)


def ar1(rho: float, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Stationary AR(1) chains (chains, n) of unit variance."""
    chains, n = shape
    noise = np.random.default_rng(seed).normal(size=(n, chains)) * np.sqrt(1 - rho**2)
    x = np.empty((n, chains))
    x[0] = noise[0] / np.sqrt(1 - rho**2)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + noise[i]
    return x.T


@pytest.mark.parametrize("window", ["sokal", "geyer"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_of_ar1(window: str, rho: float) -> None:
    x = ar1(rho, (4, 20_000), seed=1)
    found = integrated_time(x, window=window)
    truth = (1 + rho) / (1 - rho)
    assert abs(found.value - truth) < 4.5 * found.error
    assert found.error < 0.1 * truth
    np.testing.assert_allclose(autocorrelation(x)[:5], rho ** np.arange(5), atol=0.05)


def test_antithetic_chain_is_better_than_independent() -> None:
    found = integrated_time(ar1(-0.5, (4, 20_000), seed=1), window="geyer")
    assert found.value == pytest.approx(1 / 3, abs=0.05)


def test_autocorrelation_is_the_direct_sum() -> None:
    x = np.random.default_rng(0).normal(size=257).cumsum()
    y = x - x.mean()
    direct = np.array([y[: 257 - t] @ y[t:] for t in range(257)]) / (y @ y)
    np.testing.assert_allclose(autocorrelation(x), direct, atol=1e-12)


def test_a_series_that_never_moves_is_one_draw() -> None:
    assert integrated_time(np.full(100, 0.1)).value == 100
    assert np.isnan(autocorrelation(np.full(5, 2.0))).all()
    assert np.isfinite(integrated_time([1.0]).value)


def test_bad_series() -> None:
    with pytest.raises(ShapeError, match="not finite"):
        integrated_time([1.0, np.nan])
    with pytest.raises(ShapeError, match="shape"):
        autocorrelation(np.zeros((2, 3, 4)))
    with pytest.raises(ShapeError, match="chains, draws"):
        split_rhat(np.zeros(5))
    with pytest.raises(SettingError, match="window"):
        integrated_time([1.0, 2.0], window="bartlett")
    with pytest.raises(SettingError, match="c:"):
        integrated_time([1.0, 2.0], c=0)


def test_rank_statistics_by_component() -> None:
    x = np.random.default_rng(0).normal(size=(4, 500, 2, 3))
    x[0, :, 1, 2] += 3
    r = split_rhat(x)
    assert r.shape == (2, 3)
    assert (r.ravel()[:-1] < 1.02).all()
    assert r[1, 2] > 1.2
    assert split_rhat(x[..., 0, 0]) == pytest.approx(float(arviz().rhat(x[..., 0, 0])))
    assert ess_bulk(x)[0, 1] == pytest.approx(float(arviz().ess(x[..., 0, 1])))
    assert ess_tail(x)[0, 1] == pytest.approx(float(arviz().ess(x[..., 0, 1], method="tail")))
    assert ess_bulk(x)[1, 2] < 50 < 1000 < ess_bulk(x)[0, 0]
    assert ess_tail(x)[0, 0] != ess_bulk(x)[0, 0]
