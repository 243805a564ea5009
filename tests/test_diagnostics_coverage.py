"""Coverage, conformal factors and calibration error against exact answers."""

import numpy as np
import pytest
from scipy import stats

from posterion.core.errors import SampleError, SettingError, ShapeError
from posterion.diagnostics.coverage import (
    conformal_factors,
    coverage,
    expected_calibration_error,
    normal_probability,
    rows_for_level,
)

LEVELS = [normal_probability(k) for k in (1, 2, 3)]


def test_coverage_counts_and_its_error_is_binomial():
    pulls = np.array([0.5] * 68 + [-1.5] * 27 + [2.5] * 5)
    found = coverage(pulls, (1, 2, 3))
    assert [f.value for f in found] == [0.68, 0.95, 1.0]
    assert found[0].error == pytest.approx((0.68 * 0.32 / 100) ** 0.5, rel=0.05)
    assert 0 < found[2].error < 0.02


def test_a_factor_is_the_order_statistic():
    pulls = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    pulls[::2] *= -1
    assert conformal_factors(pulls, [0.5, 0.9, 0.99]) == [50.0, 90.0, 99.0]


def test_corrected_intervals_cover_what_they_promise_whatever_the_prediction():
    """The mean coverage over calibration sets is ceil((n + 1) level) / (n + 1), exactly."""
    rng = np.random.default_rng(1)
    n, level = 99, 0.9
    covered = []
    for _ in range(3000):
        pulls = 3.0 * rng.standard_cauchy(n)  # a bad prediction
        factor = conformal_factors(pulls, [level])[0]
        covered.append(2 * stats.cauchy(scale=3).cdf(factor) - 1)
    assert np.mean(covered) == pytest.approx(0.9, abs=4 * np.std(covered) / 3000**0.5)


def test_rows_needed_are_those_refused_without():
    for level in LEVELS:
        n = rows_for_level(level)
        conformal_factors(np.arange(n), [level])
        with pytest.raises(SampleError, match=f"{n} are needed"):
            conformal_factors(np.arange(n - 1), [level])


def test_the_calibration_error_of_a_shift_is_the_shift_and_of_truth_the_floor():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.8, 200_000)
    label = rng.random(p.size) < p
    error, floor = expected_calibration_error(p, label)
    assert error == pytest.approx(floor, abs=0.002)
    assert expected_calibration_error(p + 0.1, label)[0] == pytest.approx(0.1, abs=0.004)
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: coverage([]), ShapeError, "numbers"),
        (lambda: coverage([np.nan]), ShapeError, "without NaN"),
        (lambda: conformal_factors([1.0], [1.0]), SettingError, "between 0 and 1"),
        (lambda: expected_calibration_error([0.5], [0, 1]), ShapeError, "1 probabilities"),
        (lambda: expected_calibration_error([1.5], [1]), SettingError, "lie in"),
        (lambda: expected_calibration_error([0.5], [2]), SettingError, "0 or 1"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
