"""Calibration: the band is exact, a right posterior passes, each broken one fails and is named."""

import numpy as np
import pytest
from scipy import stats

from posterion.core.errors import SettingError, ShapeError
from posterion.diagnostics import calibration_of, uniform_band, uniform_p_value
from posterion.diagnostics.bands import least_uniform

MATRIX = np.array([[1.0, 0.5], [0.0, 1.0]])
NOISE = 0.5
PRECISION = np.eye(2) + MATRIX.T @ MATRIX / NOISE**2
COVARIANCE = np.linalg.inv(PRECISION)


def pairs(n, draws, seed=0, *, shift=0.0, width=1.0, blind=False):
    """Truths ~ N(0, 1), x = A theta + noise, and draws of the posterior or of a broken one."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 2))
    x = theta @ MATRIX.T + NOISE * rng.normal(size=(n, 2))
    covariance = np.eye(2) if blind else COVARIANCE
    mean = 0 * x if blind else x @ (COVARIANCE @ MATRIX.T / NOISE**2).T
    mean = (mean + shift * np.sqrt(np.diag(covariance)))[:, None]
    z = rng.normal(size=(n, draws, 2))
    drawn = mean + width * z @ np.linalg.cholesky(covariance).T

    def log_prob(t):
        r = t - mean
        return -0.5 * np.einsum("nli,ij,nlj->nl", r, np.linalg.inv(covariance) / width**2, r)

    return theta, drawn, x, (log_prob(theta[:, None])[:, 0], log_prob(drawn))


def measured(*arguments, **broken):
    theta, drawn, x, log_prob = pairs(*arguments, **broken)
    return calibration_of(theta, drawn, context=x, log_prob=log_prob, names=["a", "b"])


def test_the_band_holds_uniform_numbers_as_often_as_it_says():
    """False alarms of 4000 samples at 5 %, within four binomial errors; exact for one number."""
    u = np.random.default_rng(3).uniform(size=(4000, 40))
    band = uniform_band(40, 0.05)
    left = np.array([band.left_by(row) for row in u])
    assert abs(left.mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000) + 0.003  # counts are whole
    some = u[:300]
    assert [uniform_p_value(row) <= 0.05 for row in some] == list(left[:300])
    # One number outside of [g/2, 1 - g/2] leaves the band of pointwise level g.
    assert uniform_p_value([0.0041]) == pytest.approx(0.02, abs=1e-9)
    assert uniform_p_value([0.5]) == 1.0
    with pytest.raises(ShapeError, match="must lie in"):
        uniform_p_value([0.5, 1.5])
    with pytest.raises(SettingError, match="alpha"):
        uniform_band(10, 0.0)


def test_the_least_uniform_of_samples():
    rng = np.random.default_rng(4)
    samples = [rng.uniform(size=n) ** power for n, power in ((50, 1), (400, 1.1), (90, 1), (9, 3))]
    p_values = [uniform_p_value(u) for u in samples]
    assert least_uniform(samples) == (int(np.argmin(p_values)), min(p_values))
    assert least_uniform(samples[:1]) == (0, p_values[0])


def test_p_values_of_far_samples_are_small_and_of_many_numbers_exact():
    assert uniform_p_value(np.full(50, 0.5)) < 1e-10
    p = [uniform_p_value(np.random.default_rng(i).uniform(size=3000)) for i in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_the_false_alarm_rate_over_all_quantities():
    """200 right posteriors at 5 %: at most 5 % + 4 binomial errors are rejected, each rank fair."""
    found = [measured(60, 20, seed) for seed in range(200)]
    p = np.array([c.p_values for c in found])
    rate = np.mean([c.p_value <= 0.05 for c in found])
    assert rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
    assert (np.abs((p <= 0.2).mean(axis=0) - 0.2) < 0.11).all()
    assert all(abs(c.pit.mean() - 0.5) < 0.2 for c in found)


def test_a_right_posterior_is_calibrated_and_says_so():
    found = measured(1000, 100, 1)
    assert found.ok and found.p_value > 0.01
    for name in found.names:
        for level in (0.5, 0.6827, 0.9545):
            covered = found.coverage(name, level)
            assert abs(covered.value - level) < 4 * covered.error
    text = " ".join(str(found).split())
    assert "1000 pairs, 100 draws" in text and "Calibrated as far as" in text
    assert "take at least" in text
    np.testing.assert_allclose(found.shrinkage, np.sqrt(np.diag(COVARIANCE)), rtol=0.1)
    card = found.to_json()
    assert card["ok"] and set(card["quantities"]) == {"a", "b", "log-density", "distance"}
    assert "not calibrated" not in found._repr_html_()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"shift": 0.4}, "a (too high)"),
        ({"shift": -0.4}, "a (too low)"),
        ({"width": 0.75}, "log-density (too narrow)"),
        ({"width": 1.3}, "log-density (too wide)"),
        ({"blind": True}, "distance (truths too near)"),
    ],
)
def test_a_broken_posterior_is_found_out(broken, said):
    found = measured(400, 100, 2, **broken)
    assert not found.ok and found.p_value < 1e-4
    assert said in found.verdict and "Do not quote" in str(found).replace("\n", " ")


def test_what_each_quantity_sees():
    """A posterior that does not look at x has uniform coordinates; the distance alone tells."""
    found = measured(400, 100, 2, blind=True)
    p = dict(zip(found.names, found.p_values, strict=True))
    assert min(p["a"], p["b"], p["log-density"]) > 1e-3 and p["distance"] < 1e-20
    theta, drawn, x, _ = pairs(400, 50, 3, blind=True)
    likelihood = [
        -np.square(x[:, None] - t @ MATRIX.T).sum(axis=2) for t in (theta[:, None], drawn)
    ]
    found = calibration_of(theta, drawn, quantities={"log L": (likelihood[0][:, 0], likelihood[1])})
    assert found.p_values[found.names.index("log L")] < 1e-20


def test_ties_are_broken_evenly():
    rng = np.random.default_rng(4)
    found = calibration_of(
        rng.integers(0, 3, (500, 1)).astype(float), rng.integers(0, 3, (500, 30, 1)).astype(float)
    )
    assert found.ok and found.names == ("x[0]",)
    again = calibration_of(np.zeros((50, 1)), np.zeros((50, 30, 1)) + 0.0)
    assert stats.kstest(again["x[0]"], "uniform").pvalue > 1e-3


def test_bad_input_is_named():
    theta, drawn, x, _ = pairs(30, 20)
    for change, error, said in [
        ({"draws": drawn[:, :, :1]}, ShapeError, r"expected the shape \(30, L, 2\)"),
        ({"draws": drawn[:, :5]}, SettingError, "at least 20 with 10"),
        ({"draws": np.where(drawn > 1, np.nan, drawn)}, ShapeError, "are not finite; the first"),
        ({"names": ["a"]}, ShapeError, "1 names for 2"),
        ({"alpha": 1.0}, SettingError, "alpha must lie"),
        ({"context": x[:5]}, ShapeError, "5 rows for 30 pairs"),
        ({"quantities": {"q": (theta[:, 0], theta)}}, ShapeError, "q: expected the shapes"),
        ({"quantities": {"x[0]": (theta[:, 0], drawn[:, :, 0])}}, SettingError, "two quantities"),
    ]:
        given = {"draws": drawn} | change
        with pytest.raises(error, match=said):
            calibration_of(theta, given.pop("draws"), **given)
    found = calibration_of(theta, drawn, context=x)
    with pytest.raises(SettingError, match="no quantity 'c'"):
        found["c"]
    with pytest.raises(SettingError, match="level"):
        found.coverage("x[0]", 1.5)


def test_the_picture_and_the_page():
    from posterion.reports import calibration_page, calibration_plot, render_page

    found = measured(60, 20, 0, shift=1.0)
    figure = found.plot()
    assert [axes.get_title() for axes in figure.axes] == list(found.names)
    assert len(calibration_plot(found, names=["b"]).axes) == 1
    page = render_page(calibration_page(found))
    assert "not calibrated" in page and "Distribution of ranks" in page
    with pytest.raises(SettingError, match="at least one"):
        calibration_plot(found, names=[])
