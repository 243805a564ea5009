"""Quantile networks learned from samples, and what conditional fits are asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import posterion
from posterion.core.errors import DensityError, SettingError
from posterion.diagnostics.transforms import transforms_of
from posterion.training.conditional import parts_of
from posterion.training.losses import Batch
from posterion.training.quantiles import Pinball, _loss, crossing_rate, has_quantiles
from posterion.training.recipe import FitMethod, Settled

QUICK = {"epochs": 12, "batch": 250, "rate": 5e-3, "quiet": True, "seed": 1}


def pairs(n=6000, seed=0):
    """Y = x + (1 + x) exponential, and a second outcome that follows the first."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, (n, 1))
    first = x[:, 0] + (1 + x[:, 0]) * rng.gumbel(size=n)
    return np.stack([first, 0.5 * first + rng.normal(size=n)], axis=1), x


def quantile(q, x):
    """Of the first outcome."""
    return x - (1 + x) * np.log(-np.log(q))


@pytest.fixture(scope="module")
def one():
    y, x = pairs()
    network = posterion.quantile_network(1, 1, hidden=(16,), bins=6)
    return posterion.fit(network, y[:, :1], context=x, **QUICK)


@pytest.fixture(scope="module")
def published():
    y, x = pairs()
    network = posterion.quantile_network(2, 1, monotone=False, hidden=(16, 16))
    return posterion.fit(network, y, context=x, **QUICK)


def test_quantiles_of_one_outcome_are_those_of_the_truth(one):
    x, q = np.array([[0.3], [1.0], [1.8]]), np.array([0.16, 0.5, 0.84])
    found = one.quantile(q, context=x)
    assert found.shape == (3, 3, 1) and one.settings["loss"].startswith("Pinball")
    wanted = np.array([quantile(p, x) for p in q])
    # In units of the spread there: of one standard deviation 6000 rows leave some percent.
    assert np.abs((found - wanted) / (1 + x)).max() < 0.25
    assert one.quantile(0.5, context=x).shape == (3, 1)
    backwards = one.quantile([0.84, 0.16], context=x)
    np.testing.assert_allclose(backwards, found[[2, 0]])
    np.testing.assert_allclose(one.given([1.0]).quantile(q), found[:, 1])


def test_exact_quantiles_are_those_of_the_draws(one):
    x = np.array([[0.5], [1.5]])
    drawn = one.sample(40_000, context=x, seed=3)
    levels = [0.05, 0.5, 0.95]
    exact = one.quantile(levels, context=x)
    below = np.mean(drawn[None] < exact[:, :, None], axis=2)
    np.testing.assert_allclose(below[..., 0], np.array(levels)[:, None] + np.zeros(2), atol=0.006)
    density = one.log_prob(exact[:, 0], x[:1])
    step = 1e-3
    slope = (one.quantile([0.5 + step, 0.5 - step], context=x[:1])[:, 0, 0] * [1, -1]).sum()
    assert density[1] == pytest.approx(np.log(2 * step / slope), abs=0.02)


def test_quantiles_of_several_outcomes_are_those_of_draws(published):
    x = np.array([[0.5], [1.5]])
    found = published.quantile([0.2, 0.8], context=x, n=40_000, seed=2)
    assert found.shape == (2, 2, 2)
    drawn = published.sample(20_000, context=x, seed=9)
    np.testing.assert_allclose(found, np.quantile(drawn, [0.2, 0.8], axis=1), atol=0.15)


def test_tables_give_tables():
    y, x = pairs(600)
    table = pd.DataFrame({"E": y[:, 0], "gen": x[:, 0]})
    network = posterion.quantile_network(1, 1, hidden=(4,), bins=2)
    found = posterion.fit(network, table, context="gen", epochs=1, quiet=True)
    q = found.quantile([0.5, 0.9], context={"gen": np.array([0.5, 1.0, 1.5])})
    assert set(q) == {"E"} and q["E"].shape == (2, 3)


@pytest.mark.parametrize("q", [0.0, 1.0, [0.5, 1.2], np.nan, "half", None])
def test_levels_outside_of_0_and_1_are_refused(one, q):
    with pytest.raises(SettingError, match="between 0 and 1"):
        one.quantile(q, context=[[1.0]])


def test_the_health_of_a_published_network_looks_at_crossing_quantiles(published, one):
    checks = {check.name: check for check in published.health.checks}
    assert checks["quantiles that cross"].value <= 1e-3
    assert not [c for c in one.health.checks if c.name == "quantiles that cross"]
    assert "worst transform (PIT), p-value" in {c.name for c in one.health.checks}
    # Turned about, all levels fall.
    flow = jax.tree.map(lambda a: a, published.flow)
    first = flow.bijection.bijections[0]
    for part in ("weights", "biases"):
        last = getattr(first.network, part)
        object.__setattr__(first.network, part, (*last[:-1], -last[-1]))
    assert crossing_rate(flow, np.zeros((50, 2), np.float32), np.zeros((50, 1), np.float32)) > 0.9


def test_the_pinball_loss_and_the_expectile_loss():
    network = posterion.quantile_network(1, hidden=(4,), bins=2)
    first = network.bijection.bijections[0]
    tau = jnp.full((1, 1, 1000), 0.9)
    y = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1000)), jnp.float32)
    at = stats.norm.ppf(0.9)  # the network begins as the identity: its quantile is the normal's
    error = np.asarray(y[0], float) - at
    for power in (1, 2):
        found = _loss(first, y, tau, None, power)[0]
        wanted = np.where(error < 0, 0.1, 0.9) * np.abs(error) ** power
        np.testing.assert_allclose(found[0, 0], wanted, atol=1e-5)


@pytest.mark.parametrize(("rows", "batch"), [(50, 64), (4000, 128), (10_020, 256), (10**6, 512)])
def test_the_pinball_loss_has_defaults_for_few_rows(rows, batch):
    settled = FitMethod().settled(Pinball(), rows)
    assert settled.batch == batch and settled.average == 1 - 1 / max(100, rows / batch)
    assert FitMethod(batch=512, average=0.0).settled(Pinball(), rows) == Settled()


def test_the_default_loss_and_what_is_no_quantile_network():
    assert has_quantiles(posterion.quantile_network(2, monotone=False))
    assert has_quantiles(posterion.quantile_network(2, bounds=[(0, 1), None]))
    seen = posterion.quantile_network(1, monotone=False, normal_level=True).bijection.bijections[0]
    assert float(seen.level(jnp.asarray(1.5))) == 1.5
    flow = posterion.flows.maf(1, transforms=1, hidden=(4,))
    assert not has_quantiles(flow)
    y, _ = pairs(100)
    with pytest.raises(SettingError, match=r"is for posterion\.quantile_network"):
        posterion.fit(flow, y[:, :1], loss="quantile", quiet=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"networks": "several"}, "must be one of"),
        ({"normal_level": True}, "is of the published kind"),
        ({"networks": "masked", "monotone": False}, "a masked network"),
        ({"dim": 0}, "at least one output"),
        ({"context_dim": -1}, "at least one output"),
    ],
)
def test_unusable_networks_are_refused(options, said):
    with pytest.raises(SettingError, match=said):
        posterion.quantile_network(**{"dim": 2, **options})


def test_a_saved_network_says_the_same(published, tmp_path):
    published.save(tmp_path / "q.posterion")
    again = posterion.load(tmp_path / "q.posterion")
    x = np.array([[0.7]])
    np.testing.assert_array_equal(
        again.sample(5, context=x, seed=1), published.sample(5, context=x, seed=1)
    )


class Known:
    """A member of an ensemble whose distribution is known: normal about slope * x."""

    parameters = (posterion.Parameter("y", shape=(1,)),)
    context = ("x",)

    def __init__(self, slope):
        self.slope = slope

    def sample(self, n, *, context, seed):
        rng = np.random.default_rng(seed)
        return self.slope * context[:, None] + 0.5 * rng.normal(size=(len(context), n, 1))


def test_parts_of_the_variance_of_known_members():
    x = np.linspace(-2, 2, 300)[:, None]
    members = [Known(slope) for slope in (0.9, 1.0, 1.1)]
    found = parts_of(members, x, n=400, seed=0)
    np.testing.assert_allclose(found.mean, x, atol=4 * 0.5 / 1200**0.5)
    np.testing.assert_allclose(found.aleatoric, 0.5, atol=4 * 0.5 / 2400**0.5)
    # Less the part of 400 draws, the variance of the means is 0.1^2 x^2 on average.
    expected = (0.1 * x) ** 2
    wide = np.abs(x) > 1
    assert np.mean(found.epistemic[wide] ** 2) == pytest.approx(np.mean(expected[wide]), rel=0.1)
    np.testing.assert_allclose(found.sd**2, found.epistemic**2 + found.aleatoric**2)
    with pytest.raises(SettingError, match="two draws"):
        parts_of(members, x, n=1, seed=0)


def test_an_ensemble_tells_the_parts_apart():
    y, x = pairs(400)
    network = posterion.quantile_network(1, 1, hidden=(4,), bins=2)
    found = posterion.ensemble(network, y[:, :1], context=x, members=2, epochs=2, quiet=True)
    parts = found.predict(x[:5])
    assert parts.mean.shape == (5, 1) and (parts.sd >= parts.aleatoric).all()
    assert found.quantile([0.1, 0.9], context=x[:5]).shape == (2, 5, 1)
    alone = posterion.ensemble(
        posterion.flows.maf(1, transforms=1, hidden=(4,)), y[:, :1], members=2, epochs=1, quiet=True
    )
    with pytest.raises(SettingError, match="no context"):
        alone.predict(x[:5])


def test_transforms_of_right_and_wrong_distributions():
    rng = np.random.default_rng(6)
    context = rng.normal(size=(4000, 2))
    u = rng.uniform(size=(4000, 2))
    right = transforms_of(u, context)
    assert right.p_value > 0.01 and right.rows == 4000
    # Uniform as a whole, but not where the condition is small: only the bins see it.
    low = context[:, 1] < np.quantile(context[:, 1], 0.25)
    wrong = u.copy()
    wrong[low, 0] = wrong[low, 0] ** 1.5
    wrong[~low, 0] = np.argsort(np.argsort(wrong[~low, 0])) / (~low).sum()
    found = transforms_of(wrong, context, conditions=["a", "b"])
    assert found.p_value < 1e-6 and "x[0], b in bin 1" in found.where
    # Of a spread that is too large the largest difference of distributions sees little.
    wide = stats.norm.cdf(0.85 * rng.normal(size=(800, 1)))
    assert transforms_of(wide).p_value < 1e-2 * stats.kstest(wide[:, 0], "uniform").pvalue
    # Tails a little off as a whole do not hide a bin that is far off.
    tails = u.copy()
    tails[:80, 0] = 1e-3
    tails[low, 0] = stats.norm.cdf(stats.norm.ppf(tails[low, 0]) + 0.25)
    assert transforms_of(tails, context).where == "x[0]"
    beyond = transforms_of(tails, context, limit=0.05)
    assert "context[1] in bin 1" in beyond.where and beyond.p_value < 1e-4 < beyond.distance
    # Of two coordinates that are one, each is uniform.
    same = transforms_of(np.repeat(u[:, :1], 2, axis=1))
    assert same.p_value < 1e-6 and "in bin" in same.where


# Losses beside the plain one --------------------------------------------------------------------


def test_a_tanh_leaves_quantiles_where_they_are_and_bounds_the_loss():
    network = posterion.quantile_network(1, hidden=(4,), bins=2)
    first = network.bijection.bijections[0]
    y = np.random.default_rng(0).standard_t(2, size=(1, 4000))
    tau = jnp.full((1, 1, 4000), 0.9)
    plain, squashed = (
        np.asarray(_loss(first, jnp.asarray(y, jnp.float32), tau, None, 1, squash)[0][0, 0])
        for squash in (False, True)
    )
    at = stats.norm.ppf(0.9)
    side = np.where(y[0] < at, 0.1, 0.9)
    np.testing.assert_allclose(squashed, side * np.abs(np.tanh(y[0]) - np.tanh(at)), atol=1e-5)
    assert plain.max() > 5 and squashed.max() < 0.9 * 2


def test_the_tanh_loss_learns_the_bulk_of_a_heavy_tail():
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 2, (4000, 1))
    y = x + (1 + x) * rng.standard_t(2, size=x.shape)
    network = posterion.quantile_network(1, 1, hidden=(16,), bins=6)
    found = posterion.fit(network, y, context=x, loss="quantile_tanh", **QUICK | {"batch": 100})
    assert "squash=True" in found.settings["loss"]
    at, q = np.array([[0.5], [1.5]]), np.array([0.1, 0.5, 0.9])
    wanted = at + (1 + at) * stats.t(2).ppf(q)[:, None, None]
    assert (np.abs(found.quantile(q, context=at) - wanted) / (1 + at)).max() < 0.35


def test_expectiles_are_no_distribution():
    y, x = pairs(3000, seed=4)
    network = posterion.quantile_network(1, 1, hidden=(16,), bins=6)
    found = posterion.fit(network, y[:, :1], context=x, loss="expectile", **QUICK)
    at = np.array([[0.5], [1.5]])
    mean = at + (1 + at) * np.euler_gamma
    assert np.abs((found.quantile(0.5, context=at) - mean) / (1 + at)).max() < 0.2
    assert found.status.name == "scored" and "squared loss over levels" in str(found)
    assert "expectiles are no distribution" in str(found)
    for ask in (
        lambda: found.sample(1, context=at, seed=0),
        lambda: found.log_prob([[1.0]], at[:1]),
        lambda: found.given([1.0]).summary(),
    ):
        with pytest.raises(DensityError, match="learned expectiles"):
            ask()
    two = posterion.quantile_network(2, 1, hidden=(4,), bins=2)
    with pytest.raises(SettingError, match="of one outcome"):
        posterion.fit(two, y, context=x, loss="expectile", **QUICK)
    with pytest.raises(SettingError, match="power of a pinball"):
        Pinball(power=2, squash=True)


@pytest.mark.parametrize("loss", [Pinball(8), Pinball(8, power=2), Pinball(8, squash=True)])
def test_whole_weights_are_repeated_rows(loss):
    rng = np.random.default_rng(5)
    y, x = pairs(60)
    v = jnp.asarray(y[:, :1], jnp.float32)
    times = rng.integers(0, 4, size=60)
    network = posterion.quantile_network(1, 1, hidden=(4,), bins=2, seed=3)
    weight = jnp.asarray(times, jnp.float32)
    # The same levels for a row and its repetitions: of a fixed grid, as held-out rows have them.
    cost = loss.costs(network, np.asarray(v), np.asarray(x, np.float32))
    again = np.repeat(np.arange(60), times)
    repeated = loss.costs(network, np.asarray(v)[again], np.asarray(x, np.float32)[again])
    assert float(times @ cost) == pytest.approx(repeated.sum(), rel=1e-6)
    # A row of weight zero does not count, and twice the weight is twice the loss.
    context = jnp.asarray(x, jnp.float32)
    key = jax.random.key(0)
    one = loss.value(network, Batch(v, context, weight), key, {})
    other = v.at[times == 0].add(100.0)
    assert float(loss.value(network, Batch(other, context, weight), key, {})) == float(one)
    assert float(loss.value(network, Batch(v, context, 2 * weight), key, {})) == pytest.approx(
        2 * float(one), rel=1e-6
    )


def test_weights_move_the_quantiles():
    y = np.random.default_rng(7).normal(size=(6000, 1))
    network = posterion.quantile_network(1, hidden=(), bins=4)
    found = posterion.fit(network, y, weights=np.exp(y[:, 0]), **QUICK)
    # By exp(y) a standard normal becomes one about 1; the rows are worth 6000 / e then.
    np.testing.assert_allclose(found.quantile([0.16, 0.5, 0.84])[:, 0], [0, 1, 2], atol=0.15)
