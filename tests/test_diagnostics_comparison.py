"""Metrics of two samples, against SciPy and exact values; floors, against truth beside truth."""

import json

import numpy as np
import pytest
from scipy import stats

from posterion.core.columns import Column
from posterion.core.density import kernel_density, window
from posterion.core.errors import SampleError, SettingError
from posterion.diagnostics import compare_samples
from posterion.diagnostics.distances import SIGMAS, Sample, hpd_region, measure, ruler_of

QUICK = {"repeats": 3, "gaussian": False}


def found_by(a, b, *, weights_a=None, weights_b=None, batches=20, seed=0):
    share = [None if w is None else w / w.sum() for w in (weights_a, weights_b)]
    first, second = Sample(a, share[0]), Sample(b, share[1])
    ruler = ruler_of(second, batches=batches, seed=seed)
    return measure(first, second, ruler, np.random.default_rng(seed)), ruler


@pytest.fixture(scope="module")
def two():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 2.0]])
    return rng.normal(size=(1200, 3)) @ mixing, rng.normal(0.1, 1.1, size=(1500, 3)) @ mixing


def test_distances_are_those_of_scipy(two):
    a, b = two
    found, ruler = found_by(a, b)
    for j in range(3):
        assert found["ks"][j] == pytest.approx(stats.ks_2samp(a[:, j], b[:, j]).statistic)
        apart = stats.wasserstein_distance(a[:, j], b[:, j])
        assert found["wasserstein"][j] == pytest.approx(apart)
        assert found["wasserstein_sd"][j] == pytest.approx(apart / b[:, j].std())
    directions = ruler.directions / b.std(axis=0)
    sliced = [stats.wasserstein_distance(a @ u, b @ u) for u in directions]
    assert found["sliced"][0] == pytest.approx(np.mean(sliced))
    difference = np.corrcoef(a.T) - np.corrcoef(b.T)
    assert found["frobenius"][0] == pytest.approx(np.sqrt((difference**2).sum()))


def test_weighted_distances_are_those_of_scipy(two):
    rng = np.random.default_rng(1)
    (a, b), wa, wb = two, rng.exponential(size=1200), rng.exponential(size=1500)
    found, ruler = found_by(a, b, weights_a=wa, weights_b=wb)
    for j in range(3):
        apart = stats.wasserstein_distance(a[:, j], b[:, j], wa, wb)
        assert found["wasserstein"][j] == pytest.approx(apart)
    directions = ruler.directions / ruler.scale
    sliced = [stats.wasserstein_distance(a @ u, b @ u, wa, wb) for u in directions]
    assert found["sliced"][0] == pytest.approx(np.mean(sliced))


def test_p_values_are_those_of_scipy_averaged_over_disjoint_batches(two):
    a, b = two
    found, _ = found_by(a, b, batches=20, seed=3)
    rng = np.random.default_rng(3)
    x, y = a[rng.permutation(1200)], b[rng.permutation(1500)]
    for j in range(3):
        batches = zip(x[:, j].reshape(20, 60), y[:, j].reshape(20, 75), strict=True)
        exact = np.mean([stats.ks_2samp(p, q, method="exact").pvalue for p, q in batches])
        assert found["ks_p"][j] == pytest.approx(exact, abs=0.02)


def test_weights_count_as_repeated_rows(two):
    a, b = two
    times = np.random.default_rng(2).integers(0, 4, 1200)
    kept = times > 0
    weighted, _ = found_by(a[kept], b, weights_a=times[kept].astype(float))
    repeated, _ = found_by(np.repeat(a, times, axis=0), b)
    for key in ("ks", "wasserstein", "wasserstein_sd", "sliced", "frobenius", "width_1", "ends_2"):
        assert weighted[key] == pytest.approx(repeated[key], abs=1e-9), key
    assert weighted["quantile"] == pytest.approx(repeated["quantile"], abs=0.1)  # of few rows


def test_batches_of_weighted_rows_are_worth_what_kish_says():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(8):  # of truth against truth: 0.5, whatever the weights
        x, y = rng.normal(size=(8000, 2)), rng.normal(size=(4000, 2))
        found, _ = found_by(x, y, weights_a=rng.exponential(size=8000), batches=100)
        p.append(found["ks_p"])
    assert np.mean(p) == pytest.approx(0.52, abs=0.03)


def region_of(x, mass):
    return hpd_region(kernel_density(x[:, None], None, [window(x, None, Column("x"))]), mass)


def test_regions_of_a_normal_and_of_two_peaks_are_the_exact_ones():
    rng = np.random.default_rng(5)
    x = rng.normal(size=100_000)
    for sigma, mass in SIGMAS.items():
        region = region_of(x, mass)
        assert region.shape == (1, 2)
        assert region[0] == pytest.approx([-sigma, sigma], abs=0.04 * sigma + 0.02)
    x = np.concatenate([rng.normal(-3, 0.5, 50_000), rng.normal(3, 0.5, 50_000)])
    for sigma, mass in SIGMAS.items():
        region, half = region_of(x, mass), 0.5 * sigma
        exact = [[-3 - half, -3 + half], [3 - half, 3 + half]]
        assert region == pytest.approx(np.array(exact), abs=0.05 * sigma)


def test_a_shift_of_a_tenth_is_seen_with_the_exact_distances():
    rng = np.random.default_rng(6)
    shift = np.array([0.0, 0.1, 0.0])
    found = compare_samples(
        rng.normal(size=(20_000, 3)) + shift, rng.normal(size=(20_000, 3)), names="abc", seed=1
    )
    assert found["ks"].columns[1] == pytest.approx(2 * stats.norm.cdf(0.05) - 1, abs=0.01)
    assert found["wasserstein"].columns[1] == pytest.approx(0.1, abs=0.02)
    assert found["wasserstein"].column == found["ks"].column == "b"
    assert not found.at_floor and "of b" in found.largest[0]
    assert found["ks"].worst_pull > 5 and found["ks"].pull < 2.14
    text = str(found)
    assert text.startswith("first against second, 3 columns") and "Above the floor" in text
    assert "worst: b" in text and "above" in text and "20000" in text


def test_widths_correlations_and_quantiles_are_measured_exactly():
    rng = np.random.default_rng(7)
    two_peaks = rng.choice([-3.0, 3.0], 30_000) + rng.normal(0, 0.5, 30_000)
    wider = rng.choice([-3.0, 3.0], 30_000) + rng.normal(0, 0.6, 30_000)
    z = rng.normal(size=(4, 30_000))
    first = np.stack([wider, 1.2 * z[0], 0.6 * z[0] + 0.8 * z[1]], axis=1)
    found = compare_samples(first, np.stack([two_peaks, z[2], z[3]], axis=1), **QUICK)
    for sigma in SIGMAS:
        width = found[f"width_{sigma}"].columns
        assert width[:2] == pytest.approx([0.2, 0.2], abs=0.05)
        assert found[f"ends_{sigma}"].columns[1] == pytest.approx(0.2 * sigma, abs=0.13 * sigma)
    assert found["frobenius"].value == pytest.approx(0.6 * np.sqrt(2), abs=0.03)
    assert found["quantile"].columns[1] == pytest.approx(0.6, abs=0.15)
    assert found["quantile"].columns[2] < 0.2


@pytest.mark.slow
def test_floors_hold_truth_against_truth_nineteen_times_in_twenty():
    """A verdict has a false-alarm rate of about 1 in 20, a figure of 1 in 20."""
    rng = np.random.default_rng(8)

    def truth(n):
        return np.stack([rng.normal(size=n), rng.exponential(size=n)], axis=1)

    alarms, above = 0, []
    for k in range(20):
        found = compare_samples(truth(800), truth(600), batches=40, gaussian=False, seed=k)
        alarms += not found.at_floor
        above += [m.pull > 2.14 for m in found.metrics]
        above += [m.worst_pull > 2.14 for m in found.metrics if m.worst is not None]
    assert alarms <= 4  # by chance once in 400
    assert np.mean(above) < 0.1


def test_a_floor_is_that_of_the_effective_sizes():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(6000, 2)), rng.normal(size=(6000, 2))
    weights = np.where(np.arange(6000) < 3000, 1.0, 0.2)
    found = compare_samples(a, b, weights_first=weights, gaussian=False, seed=1)
    assert found.effective[0] == pytest.approx(weights.sum() ** 2 / np.square(weights).sum())
    assert "worth 4154" in found.sizes and found.at_floor
    few = compare_samples(a[:1500], b, gaussian=False, seed=1)
    assert few["wasserstein"].floor.value > 1.2 * found["wasserstein"].floor.value


def test_a_plain_normal_is_at_the_floor_of_normals_and_not_of_others():
    rng = np.random.default_rng(10)
    covariance = [[1.0, 0.7], [0.7, 1.0]]
    a, b = rng.multivariate_normal([1, 2], covariance, size=(2, 4000))
    near = compare_samples(a, b, seed=1)["ks"]
    assert near.gaussian is not None and near.gaussian < near.floor.value + 4 * near.floor.error
    far = compare_samples(np.exp(a), np.exp(b), seed=1)["ks"]
    assert far.at_floor and far.gaussian > far.floor.value + 10 * far.floor.error


def test_a_circle_is_cut_where_the_reference_is_not():
    rng = np.random.default_rng(11)
    a, b = rng.vonmises(0, 4, (2, 3000, 1))
    line = compare_samples(a, b, seed=1, **QUICK)
    turned = [(x + np.pi) % (2 * np.pi) for x in (a + 2.0, b + 2.0)]  # across the cut
    circle = compare_samples(*turned, periods=[2 * np.pi], seed=1, **QUICK)
    for key in ("ks", "wasserstein", "width_1", "quantile"):
        assert circle[key].value == pytest.approx(line[key].value, abs=1e-9)


def test_density_ratios_give_the_exact_ess_and_the_best_area():
    x = np.random.default_rng(12).normal(size=(40_000, 1))
    log_ratio = 0.3 * x[:, 0] + 5.0
    log_ratio[0] = -np.inf
    found = compare_samples(x, x + 0.3, log_ratio=log_ratio, **QUICK)
    assert found["ess"].value == pytest.approx(np.exp(-(0.3**2)), abs=0.01)
    assert found["best_auc"].value == pytest.approx(stats.norm.cdf(0.3 / np.sqrt(2)), abs=0.005)
    with pytest.raises(SampleError, match=r"log_ratio has the shape \(3,\)"):
        compare_samples(x, x + 0.3, log_ratio=np.zeros(3), **QUICK)


def test_what_is_found_is_json_and_html_and_repeats_itself():
    rng = np.random.default_rng(13)
    a, b = rng.normal(size=(2, 600, 2))
    found = compare_samples(a, b, names=["<m>", "n"], seed=2)
    card = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert card["metrics"]["ks"]["worst"]["column"] in ("<m>", "n")
    assert card["metrics"]["width_1"]["columns"] == list(found["width_1"].columns)
    assert card["at_floor"] is found.at_floor and card["rows"] == [600, 600]
    html = found._repr_html_()
    assert "<m>" not in html and "&lt;m&gt;" in html and found.verdict in html
    assert compare_samples(a, b, names=["<m>", "n"], seed=2).to_json() == found.to_json()
    with pytest.raises(SettingError, match="no metric 'kss'; there is ks_p, ks"):
        found["kss"]


A = np.random.default_rng(14).normal(size=(600, 2))
BAD = A.copy()
BAD[7, 1] = np.nan


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        (A, A[:, :1], {}, "first has 2 columns, second 1"),
        (A, BAD, {"names": "ab"}, r"second: 1 of 600 rows are not finite, .* row 7 \(b\)"),
        (A * [1, 0], A, {"names": "ab"}, "first: constant, leave out: b"),
        (A, A[:300], {}, "second is worth 300 rows; .*100 batches needs 500"),
        (A[:450], A, {}, "give more rows, or 80 batches"),
        (
            A,
            A,
            {"weights_first": np.arange(600.0) ** 8},
            "first is worth 126 rows; .* give more rows$",
        ),
        (A, A, {"weights_first": np.ones(5)}, r"weights of first have the shape \(5,\)"),
        (A, A, {"weights_second": -np.ones(600)}, "weights of second must be finite"),
        (np.array(["a"]), A, {}, "first must be rows of numbers"),
    ],
)
def test_samples_that_cannot_be_compared_are_named(first, second, options, message):
    with pytest.raises(SampleError, match=message):
        compare_samples(first, second, **options)


@pytest.mark.parametrize(
    "options",
    [{"names": ["a"]}, {"periods": [1.0]}, {"periods": [0.0, None]}, {"batches": 0},
     {"repeats": 2}],
)  # fmt: skip
def test_settings_that_do_not_fit_are_named(options):
    with pytest.raises(SettingError):
        compare_samples(A, A, **options)


def test_one_column_has_no_worst_and_fewer_batches_need_fewer_rows():
    found = compare_samples(A[:450, 0], A[150:, 0], batches=50, **QUICK)
    assert found["ks"].worst is None and np.isnan(found["ks"].worst_pull)
    assert {m.key for m in found.metrics}.isdisjoint({"sliced", "frobenius"})
