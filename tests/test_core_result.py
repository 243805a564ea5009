"""The questions that any result answers, against analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import biject_to
from numpyro.infer import MCMC, NUTS
from scipy.stats import expon, kstest, norm, vonmises

from fake_results import KAPPA, MEAN, PHI_MEAN, SD, W_COVARIANCE, W_MEAN, FakeResult
from posterion.core.columns import Column, column_matrix, columns_of, pick
from posterion.core.errors import DensityError, SettingError, ShapeError, ThetaError
from posterion.core.providers import PROVIDERS, provider
from posterion.core.summary import latex_text, summarise
from posterion.targets import Parameter

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


# ---------------------------------------------------------------------------------------- results


def test_columns_have_names_units_and_the_bounds_of_priors():
    parameters = [
        Parameter("w", shape=(2, 1), unit="fm", label="$w$"),
        Parameter("s", prior=dist.LogNormal(0.0, 1.0)),
        Parameter("u", prior=dist.Uniform(-1.0, 2.0), lower=0.0),
        Parameter("phi", prior=dist.VonMises(0.0, 1.0), lower=0.0, upper=7.0, periodic=True),
    ]
    columns = columns_of(parameters)
    assert [c.name for c in columns] == ["w[0,0]", "w[1,0]", "s", "u", "phi"]
    assert columns[1].label == "$w$[1,0]"
    assert columns[0].heading == "w[0,0] [fm]"
    assert [(c.lower, c.upper) for c in columns[2:]] == [(0.0, None), (0.0, 2.0), (0.0, 7.0)]
    assert columns[4].period == 7.0
    assert pick(parameters, ["u", "w"]) == (3, 0, 1)
    assert pick(parameters, "w[1,0]") == (1,)
    for names in ("y", ["u", "u"], ["w", "w[0,0]"], []):
        with pytest.raises(ThetaError):
            pick(parameters, names)
    with pytest.raises(ThetaError, match="no draws of 's'"):
        column_matrix(parameters[:2], {"w": np.zeros((3, 2, 1))})
    with pytest.raises(ShapeError, match=r"expected \(n, 2, 1\)"):
        column_matrix(parameters[:1], {"w": np.zeros((3, 2))})


def test_result_answers_within_the_noise_of_its_draws():
    result = FakeResult()
    summary = result.summary(n=50_000, seed=1)
    truth = [MEAN, *W_MEAN, PHI_MEAN]
    pulls = (summary.mean - truth) / summary.mean_error
    assert np.abs(pulls).max() < 4  # false alarms: 3e-4
    assert summary.correlation[1, 2] == pytest.approx(0.6, abs=0.02)
    assert summary.names == result.columns == ("m", "w[0]", "w[1]", "phi")
    assert repr(result) == str(result.health)
    assert "<table>" in result._repr_html_()
    assert result.summary("phi", n=100).names == ("phi",)


def test_weights_correct_the_draws():
    """exp(tilt w_0) shifts the mean of a normal by tilt times its covariance."""
    result = FakeResult(target=object(), tilt=0.4)
    assert result.has_density
    plain, exact = (result.summary("w", n=50_000, seed=2, weighted=w) for w in (False, True))
    np.testing.assert_allclose(plain.mean, W_MEAN, atol=0.01)
    np.testing.assert_allclose(exact.mean, W_MEAN + 0.4 * W_COVARIANCE[0], atol=0.012)
    # ESS/N = exp(-tilt^2 variance)
    assert exact.effective / 50_000 == pytest.approx(np.exp(-(0.4**2) * 0.25), rel=0.01)
    with pytest.raises(DensityError):
        FakeResult().summary(weighted=True)
    with pytest.raises(SettingError, match="positive, got 0"):
        FakeResult().summary(n=0)


def test_draws_without_a_finite_density_are_counted():
    class Broken(FakeResult):
        def importance_sample(self, n, *, seed):
            found = super().importance_sample(n, seed=seed)
            found.log_p[:3] = [np.nan, np.inf, -np.inf]
            found.log_weights[:3] = [np.nan, np.inf, -np.inf]
            return found

    summary = Broken(target=object()).summary(n=1000, weighted=True)
    assert summary.notes == ("2 of 1000 draws have no finite density: weight zero",)
    assert summary.effective == pytest.approx(997)


def test_derive_in_numpy_and_jax():
    result = FakeResult()
    derived = result.derive(lambda t: t["w"][:, 0] - t["w"][:, 1], n=50_000, seed=3)
    row = derived.summary["derived"]
    assert row["mean"] == pytest.approx(3.0, abs=0.01)
    assert row["sd"] == pytest.approx(np.sqrt(0.2), abs=0.005)
    assert repr(derived) == str(derived.summary)
    assert derived["derived"].shape == (50_000,)

    def several(theta):
        tiny = jnp.asarray(theta["m"]) + 1e9  # float32 would lose it
        return {"M": jnp.stack([tiny, tiny * 0], 1), "angle": theta["phi"] + 0.2}

    periods = {"angle": (-np.pi, np.pi)}
    derived = result.derive(several, n=1000, units={"M": "eV"}, periods=periods)
    assert derived.summary.names == ("M[0]", "M[1]", "angle")
    assert derived.summary.columns[0].unit == "eV"
    assert np.ptp(derived["M"][:, 0]) > 0
    assert abs(derived.summary["angle"]["mean"]) == pytest.approx(np.pi, abs=0.1)
    assert not jax.config.jax_enable_x64


def test_derive_refuses_what_has_no_row_a_draw():
    result = FakeResult()
    for bad in (
        lambda t: 1.0,
        lambda t: t["m"][:5],
        lambda t: {"a": "text"},
        lambda t: 1j * t["m"],
    ):
        with pytest.raises(ShapeError, match="real numbers with 10 rows"):
            result.derive(bad, n=10)
    with pytest.raises(SettingError, match="nothing derived is called x; there is derived"):
        result.derive(lambda t: t["m"], n=10, units={"x": "fm"})


def test_marginal_has_draws_and_a_density():
    result = FakeResult()
    one, two = result.marginal("phi", n=50_000, seed=4), result.marginal(["w"], n=50_000, seed=4)
    assert one.sample.shape == (50_000,)
    assert two.sample.shape == (50_000, 2)
    density = one.density()
    exact = vonmises.pdf(density.axes[0], KAPPA, PHI_MEAN)
    assert np.abs(density.values - exact).sum() * density.cell < 0.03
    histogram = two.histogram(bins=20)
    assert histogram.values.shape == (20, 20)
    assert histogram.values.sum() * histogram.cell == pytest.approx(1, abs=3e-3)
    assert "Marginal of w[0], w[1]" in repr(two)
    with pytest.raises(SettingError, match="one or two columns, not 4"):
        result.marginal(result.columns, n=10).density()
    with pytest.raises(ThetaError, match="no parameter 'x'; known: m, w"):
        result.marginal("x")


# ------------------------------------------------------------------------------------ other tools


def test_arviz_gets_draws_units_and_weights():
    found = FakeResult(target=object()).to_arviz(n=50, seed=5)
    draws = FakeResult().sample(50, seed=5)
    np.testing.assert_array_equal(found.posterior["w"].values, draws["w"][None])
    assert found.posterior["w"].dims == ("chain", "draw", "w_dim_0")
    assert found.posterior["m"].attrs["units"] == "eV²"
    assert found.posterior.attrs["name"] == "fake"
    np.testing.assert_allclose(found.sample_stats["log_weight"].values, 2.0)
    np.testing.assert_allclose(
        found.sample_stats["lp"].values[0], FakeResult().log_prob(draws) + 2.0
    )
    loaded = FakeResult().to_arviz(n=50, seed=5)
    assert set(loaded.sample_stats.data_vars) == {"lp"}
    np.testing.assert_array_equal(loaded.sample_stats["lp"].values[0], FakeResult().log_prob(draws))


def test_arviz_keeps_its_own_names():
    class Chained(FakeResult):
        parameters = (Parameter("chain"),)

        def sample(self, n, *, seed):
            return {"chain": np.zeros(n)}

        def log_prob(self, theta):
            return np.zeros(len(theta["chain"]))

    with pytest.raises(ShapeError, match="'chain'"):
        Chained().to_arviz(n=5)


@pytest.mark.parametrize("double", [False, True])
def test_numpyro_distribution_is_the_flow(double):
    result = FakeResult()
    with jax.enable_x64(double):
        prior = result.as_numpyro()
        x = prior.sample(jax.random.key(0), (500,))
        assert x.shape == (500, 4)
        assert x.dtype == jnp.result_type(float)
        theta = {k: np.asarray(v, float) for k, v in prior.unflatten(x).items()}
        assert theta["w"].shape == (500, 2)
        tolerance = 1e-10 if double else 1e-4
        expected = result.log_prob(theta)
        np.testing.assert_allclose(prior.log_prob(x), expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(
            prior.log_prob(x[:6].reshape(2, 3, 4)).ravel(),
            expected[:6],
            rtol=tolerance,
            atol=tolerance,
        )
    cdf = (norm(MEAN, SD).cdf, norm(1, 0.5).cdf, norm(-2, 0.5).cdf)
    for k, exact in enumerate(cdf):
        assert kstest(np.asarray(x[:, k], float), exact).pvalue > 1e-4
    assert prior.columns == result.columns


def test_numpyro_density_has_its_derivative_and_a_support():
    prior = FakeResult().as_numpyro()
    x = prior.sample(jax.random.key(1), (20,))
    with jax.enable_x64(True):
        x = jnp.asarray(np.asarray(x, float))
        slope = jax.jit(jax.grad(lambda x: prior.log_prob(x).sum()))(x)
        inverse = np.linalg.inv(W_COVARIANCE)
        np.testing.assert_allclose(slope[:, 1:3], -(x[:, 1:3] - W_MEAN) @ inverse, rtol=1e-9)
        np.testing.assert_allclose(slope[:, 3], -KAPPA * np.sin(x[:, 3] - PHI_MEAN), rtol=1e-9)
    outside = jnp.array([-1e-3, 1.0, -2.0, 3.0])
    assert prior.log_prob(outside) == -jnp.inf
    assert not np.any(np.isnan(jax.grad(prior.log_prob)(outside)))
    with pytest.raises(ShapeError, match="last axis"):
        prior.log_prob(jnp.zeros(3))


def test_numpyro_support_maps_to_the_box_and_back():
    class Mixed(FakeResult):
        parameters = (
            Parameter("free"),
            Parameter("above", lower=2.0),
            Parameter("below", upper=-1.0),
            Parameter("both", lower=-3.0, upper=5.0),
        )

    support = Mixed().as_numpyro().support
    map_to = biject_to(support)
    with jax.enable_x64(True):
        u = jax.random.normal(jax.random.key(2), (50, 4)) * 3
        x = map_to(u)
        assert bool(support(x).all())
        assert not bool(support(jnp.array([0.0, 1.0, -2.0, 0.0])))
        np.testing.assert_allclose(map_to.inv(x), u, rtol=1e-8, atol=1e-8)
        jacobian = jax.vmap(jax.jacobian(map_to))(u)
        expected = np.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(map_to.log_abs_det_jacobian(u, x), expected, rtol=1e-8)
        assert bool(support(support.feasible_like(u)).all())


def test_posterior_is_the_prior_of_the_next_analysis():
    """A measurement w_0 = 2 +- 0.5 of the prior 1 +- 0.5 gives 1.5, and -1.7 for w_1 (corr 0.6)."""
    prior = FakeResult().as_numpyro()

    def model():
        theta = prior.unflatten(numpyro.sample("theta", prior))
        numpyro.sample("measured", dist.Normal(theta["w"][0], 0.5), obs=2.0)

    chain = MCMC(NUTS(model), num_warmup=300, num_samples=1500, progress_bar=False)
    chain.run(jax.random.key(3))
    draws = np.asarray(chain.get_samples()["theta"])
    np.testing.assert_allclose(draws[:, 1:3].mean(0), (1.5, -1.7), atol=0.06)
    assert draws[:, 1].std() == pytest.approx(0.5 / np.sqrt(2), abs=0.04)
    assert draws[:, 0].mean() == pytest.approx(MEAN, abs=0.2 * SD)


# -------------------------------------------------------------------------------------- providers


def test_every_provider_is_there():
    for verb in PROVIDERS:
        assert callable(provider(verb))
    with pytest.raises(SettingError, match="no verb 'plot'; known: corner, report"):
        provider("plot")


def test_results_load_neither_pictures_nor_statistics_packages(run_python):
    run_python(
        "import posterion.core.result, sys\n"
        "slow = {'matplotlib', 'scipy', 'pandas', 'arviz', 'numpyro', 'jax'} & set(sys.modules)\n"
        "assert not slow, slow"
    )


def test_corner_and_report_are_on_the_result(tmp_path):
    result = FakeResult()
    picture = result.corner(names="w", n=2000)
    assert picture._repr_png_()[:4] == b"\x89PNG"
    result.report(tmp_path / "report.html", n=2000)
    assert "Posterior of fake" in (tmp_path / "report.html").read_text(encoding="utf-8")
