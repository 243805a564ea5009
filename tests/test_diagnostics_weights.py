"""Importance weights and their witnesses against Gaussian and Pareto truths.

Statistical tests have fixed seeds and limits of 4.5 standard errors: a false alarm of 7e-6 each.
"""

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

from posterion.core.errors import DensityError, SettingError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.interchange import arviz
from posterion.diagnostics import (
    NonFinite,
    clean_log_weights,
    divergences,
    ess,
    ess_fraction,
    exact_sample_ess,
    fit_generalised_pareto,
    forward_kl,
    forward_kl_of_draws,
    k_hat,
    k_hat_limit,
    log_evidence,
    max_weight_share,
    psis,
    reverse_kl,
    weigh,
)

LOG_Z = 2.5  # of the unnormalised N(0, 1)


def gaussian(s: float, n: int, seed: int, *, at_p: bool = False) -> np.ndarray:
    """The log-ratio for p = e^LOG_Z N(0, 1) and q = N(0, s^2), at n draws of q, or of p."""
    x = np.random.default_rng(seed).normal(size=n) * (1 if at_p else s)
    return LOG_Z - x**2 / 2 + x**2 / (2 * s**2) + np.log(s)


def gaussian_ess(s: float) -> float:
    return float(np.sqrt(2 * s**2 - 1) / s**2)  # 1 / integral p^2 / q


def agrees(estimate: Estimate, truth: float, sigmas: float = 4.5) -> bool:
    return abs(estimate.value - truth) <= sigmas * estimate.error


def test_exact_small_cases() -> None:
    x = np.log([1.0, 1.0, 2.0, 0.5])
    assert ess(x) == pytest.approx(4.5**2 / 6.25)
    assert ess_fraction(x).value == pytest.approx(4.5**2 / 6.25 / 4)
    assert max_weight_share(x) == pytest.approx(2 / 4.5)
    assert log_evidence(x).value == pytest.approx(np.log(4.5 / 4))
    assert log_evidence(x).error == pytest.approx(np.std([1, 1, 2, 0.5], ddof=1) / 2 / 1.125)
    assert ess(np.full(7, -1e7)) == pytest.approx(7)
    assert ess_fraction(np.full(7, 1e7)).value == pytest.approx(1)


def test_minus_infinity_is_a_draw_of_weight_zero() -> None:
    x = np.array([0.0, 0.0, -np.inf, -np.inf])
    assert ess(x) == 2
    assert ess_fraction(x).value == 0.5
    assert log_evidence(x).value == pytest.approx(np.log(0.5))
    nothing = np.full(3, -np.inf)
    assert ess(nothing) == 0
    assert log_evidence(nothing).value == -np.inf
    assert np.isnan(max_weight_share(nothing))


@pytest.mark.parametrize("s", [0.85, 1.3, 2.0])
def test_gaussian_truths_and_errors(s: float) -> None:
    x = gaussian(s, 200_000, seed=1)
    if s > 1:  # below, the weights have no fourth moment and first-order errors do not hold
        assert agrees(ess_fraction(x), gaussian_ess(s))
        assert ess_fraction(x).error < 0.01
    assert ess_fraction(x).value == pytest.approx(gaussian_ess(s), rel=0.03)
    assert agrees(log_evidence(x), LOG_Z)
    assert agrees(reverse_kl(x), -np.log(s) + (s**2 - 1) / 2)
    assert agrees(reverse_kl(x, log_evidence=Estimate(LOG_Z, 0.0)), -np.log(s) + (s**2 - 1) / 2)
    assert agrees(forward_kl_of_draws(x), np.log(s) + (1 / s**2 - 1) / 2)


def test_stated_errors_are_the_scatter() -> None:
    """The error of every estimate is its standard deviation over 400 samples, within 20 %.

    The scatter of a standard deviation is 3.5 % here, so that 20 % is 5.6 sigma.
    """
    samples = [gaussian(1.4, 500, seed=s) for s in range(400)]
    at_p = [gaussian(1.4, 500, seed=1000 + s, at_p=True) for s in range(400)]
    close = [gaussian(1.1, 500, seed=2000 + s, at_p=True) for s in range(400)]
    truth = Estimate(LOG_Z, 0.0)
    for name, estimates in {
        "ess": [ess_fraction(x) for x in samples],
        "evidence": [log_evidence(x) for x in samples],
        "reverse": [reverse_kl(x) for x in samples],
        "forward of draws": [forward_kl_of_draws(x) for x in samples],
        "exact": [exact_sample_ess(x, log_evidence=truth).fraction for x in at_p],
        "exact, own evidence": [exact_sample_ess(x).fraction for x in close],
        "forward": [forward_kl(x, log_evidence=truth) for x in at_p],
        "gap": [d for x, y in zip(samples, at_p, strict=True) if (d := divergences(x, y).gap)],
    }.items():
        scatter = np.std([e.value for e in estimates], ddof=1)
        assert np.mean([e.error for e in estimates]) == pytest.approx(scatter, rel=0.2), name


def test_nonfinite_values_are_counted_not_dropped() -> None:
    x = np.array([0.0, np.nan, np.inf, -np.inf, 0.0, np.nan])
    cleaned, counts = clean_log_weights(x)
    assert counts == NonFinite(total=6, nan=2, plus_inf=1, minus_inf=1)
    assert counts.bad == 3
    assert counts + counts == NonFinite(12, 4, 2, 2)
    assert str(counts) == "2 NaN, 1 +inf, 1 -inf of 6"
    assert cleaned.tolist() == [0.0, -np.inf, -np.inf, -np.inf, 0.0, -np.inf]
    report = weigh(x)
    assert report.counts == counts
    assert report.ess_fraction.value == pytest.approx(2 / 6)
    assert report.log_evidence.value == pytest.approx(np.log(2 / 6))
    for function in (ess, ess_fraction, log_evidence, max_weight_share, k_hat, reverse_kl):
        with pytest.raises(DensityError, match="clean_log_weights"):
            function(x)


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"\(n,\)"):
        ess(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="n >= 1"):
        log_evidence([])
    with pytest.raises(ShapeError, match="weights for"):
        exact_sample_ess(np.zeros(3), log_weights=np.zeros(4))
    with pytest.raises(SettingError, match="n_effective"):
        exact_sample_ess(np.zeros(3), n_effective=0)
    with pytest.raises(SettingError, match="r_eff"):
        psis(np.zeros(3), r_eff=0.0)


@pytest.mark.parametrize("n", [30, 400, 100_000])
@pytest.mark.parametrize("kind", ["normal", "heavy", "bounded", "zeros"])
def test_psis_is_that_of_arviz(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    x = {
        "normal": lambda: rng.normal(size=n),
        "heavy": lambda: 1e6 + 0.9 * rng.standard_exponential(n),
        "bounded": lambda: np.log(rng.random(n)),
        "zeros": lambda: np.where(rng.random(n) < 0.3, -np.inf, rng.normal(size=n)),
    }[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs, k = arviz().psislw(x, normalize=False)
    ours = psis(x)
    assert ours.k_hat == pytest.approx(float(k), abs=1e-6)
    np.testing.assert_allclose(ours.log_weights, theirs, atol=1e-7)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.5])
def test_k_hat_of_pareto_weights(k: float) -> None:
    n = 40_000
    found = k_hat(k * np.random.default_rng(5).standard_exponential(n))
    tail = 3 * np.sqrt(n)
    prior = (tail * k + 5) / (tail + 10)
    assert found == pytest.approx(prior, abs=4.5 * (1 + k) / np.sqrt(tail))


def test_generalised_pareto_fit_recovers_shape_and_scale() -> None:
    u = np.random.default_rng(2).random(20_000)
    for k, scale in ((-0.3, 2.0), (0.4, 0.01)):
        found, size = fit_generalised_pareto(np.sort(scale * np.expm1(-k * np.log(u)) / k))
        assert found == pytest.approx(k, abs=4.5 * (1 + k) / np.sqrt(u.size) + 1e-3)
        assert size == pytest.approx(scale, rel=0.05)
    assert fit_generalised_pareto(np.zeros(10))[0] == np.inf


def test_smoothing_tames_a_lucky_weight() -> None:
    """With k = 0.6 the smoothed mean scatters less than the raw one about the truth 1 / (1 - k)."""
    rng = np.random.default_rng(3)
    x = 0.6 * rng.standard_exponential((300, 1000))
    raw = np.exp(logsumexp(x, axis=1)) / 1000
    smooth = np.array([np.exp(logsumexp(psis(row).log_weights)) / 1000 for row in x])
    assert np.std(smooth) < 0.8 * np.std(raw)
    assert abs(smooth.mean() - 2.5) < 0.1


def test_k_hat_at_the_edges() -> None:
    assert k_hat(np.full(100, 3.0)) == 0.0
    assert k_hat(np.full(100, -np.inf)) == np.inf
    assert k_hat([0.0, 1.0, 2.0]) == np.inf
    assert k_hat([0.0]) == 0.0
    assert k_hat_limit(5) == 0.0
    assert k_hat_limit(1000) == pytest.approx(2 / 3)


@pytest.mark.parametrize("s", [0.85, 1.3])
def test_exact_sample_ess_of_gaussians(s: float) -> None:
    x = gaussian(s, 100_000, seed=4, at_p=True)
    given = exact_sample_ess(x, log_evidence=Estimate(LOG_Z, 0.0))
    assert given.points == 100_000
    assert given.unreachable == given.bad == 0
    assert given.fraction.value == pytest.approx(gaussian_ess(s), abs=0.01)
    assert given.k_hat == pytest.approx(1 / s**2 - 1 if s < 1 else -2.0, abs=0.5)
    if s > 1:
        assert agrees(given.fraction, gaussian_ess(s))
        assert agrees(exact_sample_ess(x).fraction, gaussian_ess(s))
    shifted = exact_sample_ess(x, log_evidence=Estimate(LOG_Z + 0.1, 0.0))
    assert shifted.fraction.value == pytest.approx(given.fraction.value * np.exp(0.1))


def test_exact_sample_ess_of_weighted_points() -> None:
    """Points from N(0, 2^2) with the weights of N(0, 1) say the same as points from N(0, 1)."""
    z = 2 * np.random.default_rng(8).normal(size=200_000)
    s = 1.3
    ratio = LOG_Z - z**2 / 2 + z**2 / (2 * s**2) + np.log(s)
    weights = -(z**2) / 2 + z**2 / 8 + 17.0
    found = exact_sample_ess(ratio, log_evidence=Estimate(LOG_Z, 0.0), log_weights=weights)
    assert agrees(found.fraction, gaussian_ess(s))
    assert found.fraction.error < 0.01


def test_errors_widen_with_correlation_and_evidence() -> None:
    x = gaussian(1.3, 4000, seed=4, at_p=True)
    exact = Estimate(LOG_Z, 0.0)
    plain = exact_sample_ess(x, log_evidence=exact).fraction
    chain = exact_sample_ess(x, log_evidence=exact, n_effective=1000).fraction
    assert chain.error == pytest.approx(2 * plain.error, rel=0.05)
    vague = exact_sample_ess(x, log_evidence=Estimate(LOG_Z, 0.05)).fraction
    assert vague.error == pytest.approx(np.hypot(plain.error, 0.05 * vague.value))
    kl = forward_kl(x, log_evidence=exact)
    assert forward_kl(x, log_evidence=exact, n_effective=1000).error == pytest.approx(2 * kl.error)


def test_out_of_reach_and_unusable_points() -> None:
    x = np.zeros(50)
    x[3] = np.inf
    lost = exact_sample_ess(x, log_evidence=Estimate(0.0, 0.0))
    assert (lost.fraction.value, lost.unreachable, lost.k_hat) == (0.0, 1, np.inf)
    assert forward_kl(x, log_evidence=Estimate(0.0, 0.0)).value == np.inf
    x[3] = np.nan
    odd = exact_sample_ess(x, log_evidence=Estimate(0.0, 0.0))
    assert (odd.fraction.value, odd.bad, odd.points) == (pytest.approx(1.0), 1, 50)
    assert np.isnan(exact_sample_ess(np.full(3, np.nan)).fraction.value)
    assert reverse_kl([0.0, -np.inf]).value == np.inf


def test_a_lost_mode_is_seen_by_points_alone() -> None:
    """A flow with one of two modes (0.7, 0.3) has equal weights; the points see the other."""
    rng = np.random.default_rng(0)
    weights = rng.normal(scale=1e-3, size=10_000) + np.log(0.7)
    ratio = np.where(rng.random(2000) < 0.7, np.log(0.7), 40.0)
    report = weigh(weights)
    assert report.ess_fraction.value > 0.999
    assert report.log_evidence.value == pytest.approx(np.log(0.7), abs=1e-3)
    assert exact_sample_ess(ratio, log_evidence=report.log_evidence).fraction.value < 1e-10
    both = divergences(weights, ratio)
    assert both.forward_of_draws.value == pytest.approx(0, abs=1e-4)
    assert both.forward is not None and both.forward.value > 10
    assert both.gap is not None and both.gap.value > 10 * both.gap.error
    assert divergences(weights).gap is None
