"""Classifiers of two samples, against exact ratios and exact areas under the curve."""

import json

import numpy as np
import pytest
from scipy import stats

import posterion
from posterion.core.errors import SampleError, SettingError, ShapeError
from posterion.core.registry import from_tree, to_tree
from posterion.diagnostics.auc import area_under_curve

QUICK = {"hidden": (16,), "epochs": 8, "batch": 200}


def test_area_is_that_of_mann_and_whitney_with_the_spread_of_repetitions():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        a, b = np.round(rng.normal(0.5, 1, 60), 1), np.round(rng.normal(0, 1, 90), 1)  # with ties
        found.append(area_under_curve(a, b))
    u = stats.mannwhitneyu(a, b).statistic / (60 * 90)
    assert found[-1].value == pytest.approx(u, abs=1e-12)
    values, errors = np.array([(e.value, e.error) for e in found]).T
    assert values.mean() == pytest.approx(stats.norm.cdf(0.5 / np.sqrt(2)), abs=4 * 0.048 / 20)
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_weights_count_as_repetitions():
    rng = np.random.default_rng(1)
    a, b, times = rng.normal(size=20), rng.normal(size=30), rng.integers(1, 4, 30)
    weighted = area_under_curve(a, b, weights_second=times)
    assert weighted.value == pytest.approx(area_under_curve(a, np.repeat(b, times)).value)
    with pytest.raises(ShapeError):
        area_under_curve([], b)


@pytest.fixture(scope="module")
def shifted():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.5, 1, (20_000, 2)), rng.normal(0, 1, (22_000, 2))
    return posterion.classify(first, second, seed=1, **QUICK), first, second


def test_learns_the_ratio_of_two_normals(shifted):
    found, _, _ = shifted
    x = np.random.default_rng(3).normal(size=(2000, 2))
    exact = 0.5 * x.sum(axis=1) - 0.25
    assert np.abs(found.log_ratio(x) - exact).mean() < 0.06
    auc = stats.norm.cdf(0.5)  # of the sum: shift 1 over spread sqrt(2), both ways
    assert abs(found.auc.value - auc) < 4 * found.auc.error and found.auc.error < 0.01
    assert abs(found.calibration.value - 1) < 4 * found.calibration.error
    assert "can be told apart" in repr(found) and "cannot" not in repr(found)


def test_weights_make_the_second_sample_follow_the_first(shifted):
    found, first, second = shifted
    w = found.weights(second)
    assert w.mean() == pytest.approx(1)
    mean = w @ second / len(second)
    np.testing.assert_allclose(mean, first.mean(axis=0), atol=0.06)


def test_what_is_stored_is_the_same(shifted):
    found, first, _ = shifted
    arrays = {}
    again = from_tree(json.loads(json.dumps(to_tree(found, arrays))), arrays)
    assert np.array_equal(again.log_ratio(first[:50]), found.log_ratio(first[:50]))


def test_equal_samples_cannot_be_told_apart():
    """False alarms at 4 sigma: 6e-5."""
    rng = np.random.default_rng(4)
    found = posterion.classify(rng.normal(size=(3000, 3)), rng.normal(size=(2000, 3)), **QUICK)
    assert abs(found.auc.value - 0.5) < 4 * found.auc.error
    assert np.abs(found.log_ratio(rng.normal(size=(500, 3)))).mean() < 0.1


def test_weighted_samples_differ_as_weighted():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6000, 1)), rng.normal(1, 1, (6000, 1))
    found = posterion.classify(x, y, weights_first=np.exp(x[:, 0] - 0.5), seed=2, **QUICK)
    assert abs(found.auc.value - 0.5) < 4 * found.auc.error


@pytest.mark.parametrize(
    ("first", "second", "options", "error", "message"),
    [
        (np.zeros((50, 2)), np.zeros((50, 3)), {}, SampleError, "of 2 and of 3 columns"),
        (np.zeros((5, 2)), np.zeros((50, 2)), {}, SampleError, "40 rows"),
        (np.zeros(50), np.zeros((50, 2)), {}, SampleError, "first must be rows"),
        (np.full((50, 2), np.nan), np.zeros((50, 2)), {}, SampleError, "not finite in row 0"),
        (np.zeros((50, 2)), np.ones((50, 2)), {"epochs": 0}, SettingError, "positive epochs"),
        (
            np.zeros((50, 2)),
            np.ones((50, 2)),
            {"weights_second": -np.ones(50)},
            SampleError,
            "weights of second",
        ),
    ],
)
def test_samples_that_cannot_be_compared(first, second, options, error, message):
    with pytest.raises(error, match=message):
        posterion.classify(first, second, **options)


def test_rows_of_another_width(shifted):
    with pytest.raises(SampleError, match="3 columns, the classifier 2"):
        shifted[0].log_ratio(np.zeros((4, 3)))


def test_a_calibration_that_believes_nothing_leaves_the_area_its_error():
    rng = np.random.default_rng([3, 1])
    found = posterion.classify(*rng.normal(size=(2, 400, 1)), hidden=(8,), epochs=3, seed=1)
    assert found.slope == 0  # it turned out the wrong way round on held-out rows
    assert found.auc.error == pytest.approx((201 / (12 * 100 * 100)) ** 0.5, rel=0.1)
    assert 0 < abs(found.auc.value - 0.5) < 3 * found.auc.error
    np.testing.assert_allclose(found.weights(rng.normal(size=(9, 1))), 1.0)


def test_a_width_that_follows_a_wave_is_found():
    rng, rows = np.random.default_rng(4), []
    for wide in (1, 1.3):
        x = rng.uniform(0, 5, (20_000, 1))
        y = np.cos(4 * x + 1) / 3 + x * np.sin(x) / 3 + wide * x / 10 * rng.normal(size=x.shape)
        rows.append(np.hstack([y, x]))
    found = posterion.classify(*rows, epochs=15, batch=256, seed=1)
    # The best possible has 2/pi arctan(1.3) = 0.58.
    assert found.auc.value - 0.5 > 4 * found.auc.error and found.auc.value < 0.6
