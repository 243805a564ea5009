"""Summaries of draws, against analysis."""

import numpy as np
import pytest
from scipy.stats import expon, norm, vonmises

from posterion.core.columns import Column
from posterion.core.errors import SettingError, ShapeError, ThetaError
from posterion.core.summary import latex_text, summarise

N = 20_000
LEVELS = (np.arange(N) + 0.5) / N


def summary_of(x, weights=None, column=None, **options):
    column = column or Column("x")
    return summarise([column], np.asarray(x)[:, None], weights, **options)


# ------------------------------------------------------------------------------------ on the line


def test_summary_of_a_normal():
    row = summary_of(2.0 + 0.5 * norm.ppf(LEVELS))["x"]
    half, wide = 0.5 * norm.ppf(0.84), 0.5 * norm.ppf(0.975)
    assert row["mean"] == pytest.approx(2.0, abs=1e-9)
    assert row["median"] == pytest.approx(2.0, abs=1e-9)
    assert row["sd"] == pytest.approx(0.5, rel=3e-4)
    for prefix, slack in (("", 4e-4), ("hpd ", 1e-2)):  # the shortest interval is flat at its best
        np.testing.assert_allclose(row[f"{prefix}68%"], (2 - half, 2 + half), atol=slack)
        np.testing.assert_allclose(row[f"{prefix}95%"], (2 - wide, 2 + wide), atol=slack)


def test_shortest_interval_of_an_exponential_starts_at_its_wall():
    row = summary_of(expon.ppf(LEVELS))["x"]
    np.testing.assert_allclose(row["68%"], -np.log([0.84, 0.16]), atol=2e-4)
    np.testing.assert_allclose(row["hpd 68%"], (0, -np.log(0.32)), atol=2e-4)
    np.testing.assert_allclose(row["hpd 95%"], (0, -np.log(0.05)), atol=2e-3)


def test_weights_on_an_even_grid_give_the_density_that_they_are():
    x = np.linspace(-6, 6, 6001)
    summary = summary_of(x, 7.0 * norm.pdf(x), levels=(0.9,))
    row = summary["x"]
    assert (row["mean"], row["sd"]) == pytest.approx((0, 1), abs=1e-6)
    np.testing.assert_allclose(row["90%"], norm.ppf([0.05, 0.95]), atol=1e-4)
    np.testing.assert_allclose(row["hpd 90%"], norm.ppf([0.05, 0.95]), atol=2e-2)
    # Kish: (int p)^2 / int p^2 over a spacing of 0.002
    assert summary.effective == pytest.approx(2 * np.sqrt(np.pi) / 0.002, rel=1e-6)
    assert "worth 1 772" in str(summary)


def test_whole_weights_are_repetitions():
    generator = np.random.default_rng(0)
    x, times = generator.normal(size=(50, 3)), generator.integers(0, 4, size=50)
    columns = [Column("a"), Column("b"), Column("c", lower=-4, upper=4, periodic=True)]
    weighted, repeated = summarise(columns, x, times), summarise(columns, np.repeat(x, times, 0))
    for name in ("mean", "sd", "covariance"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-12)
    for level in (0.68, 0.95):
        np.testing.assert_allclose(weighted.hpd[level], repeated.hpd[level], rtol=1e-12)


def test_covariance_and_correlation_match_numpy_and_survive_an_offset():
    generator = np.random.default_rng(1)
    x = generator.multivariate_normal([0, 0], [[1, 0.7], [0.7, 2]], size=150_000)
    far = x * [1e-6, 1.0] + [1e3, 1e9]
    columns = [Column("a"), Column("b")]
    summary = summarise(columns, far)
    np.testing.assert_allclose(summary.covariance, np.cov(far.T, ddof=0), rtol=1e-6)
    np.testing.assert_allclose(summary.correlation, np.corrcoef(x.T), atol=1e-6)
    np.testing.assert_allclose(summary.mean_error, summary.sd / np.sqrt(150_000))


def test_a_column_that_does_not_vary_has_no_correlation():
    summary = summarise([Column("a"), Column("b")], np.stack([np.full(9, 3.0), np.arange(9)], 1))
    assert summary.sd[0] == 0
    assert np.isnan(summary.correlation[0, 1])
    assert summary["a"]["hpd 95%"] == (3.0, 3.0)
    assert "3" in str(summary)


def test_rows_that_are_not_finite_are_counted():
    summary = summary_of([1.0, np.nan, 3.0, np.inf])
    assert summary["x"]["mean"] == 2.0
    assert "2 of 4 draws are not finite and were left out" in str(summary)
    with pytest.raises(ShapeError, match="none of the draws is finite"):
        summary_of([np.nan])


# ---------------------------------------------------------------------------------- on the circle


@pytest.mark.parametrize("middle", [0.0, 175.0, -179.9, 90.0])
def test_circular_statistics_do_not_see_the_cut(middle):
    fine = np.linspace(-np.pi, np.pi, 20_001)
    arcs = np.interp(LEVELS, vonmises.cdf(fine, 4.0), fine) * 180 / np.pi
    column = Column("phi", unit="deg", lower=-180.0, upper=180.0, periodic=True)
    x = (middle + arcs + 180) % 360 - 180
    row = summary_of(x, column=column)["phi"]
    grid = np.linspace(-180, 180, 100_001)
    density = vonmises.pdf(grid * np.pi / 180, 4.0)
    arc = np.sqrt(np.trapezoid(density * grid**2, grid) / np.trapezoid(density, grid))
    assert row["mean"] == pytest.approx(middle, abs=1e-6)
    assert row["sd"] == pytest.approx(arc, rel=1e-3)
    ends = np.interp([0.16, 0.84], LEVELS, arcs)
    np.testing.assert_allclose(row["68%"], middle + ends, atol=0.05)
    np.testing.assert_allclose(row["hpd 68%"], middle + ends, atol=1.0)


def test_an_arc_of_highest_density_may_cross_the_point_opposite_to_the_mean():
    # two thirds of the mass at +-150 degrees, one third at 0: the mean is 180, the arc round it
    x = np.concatenate([np.linspace(140, 160, 400), np.linspace(-160, -140, 400), np.zeros(100)])
    column = Column("phi", lower=-180.0, upper=180.0, periodic=True)
    row = summary_of(x, column=column, levels=(0.85,))["phi"]
    assert row["mean"] in (pytest.approx(180, abs=1e-6), pytest.approx(-180, abs=1e-6))
    low, high = row["hpd 85%"]
    assert 70 < high - low < 80


def test_correlation_with_a_circular_column_across_its_cut():
    z = np.random.default_rng(2).normal(size=5000)
    phi = (3.1 + 0.2 * z + np.pi) % (2 * np.pi) - np.pi
    column = Column("phi", lower=-np.pi, upper=np.pi, periodic=True)
    summary = summarise([Column("z"), column], np.stack([z, phi], 1))
    assert summary.correlation[0, 1] == pytest.approx(1.0, abs=1e-3)
    assert abs(np.corrcoef(z, phi)[0, 1]) < 0.9


# ----------------------------------------------------------------------------------------- tables


def test_printed_table():
    x = np.linspace(-1, 1, 101)
    columns = [Column("x", unit="fm"), Column("Delta m2", unit="eV²")]
    printed = str(summarise(columns, np.stack([x, 2.5e-5 + 1e-7 * x], 1), levels=(0.68,)))
    expected = [
        "101 draws",
        "parameter  unit         mean        sd                         68%",
        "x          fm          0.000     0.583             [-0.680, 0.680]",
        "Delta m2   eV²   2.50000e-05  5.83e-08  [2.49320e-05, 2.50680e-05]",
    ]
    for line, start in zip(printed.splitlines(), expected, strict=True):
        assert line.startswith(start)
    html = summarise([Column("<b>")], x[:, None])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_long_tables_say_what_they_leave_out():
    summary = summarise(
        [Column(f"w[{i}]") for i in range(95)], np.random.default_rng(0).normal(size=(10, 95))
    )
    assert "and 35 more rows: see to_pandas()" in str(summary)
    assert len(summary.to_pandas()) == 95


def test_pandas_and_latex():
    columns = [Column("m_e", unit="10⁻³ eV²", label=r"$m_e$"), Column("50%")]
    summary = summarise(columns, np.stack([norm.ppf(LEVELS)] * 2, 1) * [1e-6, 1])
    table = summary.to_pandas()
    assert list(table.index) == ["m_e", "50%"]
    assert table.loc["50%", "upper_68"] == pytest.approx(norm.ppf(0.84), abs=1e-3)
    assert table.loc["m_e", "unit"] == "10⁻³ eV²"
    lines = summary.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{llrrr}"
    assert lines[4].startswith(r"$m_e$ & 10$^{-3}$ eV$^{2}$ & $(0.0 \pm 1.0) \times 10^{-6}$ & $[")
    assert lines[5].startswith(r"50\% &  & $0.0 \pm 1.0$ & $[-0.994,\, 0.994]$")
    assert latex_text("\\~^{}") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\}"


def test_unknown_rows_and_levels_are_named():
    with pytest.raises(ThetaError, match="no row 'y'; known: x"):
        summary_of([1.0, 2.0])["y"]
    with pytest.raises(SettingError, match=r"between 0 and 1, not 1\.5"):
        summary_of([1.0, 2.0], levels=(1.5,))
    for weights in ([1.0], [-1.0, 1.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ShapeError, match="weights"):
            summary_of([1.0, 2.0], weights)
