"""Ensembles: the bootstrap's error is the exact one, every figure carries it, files keep it."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import posterion
from posterion import Parameter
from posterion.bijections import Affine
from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.estimate import Estimate
from posterion.distributions import Flow, Normal
from posterion.sampling.chain import Chain
from posterion.sampling.importance import as_probable
from posterion.targets import Target
from posterion.training import Ensemble, bootstrap_weights
from small_learning import NORMAL, SMALL

N, DIM, MEMBERS, VALIDATION = 2000, 8, 48, 0.05
SD = np.geomspace(0.1, 10, DIM)


def affine(dim):
    """A flow that is any normal with independent coordinates."""
    return Flow(Normal(dim), Affine(jnp.zeros(dim), jnp.zeros(dim)))


@pytest.fixture(scope="module")
def normal():
    x = np.random.default_rng(0).normal(size=(N, DIM)) * SD + 5
    return posterion.ensemble(
        affine(DIM),
        x,
        members=MEMBERS,
        epochs=10,
        batch=1900,
        rate=3e-3,
        validation=VALIDATION,
        whiten="scale",
        quiet=True,
    )


@pytest.mark.slow
def test_the_error_of_a_normal_is_sigma_over_root_n(normal):
    """Within four errors of a root mean square over 8 coordinates of 48 members: 15 %.

    The fit learns from a share 1 - v of the rows: sigma^2 / ((1 - v) n) for the mean, half for sd.
    """
    errors = normal.summary(n=20_000).errors
    exact = SD / np.sqrt((1 - VALIDATION) * N)
    allowed = 4 / np.sqrt(2 * (MEMBERS - 1) * DIM)
    for found, expected in ((errors.mean, exact), (errors.sd, exact / np.sqrt(2))):
        assert abs(np.sqrt(np.mean((found / expected) ** 2)) - 1) < allowed
    for level, q in ((0.68, stats.norm.ppf(0.84)), (0.95, stats.norm.ppf(0.975))):
        ends = errors.equal_tailed[level] / (exact * np.sqrt(1 + q**2 / 2))[:, None]
        assert abs(np.sqrt(np.mean(ends**2)) - 1) < allowed


@pytest.mark.slow
def test_every_figure_has_its_error(normal):
    found = normal.summary("x[3]", n=20_000)
    assert isinstance(found["x[3]"]["mean"], Estimate)
    low, high = found["x[3]"]["68%"]
    assert low.value < found["x[3]"]["mean"].value < high.value and 0 < low.error < SD[3] / 20
    assert normal.interval("x[3]", 0.68, n=20_000) == (low, high)
    shortest = normal.interval("x[3]", 0.9, which="hpd", n=5000)
    assert shortest[1].value - shortest[0].value == pytest.approx(2 * 1.645 * SD[3], rel=0.1)
    table = found.to_pandas()
    assert table["lower_68_error"].iloc[0] == low.error
    assert r"\pm" in found.to_latex() and "±" in str(found)
    text = repr(normal)
    assert "members to be believed" in text and "bootstrap of 2000 rows" in text
    assert "68% from" in text and "68% from" in normal._repr_html_()
    assert normal.status.name == "fitted" and normal.form == "array"


def test_the_profile_of_a_normal_and_its_band(normal):
    few = Ensemble.of(normal.members[:3])  # each is compiled
    mean = few.summary("x[0]", n=20_000)["x[0]"]["mean"].value
    found = few.profile("x[0]", mean + SD[0] * np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found.t, [4, 1, 0, 1, 4], atol=0.3)
    assert (found.t_error < 0.5).all() and found.t_error[0] > found.t_error[2]
    low, high = found.interval()
    assert high.value - low.value == pytest.approx(2 * SD[0], rel=0.1) and low.error > 0
    assert found.best_fit["x"].shape == (DIM,)
    with pytest.raises(SettingError, match="between 0 and 1"):
        found.interval(2.0)


def test_draws_and_density_are_those_of_the_mixture(normal):
    draws = normal.sample(4000, seed=3)
    assert draws.shape == (4000, DIM)
    assert np.array_equal(draws[:50], draws[:50]) and not np.array_equal(draws[:9], draws[9:18])
    np.testing.assert_allclose(draws.mean(axis=0), 5, atol=0.1 * SD.max())
    each = np.exp([member.log_prob(draws[:20]) for member in normal.members])
    np.testing.assert_allclose(normal.log_prob(draws[:20]), np.log(each.mean(axis=0)), rtol=1e-9)
    few = Ensemble.of(normal.members[:2])
    prior = few.as_numpyro()
    assert float(prior.log_prob(jnp.asarray(draws[0]))) == pytest.approx(
        float(few.log_prob(draws[:1])[0]), abs=1e-3
    )
    # Far apart members are told apart: half of the draws of each.
    apart = Ensemble.of([_moved(normal.members[0], 0.0), _moved(normal.members[0], 1000.0)])
    assert np.mean(apart.sample(2000, seed=1)[:, 0] > 500) == pytest.approx(0.5, abs=0.05)


def _moved(member, by):
    from dataclasses import replace

    flow = member.flow
    shift = flow.bijection.shift + by / SD[0] * jnp.eye(DIM)[0]
    return replace(member, flow=Flow(flow.base, Affine(shift, flow.bijection.log_scale)))


def test_a_file_keeps_all_members(normal, tmp_path):
    file = tmp_path / "ensemble.posterion"
    normal.save(file)
    back = posterion.load(file)
    x = normal.sample(10, seed=1)
    assert np.array_equal(back.sample(10, seed=1), x)
    assert np.array_equal(back.log_prob(x), normal.log_prob(x)) and back.how == normal.how
    assert back.provenance["bootstrap"] is True


def test_chains_are_drawn_whole_or_in_blocks():
    """The error of the mean of correlated chains is the exact one, not that of as many rows."""
    rho, chains, length = 0.9, 64, 200
    rng = np.random.default_rng(1)
    x = np.empty((chains, length, 1))
    x[:, 0] = rng.normal(size=(chains, 1))
    for i in range(1, length):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * rng.normal(size=(chains, 1))
    exact = np.sqrt((1 + rho) / (1 - rho) / (chains * length))
    for shape in ((chains, length), (4, chains * length // 4)):
        chain = _chain(x.reshape(*shape, 1))
        flat = chain.flat()[:, 0]
        means = []
        for seed in range(200):
            w = bootstrap_weights(chain, seed=seed)
            assert w.shape == flat.shape
            means.append(w @ flat / w.sum())
        # few blocks and blocks of finite length lose some of it
        assert 0.7 < np.std(means) / exact < 1.3
    with pytest.raises(SampleError, match="at least 20"):
        bootstrap_weights(_chain(x[:2]), seed=0)


def _chain(x):
    shape = x.shape[:2]
    parameters = (Parameter("x", shape=(1,)),)
    return Chain("n", parameters, x, np.zeros(shape), {}, np.ones(2), "NUTS", 0, 0, 0, 0, 0.0, True)


def test_weights_of_rows_are_multiplied_and_named_columns_taken():
    x = np.random.default_rng(2).normal(size=(600, 2))
    own = np.linspace(1, 3, 600)
    counts = bootstrap_weights(x, seed=5)
    assert counts.sum() == 600 and counts.max() < 10
    assert np.array_equal(bootstrap_weights(x, weights=own, seed=5), counts * own)
    quick = {"members": 2, "epochs": 2, "quiet": True}
    named = posterion.ensemble(
        affine(2), {"a": x[:, 0], "b": x[:, 1], "w": own}, weights="w", **quick
    )
    assert named.columns == ("a", "b") and set(named.sample(5, seed=1)) == {"a", "b"}
    plain = posterion.ensemble(affine(2), x, bootstrap=False, **quick)
    assert "bootstrap" not in plain.how
    from_seeds = posterion.ensemble(
        lambda seed: Flow(Normal(2), Affine(jnp.full(2, 0.1 * seed), jnp.zeros(2))), x, **quick
    )
    assert len(from_seeds.members) == 2
    assert [m.settings["split"] for m in from_seeds.members] == [0, 0]


def test_members_with_context():
    rng = np.random.default_rng(3)
    theta, c = rng.normal(size=(800, 1)), rng.normal(size=(800, 1))
    flow = posterion.flows.maf(1, context_dim=1, transforms=1, hidden=(4,))
    found = posterion.ensemble(flow, theta + c, context=c, members=2, epochs=3, quiet=True)
    assert found.sample(7, context=c[:3], seed=1).shape == (3, 7, 1)
    assert found.log_prob(theta[:5], c[:5]).shape == (5,)
    assert "members to be believed" in repr(found) and "largest" not in repr(found)
    fixed = found.given([0.5])
    assert "largest error" in repr(fixed) and fixed.sample(4, seed=1).shape == (4, 1)
    checked = posterion.check_calibration(found, theta[:40] + c[:40], c[:40], draws=20, quiet=True)
    assert checked.pairs == 40


@pytest.mark.slow
def test_a_density_learned_several_times():
    found = posterion.ensemble(NORMAL, members=2, **SMALL | {"steps": 100})
    assert found.how == "by their seeds" and found.sample(5, seed=1)["x"].shape == (5, 2)
    error = found.summary(n=2000)["x[0]"]["mean"].error
    assert 0 < error < 0.5
    profile = found.profile("x[0]", [0.0, 1.0])
    assert profile.exact is not None and len(profile.members) == 2


def test_on_a_circle_means_are_not_torn():
    from posterion.core.columns import Column
    from posterion.core.summary import summarise
    from posterion.training.spreads import summarise_members

    column = Column("phi", lower=0.0, upper=360.0, periodic=True)
    rng = np.random.default_rng(4)
    found = summarise_members(
        [
            summarise([column], (middle + 10 * rng.normal(size=(5000, 1))) % 360)
            for middle in (359.0, 1.0, 2.0)
        ]
    )["phi"]
    assert abs((found["mean"].value + 180) % 360 - 180 - 0.67) < 0.5 and found["mean"].error < 2
    low, high = found["68%"]
    assert low.error < 2.5 and high.value - low.value == pytest.approx(20, abs=1)


def test_a_weighted_fit_is_not_alarmed_by_repeated_rows():
    """Rows chosen by weight are rows of the weighted distribution, and nearly all different."""
    rng = np.random.default_rng(5)
    x = rng.uniform(size=20_000)
    weights = rng.poisson(2 * x).astype(float)
    rows = as_probable(weights, rng)
    assert len(rows) > 3000 and len(np.unique(rows)) > 0.97 * len(rows)
    assert abs(x[rows].mean() - 2 / 3) < 4 * np.sqrt(1 / 18 / len(rows))
    heavy = as_probable(np.r_[1e4, np.ones(1000)], rng)
    assert len(heavy) >= 1


def test_bad_input_is_named(normal):
    x = np.zeros((50, 2))
    for arguments, options, error, said in [
        ((affine(2), x), {"members": 1}, SettingError, "at least two"),
        ((affine(2), x), {"resume": True}, SettingError, "takes no resume"),
        ((affine(2),), {}, SettingError, "needs samples"),
        ((NORMAL, x), {}, SettingError, "without samples"),
        ((affine(2), "table.csv"), {}, SettingError, "rows in memory"),
        ((affine(2), {"a": x[:, 0]}), {"weights": "w"}, ThetaError, "no column 'w'"),
        ((affine(2), x), {"weights": np.ones(3)}, SampleError, "for 50 rows"),
    ]:
        with pytest.raises(error, match=said):
            posterion.ensemble(*arguments, **options)
    assert isinstance(NORMAL, Target)
    with pytest.raises(SettingError, match="differ in their columns"):
        Ensemble.of(
            [
                normal.members[0],
                posterion.fit(
                    affine(2),
                    x + np.random.default_rng(0).normal(size=x.shape),
                    epochs=1,
                    quiet=True,
                ),
            ]
        )
    with pytest.raises(SettingError, match="is a vector"):
        normal.interval("x")
    with pytest.raises(SettingError, match="'equal_tailed' or 'hpd'"):
        normal.interval("x[0]", which="shortest")
    with pytest.raises(SettingError, match="positive"):
        normal.sample(0, seed=1)
