"""The pendulum: what is simulated, gravity by hand, and the exact posterior."""

import numpy as np
import pytest
from scipy import stats

from posterion.studies.pendulum.simulation import FEATURES, analytic, simulated
from posterion.studies.pendulum.truth import posterior


def test_what_is_measured():
    found = simulated(40_000, 0.1, seed=1)
    assert found.features.shape == (40_000, len(FEATURES)) == (40_000, 13)
    length = found.g * (found.period / (2 * np.pi)) ** 2
    assert length.min() >= 0.2 and length.max() <= 0.8
    pulls = (found.length / length - 1) / 0.02
    assert stats.kstest(pulls, "norm").pvalue > 1e-3
    pulls = (found.periods / found.period[:, None] - 1) / found.noise[:, None]
    assert stats.kstest(pulls[:, 3], "norm").pvalue > 1e-3
    assert stats.kstest(found.noise, stats.uniform(0.01, 0.09).cdf).pvalue > 1e-3
    far = simulated(1000, 0.1, lengths=(1.2, 1.6), seed=1)
    assert far.g.min() >= 5 and np.median(far.length) == pytest.approx(1.4, abs=0.05)


def test_gravity_by_hand_has_the_error_it_states():
    found = simulated(40_000, 0.02, seed=2)
    g, error = analytic(found)
    pulls = (g - found.g) / error
    assert abs(pulls.mean()) < 0.05 and pulls.std() == pytest.approx(1, abs=0.05)
    # Of ten periods with an error of 1 % each, and of the length.
    quiet = simulated(4000, 0.0100001, seed=3)
    ratio = analytic(quiet)[1] / analytic(quiet)[0]
    assert np.mean(ratio) == pytest.approx(np.hypot(0.02, 2 * 0.01 / 10**0.5), rel=0.02)


def test_the_exact_posterior_is_that_of_weighted_draws_of_the_prior():
    found = simulated(3, 0.05, seed=4)
    exact = posterior(found, 0.05)
    rng = np.random.default_rng(0)
    n = 400_000
    g, nu = rng.uniform(5, 15, n), rng.uniform(0.01, 0.05, n)
    for i in range(3):
        # Lengths by the likelihood of the measured one in place of the prior, and its weight.
        length = found.length[i] * (1 + 0.025 * rng.standard_t(5, n))
        proposed = stats.t.logpdf((length / found.length[i] - 1) / 0.025, 5)
        inside = (length > 0.2) & (length < 0.8)
        length = np.where(inside, length, 0.5)
        period = 2 * np.pi * np.sqrt(length / g)
        log_w = -0.5 * ((found.length[i] / length - 1) / 0.02) ** 2 - np.log(length) - proposed
        log_w = log_w - 10 * np.log(nu * period)
        residuals = (found.periods[i][:, None] / period - 1) / nu
        log_w = np.where(inside, log_w - 0.5 * (residuals**2).sum(axis=0), -np.inf)
        w = np.exp(log_w - log_w.max())
        w /= w.sum()
        size = 1 / (w**2).sum()
        mean = w @ g
        sd = np.sqrt(w @ (g - mean) ** 2)
        assert size > 1000
        assert abs(exact.mean[i] - mean) < 4 * sd / size**0.5
        assert exact.sd[i] == pytest.approx(sd, rel=4 / size**0.5)
        below = w @ (g < found.g[i])
        assert abs(exact.below[i] - below) < 4 * 0.5 / size**0.5 + 0.002


def test_the_exact_posterior_is_calibrated():
    found = simulated(1500, 0.2, seed=5)
    exact = posterior(found, 0.2)
    assert stats.kstest(exact.below, "uniform").pvalue > 1e-3
    pulls = (found.g - exact.mean) / exact.sd
    assert abs(pulls.mean()) < 4 / 1500**0.5 and pulls.std() == pytest.approx(1, abs=0.08)
    # The mean squared error of the mean is the mean variance: what the published methods reach.
    assert np.mean((found.g - exact.mean) ** 2) == pytest.approx(np.mean(exact.sd**2), rel=0.1)
