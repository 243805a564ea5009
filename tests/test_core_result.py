"""The questions that any result answers, against analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import biject_to
from numpyro.infer import MCMC, NUTS
from scipy.stats import kstest, norm, vonmises

from fake_results import KAPPA, MEAN, PHI_MEAN, SD, W_COVARIANCE, W_MEAN, FakeResult
from posterion.core.columns import column_matrix, columns_of, pick
from posterion.core.errors import DensityError, SettingError, ShapeError, ThetaError
from posterion.core.providers import PROVIDERS, provider
from posterion.targets import Parameter


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
    single = jnp.asarray(np.asarray(x, np.float32))
    handed_over = jax.jit(lambda prior, x: prior.log_prob(x))(prior, single)
    np.testing.assert_allclose(handed_over, prior.log_prob(single), atol=1e-5)
    assert prior.expand([3]).sample(jax.random.key(0), (2,)).shape == (2, 3, 4)


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
    with pytest.raises(SettingError, match=r"no verb 'plot'; known: .*corner, .*report"):
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
