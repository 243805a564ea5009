"""The target and its exact posterior against formulas, quadrature of another kind and figures."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import simpson
from scipy.special import ive

import neutrino_tables as synthetic
from posterion.core.errors import SettingError, TableError
from posterion.studies.neutrinos.releases import load_release
from posterion.studies.neutrinos.tables import read_tables
from posterion.studies.neutrinos.target import ChiSquared, neutrino_target
from posterion.studies.neutrinos.truth import exact, ordering_probability

NAMES = synthetic.NAMES
NORMAL = [n for n in NAMES if n != "delta_CP"]
needs_flavorpy = pytest.mark.skipif(
    importlib.util.find_spec("flavorpy") is None, reason="needs flavorpy [nufit]"
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    return {
        "NO": read_tables(synthetic.write_tables(folder / "x-NO.txt", "NO")),
        "IO": read_tables(synthetic.write_tables(folder / "x-IO.txt", "IO", offset=5.0)),
        "pair": read_tables(synthetic.write_tables(folder / "pair.txt", "NO", profiled=True)),
    }


@pytest.fixture(scope="module", params=[False, True], ids=["default", "theta13-theta23"])
def case(request, tables):
    pair = request.param
    return pair, exact(ChiSquared.of(tables["pair" if pair else "NO"], theta13_theta23=pair))


def test_evidence_is_that_of_the_formula(case):
    pair, truth = case
    assert truth.log_evidence == pytest.approx(synthetic.log_evidence(pair), abs=2e-6)


def test_moments_are_those_of_the_formula(case):
    pair, truth = case
    covariance = synthetic.covariance(pair)
    sd = np.sqrt(np.diag(covariance))
    for name, wanted in zip(NORMAL, sd, strict=True):
        assert truth.mean[name] == pytest.approx(synthetic.MEAN[name], abs=1e-5 * wanted)
        assert truth.sd[name] == pytest.approx(wanted, rel=1e-5)
    index = [NAMES.index(n) for n in NORMAL]
    wanted = covariance / np.outer(sd, sd)
    np.testing.assert_allclose(truth.correlation[np.ix_(index, index)], wanted, atol=2e-5)
    np.testing.assert_allclose(truth.correlation[2], np.eye(6)[2], atol=1e-5)
    if pair:
        assert abs(wanted[4, 1]) > 0.05  # theta13 reaches Dm2_3l through theta23


def test_marginals_are_normal_and_von_mises(case):
    pair, truth = case
    p = np.array([0.00135, 0.05, 0.5, 0.9, 0.999])
    for name, variance in zip(NORMAL, np.diag(synthetic.covariance(pair)), strict=True):
        wanted = stats.norm(synthetic.MEAN[name], np.sqrt(variance))
        found = truth.marginals[name]
        np.testing.assert_allclose(found.quantile(p), wanted.ppf(p), atol=1e-4 * wanted.std())
        np.testing.assert_allclose(found.probability_below(wanted.ppf(p)), p, atol=1e-6)
        x = wanted.ppf(p)
        np.testing.assert_allclose(
            found.pdf(x) * wanted.std(), wanted.pdf(x) * wanted.std(), atol=2e-4
        )
    found = truth.marginals["delta_CP"]
    x = np.linspace(-179.0, 179.0, 50)
    radians = np.deg2rad(x - synthetic.CENTRE)
    wanted = np.exp(synthetic.KAPPA * (np.cos(radians) - 1)) / (360 * ive(0, synthetic.KAPPA))
    np.testing.assert_allclose(found.pdf(x), wanted, rtol=2e-4)
    assert found.cdf[0] == 0.0 and found.cdf[-1] == 1.0


def test_two_dimensional_marginals(case):
    pair, truth = case
    covariance = synthetic.covariance(pair)
    pairs = [
        ("sin2_theta23", "Dm2_3l"),
        ("sin2_theta13", "sin2_theta23"),
        ("Dm2_3l", "sin2_theta13"),
    ]
    for a, b in [*pairs, ("log10_Dm2_21", "sin2_theta12"), ("sin2_theta12", "sin2_theta13")]:
        x, y, density = truth.marginal2d(a, b)
        i, j = NORMAL.index(a), NORMAL.index(b)
        normal = stats.multivariate_normal(
            [synthetic.MEAN[a], synthetic.MEAN[b]], covariance[np.ix_([i, j], [i, j])]
        )
        wanted = normal.pdf(np.stack(np.meshgrid(x, y, indexing="ij"), -1))
        np.testing.assert_allclose(density, wanted, atol=3e-5 * wanted.max())
        x2, _, turned = truth.marginal2d(b, a)
        np.testing.assert_allclose(turned, density.T)
        assert len(x2) == len(y)


def test_bins_have_equal_probability_and_the_divergence_its_floor(tables):
    truth = exact(ChiSquared.of(tables["NO"]))
    marginal = truth.marginals["sin2_theta12"]
    edges = marginal.bins(50)
    assert len(edges) == 51 and (edges[0], edges[-1]) == truth.chi2.edges("sin2_theta12")
    np.testing.assert_allclose(np.diff(marginal.probability_below(edges)), 0.02, atol=1e-9)
    rng = np.random.default_rng(0)
    mean, sd = synthetic.MEAN["sin2_theta12"], synthetic.SD["sin2_theta12"]
    draws = mean + sd * rng.normal(size=100_000)
    # 8 n JS is chi-squared of 49 degrees of freedom: outside 22.7..85.4 once in 1000
    assert 22.7 < 8e5 * marginal.divergence(draws) < 85.4
    shifted = marginal.divergence(draws + 0.1 * sd)
    assert shifted == pytest.approx(0.1**2 / 8, rel=0.15)
    assert marginal.divergence(np.full(10, mean)) < np.log(2)


def test_upper_octant_and_ordering(tables):
    truths = {o: exact(ChiSquared.of(tables[o])) for o in ("NO", "IO")}
    assert truths["NO"].upper_octant_probability == pytest.approx(0.5, abs=1e-6)
    assert truths["IO"].log_evidence == pytest.approx(truths["NO"].log_evidence, abs=1e-6)
    probability, log_ratio = ordering_probability(truths)
    assert log_ratio == pytest.approx(2.5, abs=1e-6)
    assert probability == pytest.approx(1 / (1 + np.exp(2.5)), abs=1e-6)
    with pytest.raises(SettingError, match="NO and IO"):
        ordering_probability({"NO": truths["NO"]})


def test_own_profile(tables):
    truth = exact(ChiSquared.of(tables["IO"]))
    x, chi2 = truth.profile("sin2_theta13")
    z = (x - synthetic.MEAN["sin2_theta13"]) / synthetic.SD["sin2_theta13"]
    np.testing.assert_allclose(chi2, z**2, atol=1e-6)
    with pytest.raises(TableError, match="no block of"):
        truth.profile("Dm2_3l")


def test_target_is_minus_half_chi2_in_numpy_and_jax(tables):
    target = neutrino_target(tables["IO"])
    assert target.names == NAMES
    assert target.name == "NuFIT x-IO IO"
    by_name = {p.name: p for p in target.parameters}
    delta = by_name["delta_CP"]
    assert (delta.lower, delta.upper, delta.periodic) == (-180.0, 180.0, True)
    assert by_name["Dm2_3l"].label == r"$\Delta m^2_{32}$"
    assert by_name["Dm2_3l"].upper == pytest.approx(-2.5 + 7.5 * 0.04)
    rng = np.random.default_rng(3)
    theta = {n: synthetic.MEAN[n] + synthetic.SD[n] * rng.normal(size=40) for n in NORMAL}
    theta["Dm2_3l"] = -theta["Dm2_3l"]
    theta["delta_CP"] = rng.uniform(-180, 180, 40)
    wanted = sum(
        synthetic.chi2(names, "IO", *(theta[n] for n in names))
        for names in (NAMES[:3], NAMES[3:5], NAMES[5:])
    )
    with jax.enable_x64(True):
        found = jax.jit(target.log_density)({n: jnp.asarray(v) for n, v in theta.items()})
    np.testing.assert_allclose(found, -0.5 * wanted, atol=1e-3)
    x = target.flatten(theta)
    np.testing.assert_allclose(target.evaluate(x), found, atol=1e-10)
    assert target.has_gradient
    plain = neutrino_target(tables["IO"], plain=True)
    assert not plain.has_gradient
    np.testing.assert_allclose(plain.evaluate(x), found, atol=1e-10)


def test_the_pair_is_counted_once(tables):
    chi2 = ChiSquared.of(tables["pair"], theta13_theta23=True)
    theta = {n: np.array([synthetic.MEAN.get(n, synthetic.CENTRE)]) for n in NAMES}
    for name in ("sin2_theta13", "sin2_theta23"):
        theta[name] = theta[name] + 2 * synthetic.SD[name]
    a = 2 * synthetic.RHO_ATMOSPHERIC**2 / (1 - synthetic.RHO_ATMOSPHERIC**2)
    wanted = 8 / (1 + synthetic.RHO_PAIR) + 2 * a  # Dm2_3l stays at its mean
    assert chi2.value(theta)[0] == pytest.approx(wanted, abs=2e-5)


@needs_flavorpy
@pytest.mark.parametrize(
    "ordering, log_evidence, octant, mean, sd",
    [
        (
            "NO",
            -14.57585,
            0.3337,
            (0.4894, 2.5005, -109, 0.3080, -4.1304, 0.02223),
            (0.0479, 0.0265, 66, 0.0116, 0.0120, 0.00058),
        ),
        ("IO", -14.53876, 0.6045, None, None),
    ],
)
def test_release_53_against_figures_found_before(ordering, log_evidence, octant, mean, sd):
    """Sums over a grid of finite step, found by other code: they hold to that step."""
    truth = exact(ChiSquared.of(load_release("5.3", ordering)))
    assert truth.log_evidence == pytest.approx(log_evidence, abs=3e-4)
    assert truth.upper_octant_probability == pytest.approx(octant, abs=2e-3)
    if mean is not None:
        tolerance = (1e-4, 1e-4, 2, 1e-4, 1e-4, 1e-5)
        for name, a, b, t in zip(NAMES, mean, sd, tolerance, strict=True):
            assert truth.mean[name] == pytest.approx(a, abs=t)
            assert truth.sd[name] == pytest.approx(b, abs=t)


@needs_flavorpy
def test_release_53_is_converged_and_gives_the_ordering():
    truths = {}
    for ordering in ("NO", "IO"):
        chi2 = ChiSquared.of(load_release("5.3", ordering))
        truths[ordering] = exact(chi2)
        assert exact(chi2, order=2).log_evidence == pytest.approx(
            truths[ordering].log_evidence, abs=1e-5
        )
        # another rule: Simpson's on every interval
        total = 0.0
        for names, spline in chi2.terms.items():
            axes = []
            for name, axis in zip(names, spline.axes, strict=True):
                nodes = truths[ordering].nodes[name]
                near = (axis.breaks > nodes[0] - 1e-9) & (axis.breaks < nodes[-1])
                breaks = axis.breaks if axis.period is not None else axis.breaks[near]
                half = np.arange(2 * len(breaks) - 1) / 2
                axes.append(np.interp(half, np.arange(len(breaks)), breaks))
            integral = np.exp(-0.5 * spline.on_grid(*axes))
            for x in axes:
                integral = simpson(integral, x=x, axis=0)
            total += np.log(integral)
        assert truths[ordering].log_evidence == pytest.approx(total, abs=1e-5)
    probability, log_ratio = ordering_probability(truths)
    assert probability == pytest.approx(0.01075, abs=2e-5)
    assert log_ratio == pytest.approx(4.5216, abs=5e-4)
