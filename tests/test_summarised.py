"""Networks before a flow: sets of any order and size, calibrated posteriors, files."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from bijection_cases import quick_jit
from posterion.bijections import apply_batch
from posterion.core.errors import SampleError, SettingError, ShapeError
from posterion.core.point_sets import PointSets
from posterion.distributions.summarising import see_through
from posterion.networks import convolutional, deep_set, mlp, on_rows, set_attention
from posterion.training.samples import gather_samples
from posterion.training.summaries import seen, sets_of

POINTS, FEATURES, SUMMARY = 5, 2, 3
SETS = PointSets(POINTS, FEATURES)
NETWORKS = {
    "deep set": partial(deep_set, each=(6, 5), whole=(4,)),
    "attention": partial(set_attention, width=4, heads=2, blocks=1, whole=(4,)),
}
flow = partial(posterion.flows.maf, 2, transforms=1, hidden=(8,), context_dim=SUMMARY)


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param](POINTS, FEATURES)


def sets(n=4, seed=0):
    """Sets of 1, 2, ... points."""
    x = np.random.default_rng(seed).normal(size=(n, POINTS, FEATURES)).astype(np.float32)
    x[np.arange(POINTS) > np.arange(n)[:, None] % POINTS] = np.nan
    return x


@eqx.filter_jit
def run(network, rows):
    return on_rows(network, rows)


def built(network, seed=0, points=POINTS):
    return network.build(points * FEATURES, SUMMARY, key=jax.random.key(seed))


def test_the_order_of_points_does_not_matter(network):
    made, x = built(network), np.random.default_rng(1).normal(size=(1, POINTS, FEATURES))
    orders = ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 0, 2, 3, 4], [2, 3, 4, 0, 1])
    moved = x[0].copy()
    moved[2, 1] += 0.5
    rows = np.stack([*(x[0, order] for order in orders), moved]).astype(np.float32)
    out = run(made, jnp.asarray(rows.reshape(5, -1)))
    np.testing.assert_allclose(out[1:4], out[:1].repeat(3, axis=0), atol=2e-6)
    assert np.abs(out[4] - out[0]).max() > 1e-3


def test_missing_points_change_nothing_but_the_number(network):
    """What is missing is not looked at, in values or in gradients; a set may be empty."""
    made, x = built(network), sets()
    out = run(made, jnp.asarray(x.reshape(4, -1)))
    assert np.isfinite(out).all() and len(np.unique(np.asarray(out).round(5), axis=0)) == 4
    wider = replace(network, points=POINTS + 3)
    padded = np.concatenate([x, np.full((4, 3, FEATURES), np.nan, np.float32)], axis=1)
    large = built(wider, points=POINTS + 3)
    # The number of points is seen relative to the largest: the weight of it takes that up.
    stretch = np.log1p(POINTS + 3) / np.log1p(POINTS)
    weights = large.whole.weights[0].at[:, -1].multiply(stretch)
    large = eqx.tree_at(lambda m: m.whole.weights[0], large, weights)
    np.testing.assert_allclose(run(large, jnp.asarray(padded.reshape(4, -1))), out, atol=2e-6)
    empty = jnp.full((1, POINTS * FEATURES), jnp.nan)
    rows = jnp.concatenate([empty, jnp.asarray(x.reshape(4, -1))])
    parameters, rest = eqx.partition(made, eqx.is_inexact_array)

    @quick_jit
    def gradients(parameters):
        return jax.grad(lambda p: jnp.sum(on_rows(eqx.combine(p, rest), rows) ** 2))(parameters)

    gradient = gradients(parameters)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_one_set_is_as_in_a_batch(network):
    made, rows = built(network), jnp.asarray(sets().reshape(4, -1))
    each = quick_jit(lambda rows: jnp.stack([made(row) for row in rows]))(rows)
    np.testing.assert_allclose(run(made, rows), each, atol=2e-6)


def test_sets_as_rows():
    ragged = [[[1, 2]], [[3, 4], [5, 6]]]
    rows = SETS.rows(ragged)
    assert rows.shape == (2, POINTS * FEATURES)
    np.testing.assert_array_equal(rows[1, :4], [3, 4, 5, 6])
    assert np.isnan(rows[0, 2:]).all()
    np.testing.assert_array_equal(SETS.rows(rows), rows)
    np.testing.assert_array_equal(SETS.rows(rows[0]), rows[:1])
    np.testing.assert_array_equal(SETS.rows(np.array(ragged[1])), rows[1:])
    np.testing.assert_array_equal(SETS.rows(np.array([ragged[1]])), rows[1:])
    assert PointSets(4, 1).rows(np.arange(3.0)).shape == (1, 4)
    assert SETS.sound(rows).all()
    hole = rows.copy()
    hole[1, 0:2] = np.nan
    half, infinite = rows.copy(), rows.copy()
    half[1, 3], infinite[1, 2] = np.nan, np.inf
    for bad in (hole, half, infinite):
        assert SETS.sound(bad).tolist() == [True, False]
    points, row = SETS.each(rows)
    assert points.tolist() == [[1, 2], [3, 4], [5, 6]] and row.tolist() == [0, 1, 1]
    np.testing.assert_allclose(SETS.statistics(rows), [[1, 1, 2, 0, 0], [2, 4, 5, 1, 1]])
    assert len(SETS.statistic_names) == 5
    with pytest.raises(SampleError, match=r"set 1 of the context has the shape \(6, 2\)"):
        SETS.rows([np.zeros((2, 2)), np.zeros((6, 2))])
    with pytest.raises(SampleError, match=r"set 0 .* expected \(up to 5 points, 2 features\)"):
        SETS.rows(np.zeros((4, 3, 3)))
    with pytest.raises(SampleError, match="no array of numbers"):
        SETS.rows([["a", "b"]])


def test_the_summary_is_what_the_layers_see():
    """The flow under a context is the inner flow under its summary, for draws and densities."""
    whole = posterion.summarised(flow(), deep_set(POINTS, FEATURES, each=(4,)), seed=1)
    assert sets_of(whole) == SETS and sets_of(flow()) is None
    rows = np.repeat(sets().reshape(4, -1), 3, axis=0)
    inner, summary = see_through(whole, jnp.asarray(rows))
    again, once = seen(whole, rows)
    assert inner.context_shape == again.context_shape == (SUMMARY,)
    np.testing.assert_allclose(once, summary, atol=1e-6)
    v = jnp.asarray(np.random.default_rng(2).normal(size=(12, 2)), jnp.float32)
    log_prob = quick_jit(lambda flow, context: apply_batch(flow.log_prob, v, context=context))
    direct = log_prob(whole, jnp.asarray(rows))
    np.testing.assert_allclose(log_prob(inner, summary), direct, atol=1e-5)
    assert see_through(flow(), summary)[1] is summary


def test_bounds_stay_outside_of_the_summary():
    bounded = posterion.flows.maf(2, context_dim=3, transforms=1, hidden=(8,), bounds=[(0, 1)] * 2)
    parts = posterion.summarised(bounded, mlp((4,)), width=6).bijection.bijections
    assert [type(part).__name__ for part in parts] == ["Summarised", "SupportMap"]


def test_spectra_and_what_does_not_fit():
    spectrum = posterion.summarised(flow(), convolutional((1, 8), (2,), hidden=(4,)))
    assert spectrum.context_shape == (8,)
    with pytest.raises(SettingError, match="give width="):
        posterion.summarised(flow(), mlp())
    with pytest.raises(ShapeError, match="takes a context of width 10, not 9"):
        posterion.summarised(flow(), deep_set(POINTS, FEATURES), width=9)
    with pytest.raises(SettingError, match="takes no context"):
        posterion.summarised(posterion.flows.maf(2), mlp(), width=3)
    with pytest.raises(SettingError, match="not shared by 4 heads"):
        set_attention(3, 1, width=6)
    with pytest.raises(SettingError, match="points of features"):
        deep_set(0, 1)
    with pytest.raises(SettingError, match="has 9 columns, 5 points"):
        deep_set(5, 2).build(9, 1, key=jax.random.key(0))


def test_all_points_have_one_scale_and_other_gaps_are_named():
    theta, x = simulated(200, 0)
    given = gather_samples(theta, context=x, sets=PointSets(4, 1))
    context = given.cut(next(given.rows.chunks()))[1]
    assert np.isnan(context).any() and given.finite(next(given.rows.chunks())).all()
    each, weights = given.conditions(context, np.arange(200.0))
    assert len(each) == np.isfinite(x).sum() == len(weights)
    assert weights[-1] == 199.0
    x[7, 0] = np.nan
    model = posterion.summarised(flow(), deep_set(4, 1))
    with pytest.raises(SampleError, match=r"1 rows are not finite, in .* \(the first: 7\)"):
        posterion.fit(model, theta, context=x, quiet=True)
    with pytest.raises(SampleError, match="all sets of the context are empty"):
        posterion.fit(model, theta, context=np.full((200, 4, 1), np.nan), quiet=True)
    with pytest.raises(SettingError, match="no classifier of sets"):
        posterion.fit(model, *simulated(200, 0)[:1], context=simulated(200, 0)[1], loss="discflow")


def simulated(n, seed):
    """The mean of two to four unit normals, with a unit normal prior."""
    rng = np.random.default_rng(seed)
    mu = rng.normal(size=n)
    x = mu[:, None] + rng.normal(size=(n, 4))
    x[np.arange(4) >= rng.integers(2, 5, n)[:, None]] = np.nan
    return np.column_stack([mu, rng.normal(size=n)]), x[..., None]


@pytest.fixture(scope="module")
def fitted():
    theta, x = simulated(10_000, 1)
    model = posterion.summarised(flow(), deep_set(4, 1, each=(8, 8), whole=(8,)), seed=0)
    return posterion.fit(model, theta, context=x, epochs=12, batch=128, rate=5e-3, quiet=True)


def test_a_posterior_of_sets_is_the_exact_one(fitted):
    assert np.unique(fitted.context_location).size == 1 == np.unique(fitted.context_scale).size
    x = simulated(300, 9)[1]
    draws = fitted.sample(400, context=x, seed=2)[:, :, 0]
    count = np.isfinite(x[:, :, 0]).sum(axis=1)
    sd = (count + 1) ** -0.5
    pull = (draws.mean(axis=1) - np.nansum(x[:, :, 0], axis=1) / (count + 1)) / sd
    assert np.sqrt(np.square(pull).mean()) < 0.3  # without the data it would be above 1
    for n in (2, 3, 4):
        assert (draws.std(axis=1) / sd)[count == n].mean() == pytest.approx(1, abs=0.15)


def test_closure_looks_at_what_does_not_depend_on_the_order(fitted):
    theta, x = simulated(300, 7)
    ragged = [one[~np.isnan(one[:, 0])] for one in x]
    cube = {"number of points": (0, 3.5)}
    settings = {"draws": 20, "classifier": False, "quiet": True}
    found = posterion.check_closure(fitted, theta, ragged, cube=cube, **settings)
    assert found.inside == (np.isfinite(x[..., 0]).sum(axis=1) <= 3).sum()
    assert {part.condition for part in found.coverage} >= {"number of points"}


def test_forms_of_a_set_give_the_same_draws(fitted):
    x = simulated(3, 5)[1]
    first = fitted.sample(5, context=x, seed=1)
    ragged = [one[~np.isnan(one[:, 0])] for one in x]
    np.testing.assert_array_equal(fitted.sample(5, context=ragged, seed=1), first)
    turned = fitted.sample(5, context=[one[::-1] for one in ragged], seed=1)
    np.testing.assert_allclose(turned, first, atol=1e-5)
    one = fitted.given(ragged[0])
    np.testing.assert_allclose(one.sample(5, seed=1), first[0], atol=1e-5)
    log_prob = fitted.log_prob(first[0], ragged[:1])
    np.testing.assert_allclose(one.log_prob(first[0]), log_prob, atol=1e-5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(one.density64()(jnp.asarray(first[0])), log_prob, atol=1e-4)
    with pytest.raises(SampleError, match="not finite in row 0"):
        fitted.given(np.array([[1.0], [np.nan], [2.0]]))


def test_it_is_saved_and_calibrated(fitted, tmp_path):
    fitted.save(tmp_path / "sets.posterion")
    kept = posterion.load(tmp_path / "sets.posterion")
    x = simulated(2, 6)[1]
    first = fitted.sample(4, context=x, seed=0)
    np.testing.assert_array_equal(kept.sample(4, context=x, seed=0), first)
    found = posterion.check_calibration(kept, *simulated(300, 7), draws=60, quiet=True)
    assert found.ok and found.shrinkage[0] == pytest.approx(0.5, abs=0.06)
    prior = np.random.default_rng(0).normal(size=(300, 2))
    wrong = posterion.check_calibration(
        kept, prior, simulated(300, 7)[1], draws=60, density=False, quiet=True
    )
    assert not wrong.ok


@pytest.mark.parametrize("loss", ["quantile", "flow_matching"])
def test_other_losses_see_the_summary(loss):
    theta, x = simulated(1000, 3)
    own = (
        posterion.quantile_network(2, SUMMARY, hidden=(8,), bins=4)
        if loss == "quantile"
        else posterion.flows.continuous(2, hidden=(8,), context_dim=SUMMARY, steps=4)
    )
    model = posterion.summarised(own, deep_set(4, 1, each=(8,), whole=()))
    made = posterion.fit(model, theta, context=x, loss=loss, epochs=3, batch=64, quiet=True)
    start, end = (
        tree.bijection.bijections[0].network.each.weights[0] for tree in (model, made.flow)
    )
    assert np.abs(np.asarray(start) - np.asarray(end)).max() > 1e-4  # the network is learned too
    assert made.history["valid"][-1] < made.history["valid"][0] + 0.05
