"""The parts of learning by themselves: the scouts' ground, starting bases, shares of modes."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from posterion.bijections.base import apply_batch
from posterion.core.errors import SettingError
from posterion.core.status import Status
from posterion.distributions.flow import Flow
from posterion.distributions.mixture import NormalMixture
from posterion.targets import Frame, Parameter, Target
from posterion.targets.target import v_and_log_det, x_and_log_det
from posterion.training import Method, learn
from posterion.training.assessment import _far_apart
from posterion.training.attempts import Limits, Record, first_flow, pretrain, settle
from posterion.training.checking import check_posterior, find_witness
from posterion.training.gaussians import by_expectation_maximisation, by_labels
from posterion.training.objectives import mean_log_prob
from posterion.training.scouting import _whitening
from small_learning import NORMAL, SMALL

METHOD = Method(layers=2, hidden=(8,), particles=500, pretrain=200, steps=600, batch=64, attempts=1)


def two_modes(theta):
    first = jnp.log(0.85) - 0.5 * jnp.sum((theta["x"] - 5) ** 2, -1)
    return jnp.logaddexp(first, jnp.log(0.15) - 0.5 * jnp.sum((theta["x"] + 5) ** 2, -1))


TWO = Target(two_modes, [Parameter("x", shape=(2,), scale=20.0)], vectorized=True)


@pytest.fixture(scope="module")
def ground():
    return find_witness(TWO, particles=500, seed=1)[0]


def test_the_scouts_find_both_modes_and_the_evidence(ground):
    _, witness = find_witness(TWO, particles=500, seed=1)
    assert witness.modes.count == 2
    found = witness.log_evidence
    assert abs(found.value - np.log(2 * np.pi)) < 5 * found.error < 1.5
    np.testing.assert_allclose(np.abs(witness.modes.centres).shape, (2, 2))
    assert np.cov(ground.v.T) == pytest.approx(np.eye(2), abs=0.05)  # whitened


def test_only_what_is_significantly_correlated_is_mixed():
    """Wide tails correlate by chance (here at 3 per cent); a normal's small widths stay exact."""
    rng = np.random.default_rng(1)
    line = np.zeros(3, bool)
    wide = rng.standard_t(2.2, size=(2000, 3)) * [1.0, 1e3, 1e-3]
    _, lower = _whitening(wide, line, True)
    assert (lower == np.diag(np.diag(lower))).all() and (np.diag(lower) > 0).all()
    mix = np.tril(rng.normal(size=(3, 3))) + 3 * np.eye(3) * [1.0, 1e-3, 1e-4]
    _, lower = _whitening(rng.normal(size=(20_000, 3)) @ mix.T, line, True)
    white = np.linalg.solve(lower, mix @ mix.T @ np.linalg.inv(lower).T)
    np.testing.assert_allclose(white, np.eye(3), atol=0.06)


def test_an_angle_that_goes_round_with_another_is_unwound():
    """B follows a, c follows a - 2 b: what is left is the noise; the map keeps every point."""
    rng = np.random.default_rng(2)
    a = rng.uniform(-np.pi, np.pi, 4000)
    b = a + rng.vonmises(0, 3, 4000)
    c = a - 2 * b + rng.vonmises(1, 3, 4000)
    turn = (np.stack([a, b, c], axis=1) + np.pi) % (2 * np.pi) - np.pi
    location, lower = _whitening(turn, np.ones(3, bool), True)
    assert location.tolist() == [0, 0, 0]
    assert np.linalg.det(lower) == 1 and (lower == np.round(lower)).all()
    parameters = [Parameter(n, lower=0.0, upper=1.0, periodic=True) for n in "abc"]
    support = Target(lambda t: 0.0, parameters).support()
    frame = Frame.of(location, lower, support, 0.0)
    x, log_det = x_and_log_det(frame, turn)
    v, back = v_and_log_det(frame, x)
    np.testing.assert_allclose(np.exp(1j * v), np.exp(1j * turn), atol=1e-9)
    assert (np.abs(v) <= np.pi).all() and ((x >= 0) & (x <= 1)).all()
    np.testing.assert_allclose(log_det + back, 0, atol=1e-12)
    free, _ = v_and_log_det(frame, (turn + np.pi) / (2 * np.pi))
    lengths = np.abs(np.exp(1j * free).mean(0))
    assert lengths[0] < 0.1 and (lengths[1:] > 0.75).all()


def test_chains_start_in_every_mode_in_turn():
    _, witness = find_witness(TWO, particles=500, seed=1)
    starts = _far_apart(witness, 6, seed=1)
    assert sorted(np.sign(witness.x[starts, 0])) == [-1, -1, -1, 1, 1, 1]
    assert len(set(starts)) == 6


def test_the_starting_base_has_a_normal_for_each_mode(ground):
    flow = first_flow(ground, METHOD, "auto", 0)
    base = flow.base
    assert isinstance(base, NormalMixture) and base.log_weights.shape == (2,)
    assert isinstance(first_flow(ground, METHOD, "mixture", 0).base, NormalMixture)
    assert not isinstance(first_flow(ground, METHOD, "normal", 0).base, NormalMixture)
    # The flow is the identity: the base, in physical units, is nearly the target already.
    v = np.asarray(flow.sample(jax.random.key(0), (4000,)))
    assert v.mean(0) == pytest.approx(ground.v.mean(0), abs=0.1)


def test_settling_gives_the_modes_their_shares_within_the_budget(ground):
    exact = first_flow(ground, METHOD, "auto", 0)
    wrong = eqx.tree_at(lambda f: f.base.log_weights, exact, jnp.log(jnp.array([0.5, 0.5])))
    record = Record()
    found = settle(wrong, TWO, ground, Limits(None, None), record, 3)
    assert isinstance(found.base, NormalMixture)
    shares = np.sort(np.exp(np.asarray(found.base.log_weights)))
    assert shares == pytest.approx([0.15, 0.85], abs=0.02)
    assert record.calls == 3 * 8192
    record = Record(calls=700)
    settle(wrong, TWO, ground, Limits(1000, None), record, 3)
    assert 700 < record.calls <= 1000
    record = Record(calls=990)
    assert settle(wrong, TWO, ground, Limits(1000, None), record, 3) is wrong
    assert record.calls == 990


def test_pretraining_never_ends_worse_than_it_began_on_points_held_out():
    rng = np.random.default_rng(0)
    few = np.abs(rng.normal(size=(60, 2))) ** 1.5  # so few that it overfits
    method = replace(METHOD, pretrain=1000)
    ground = find_witness(NORMAL, particles=200, seed=1)[0]
    flow = first_flow(ground, method, "normal", 0)
    order = np.random.default_rng([7, 5]).permutation(len(few))
    held = jnp.asarray(few[order][: len(few) // 5], jnp.float32)
    trained = pretrain(flow, few, method, 7)
    assert mean_log_prob(trained, held) > mean_log_prob(flow, held)


def test_a_normal_for_each_label_has_its_moments():
    rng = np.random.default_rng(1)
    lower = np.array([[1.0, 0.0], [0.6, 0.5]])
    v = np.concatenate([rng.normal(size=(3000, 2)) @ lower.T + 4, rng.normal(size=(1000, 2)) - 4])
    labels = np.repeat([0, 1], [3000, 1000])
    base = by_labels(v, labels)
    np.testing.assert_allclose(np.exp(base.log_weights), [0.75, 0.25], rtol=1e-5)
    np.testing.assert_allclose(base.locations[0], v[:3000].mean(0), rtol=1e-5)
    first = np.asarray(base.lowers[0])
    np.testing.assert_allclose(first @ first.T, lower @ lower.T, atol=0.08)


def test_expectation_maximisation_finds_a_mixture_again():
    """Its likelihood is that of the truth, up to what the points' number allows."""
    rng = np.random.default_rng(2)
    centres = np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 6.0]])
    v = centres[rng.integers(0, 3, 3000)] + rng.normal(size=(3000, 2))
    base = by_expectation_maximisation(v, 6, seed=3)
    log_q = np.asarray(apply_batch(base.log_prob, jnp.asarray(v, jnp.float32)))
    each = [multivariate_normal(c).logpdf(v) for c in centres]
    exact = np.logaddexp.reduce(each) - np.log(3)
    assert log_q.mean() > exact.mean() - 0.02


@pytest.fixture(scope="module")
def learned():
    return learn(NORMAL, seed=1, **SMALL)


def test_health_measured_anew_agrees_and_sees_sabotage(learned):
    options = {"seed": 5, "particles": 200, "draws": 2000}
    good = check_posterior(replace(learned, target=None), NORMAL, **options)
    assert good.status is Status.converged, good
    assert good.calls["scouting"] > 0 and "learning" not in good.calls
    narrow = NormalMixture(jnp.zeros(1), jnp.zeros((1, 2)), 0.6 * jnp.eye(2)[None])
    bad = replace(learned, flow=Flow(narrow, learned.flow.bijection))
    assert not check_posterior(bad, NORMAL, **options).status.ok
    with pytest.raises(SettingError, match="are not the posterior's"):
        check_posterior(learned, TWO_OTHER, **options)


TWO_OTHER = Target(lambda t: -(t["z"] ** 2), [Parameter("z", scale=1.0)])


def test_short_chains_are_a_witness_too():
    result = learn(NORMAL, seed=1, **{**SMALL, "chains": 4})
    assert result.status is Status.converged
    assert result.health.check("chains: R-hat") is not None
    assert result.health.check("distance to chains, z") is not None
