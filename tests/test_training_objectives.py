"""Path gradients against the divergences themselves, by quadrature over the base.

Monte Carlo means lie within five standard errors (fixed seeds: a false alarm in 10^6), and the
standard errors are stated and small.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.bijections.base import apply_batch
from posterion.core.errors import SettingError
from posterion.distributions.families import realnvp
from posterion.distributions.flow import Flow
from posterion.distributions.mixture import NormalMixture
from posterion.optimisation import trainable
from posterion.targets import Frame, Parameter, Target
from posterion.training import (
    POSTER,
    Divergence,
    Method,
    alpha,
    chi_squared,
    forward_kl,
    jeffreys,
    objectives,
    reverse_kl,
)
from posterion.training.method import make_method
from posterion.training.objectives import PathObjective, widest

LINE = [Parameter("x", shape=(2,), scale=1.0)]
LOG_Z = 3.0


def curved(theta):
    """A normal bent by a parabola, of integral e^3; narrower than the flow: weights are tame."""
    a, b = theta["x"][:, 0], theta["x"][:, 1]
    squares = a**2 + (b - 0.2 * a**2) ** 2
    return LOG_Z - squares / 1.2 - jnp.log(1.2 * jnp.pi)


CURVED = Target(curved, LINE, vectorized=True)
FRAME = Frame.plain(CURVED.support())


def perturbed(flow: Flow, size: float, seed: int) -> Flow:
    """The flow with every trained parameter moved at random, so that no gradient is zero."""
    params, fixed = trainable(flow)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [x + size * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, moved), fixed)


def mixture() -> NormalMixture:
    lowers = jnp.array([[[1.0, 0.0], [0.3, 0.8]], [[0.7, 0.0], [-0.2, 0.9]]])
    return NormalMixture(jnp.log(jnp.array([0.7, 0.3])), jnp.array([[0.5, 0.0], [-1, 0.3]]), lowers)


FLOW = perturbed(realnvp(2, transforms=2, hidden=(4,), seed=3), 0.05, 1)
DIVERGENCES = {
    "reverse": (reverse_kl, lambda log_w: -log_w),
    "forward": (forward_kl, lambda log_w: jnp.exp(log_w) * log_w),
    "jeffreys": (jeffreys, lambda log_w: (jnp.exp(log_w) - 1) * log_w),
    "chi-squared": (chi_squared, lambda log_w: jnp.exp(2 * log_w)),
    "alpha": (alpha(0.5), lambda log_w: -4 * jnp.exp(0.5 * log_w)),
}


def row(beta=1.0, spread=1.0):
    return {"beta": jnp.asarray(beta), "spread": jnp.asarray(spread)}


@eqx.filter_jit
def gradient(objective, flow, key, settings):
    """Of the loss in the trained parameters, as one vector."""
    params, fixed = trainable(flow)
    found = jax.grad(
        lambda p: objective(eqx.combine(p, fixed), FRAME, key, settings)[0], allow_int=False
    )(params)
    return jax.flatten_util.ravel_pytree(found)[0]


def divergence_by_quadrature(flow, f):
    """E_q[f(w)] over a grid of the base, w the exact ratio of the normalised densities."""
    step, half = 0.05, 6.0
    axis = jnp.arange(-half, half + step / 2, step)
    z = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    x, log_det = apply_batch(flow.bijection.forward_and_log_det, z)
    base = -0.5 * jnp.sum(z**2, -1) - jnp.log(2 * jnp.pi)
    log_w = curved({"x": x}) - LOG_Z - base + log_det
    return jnp.sum(jnp.exp(base) * f(log_w)) * step**2


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_path_gradient_is_the_gradient_of_the_divergence(name):
    divergence, f = DIVERGENCES[name]
    params, fixed = trainable(FLOW)
    exact = jax.jit(jax.grad(lambda p: divergence_by_quadrature(eqx.combine(p, fixed), f)))(params)
    exact = np.asarray(jax.flatten_util.ravel_pytree(exact)[0])
    objective = PathObjective(CURVED, divergence, 8192, 0.0)
    found = np.stack(
        [gradient(objective, FLOW, jax.random.key(k), row()) for k in range(30)]
    ).astype(float)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    size = np.linalg.norm(exact)
    assert np.linalg.norm(error) < 0.06 * size  # the test can tell
    assert (np.abs(found.mean(0) - exact) < 5 * error + 2e-4 * size).all()


def exact_target(flow: Flow) -> Target:
    def own(theta):
        return apply_batch(flow.log_prob, theta["x"])

    return Target(own, LINE, vectorized=True)


@pytest.mark.parametrize("divergence", [reverse_kl, jeffreys, chi_squared])
@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_nothing_moves_at_the_exact_flow_not_at_one_single_point(base, divergence):
    """At q = p each draw's gradient vanishes, those of the widened base too."""
    flow = realnvp(
        2, transforms=2, hidden=(4,), seed=3, base=mixture() if base == "mixture" else None
    )
    flow = perturbed(flow, 0.1, 2)
    objective = PathObjective(exact_target(flow), divergence, 64, 0.5)
    other = perturbed(flow, 0.02, 5)
    for seed in range(3):
        key = jax.random.key(seed)
        at_truth = np.linalg.norm(gradient(objective, flow, key, row(spread=1.8)))
        beside = np.linalg.norm(gradient(objective, other, key, row(spread=1.8)))
        assert at_truth < 1e-3 * beside
        assert at_truth < 1e-4


@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_the_score_that_runs_forward_is_that_of_the_log_density(base):
    flow = realnvp(
        2, transforms=2, hidden=(4,), seed=1, base=mixture() if base == "mixture" else None
    )
    flow = perturbed(flow, 0.2, 3)
    z = flow.base.sample(jax.random.key(0), (50,))

    @jax.jit
    def both(z):
        base_score = jax.vmap(jax.grad(flow.base.log_prob))(z)
        x, _, score = apply_batch(flow.bijection.forward_and_score, z, base_score)
        return score, jax.vmap(jax.grad(flow.log_prob))(x)

    score, expected = both(z)
    np.testing.assert_allclose(score, expected, rtol=2e-3, atol=2e-3)


def test_the_record_tells_the_effective_sample_size_of_the_own_draws():
    """For a target N(0, s^2) and a flow N(0, 1), in two dimensions, with ratio 1 / s^2."""
    s = 1.2
    target = Target(lambda t: -0.5 * jnp.sum(t["x"] ** 2, -1) / s**2, LINE, vectorized=True)
    flow = realnvp(2, transforms=2, hidden=(4,))
    objective = PathObjective(target, reverse_kl, 40_000, 0.5)
    _, record = eqx.filter_jit(objective)(flow, FRAME, jax.random.key(0), row(spread=2.0))
    own = 20_000
    ess = float(jnp.exp(2 * record["log_sum"] - record["log_square"])) / own
    ratio = 1 / s**2
    first = 1 / np.sqrt(ratio)  # E[exp(-z^2 (ratio - 1) / 2)]
    square = 1 / np.sqrt(2 * ratio - 1)
    assert ess == pytest.approx((first**2 / square) ** 2, abs=0.02)
    assert record["not_finite"] == 0 and record["excluded"] == 0


def test_draws_where_the_density_is_not_finite_are_counted_and_teach_nothing():
    def broken(theta):
        value = -0.5 * jnp.sum(theta["x"] ** 2, -1)
        value = jnp.where(theta["x"][:, 0] > 1.0, jnp.nan, value)
        return jnp.where(theta["x"][:, 0] < -1.0, -jnp.inf, value)

    objective = PathObjective(Target(broken, LINE, vectorized=True), jeffreys, 4096, 0.0)
    key = jax.random.key(0)
    _, record = eqx.filter_jit(objective)(FLOW, FRAME, key, row())
    beyond = 0.1587 * 4096
    assert record["not_finite"] == pytest.approx(beyond, rel=0.2)
    assert record["excluded"] == pytest.approx(beyond, rel=0.2)
    assert np.isfinite(np.asarray(gradient(objective, FLOW, key, row()))).all()


def test_narrow_draws_count_by_their_values_too(monkeypatch):
    """The part added is the gradient of Huber's mean of log p - log q where they lie."""
    batch, key, narrow = 64, jax.random.key(2), 8
    flow = perturbed(FLOW, 0.02, 5)
    objective = PathObjective(CURVED, reverse_kl, batch, 0.5)
    with jax.disable_jit():  # a compiled program would not see the constant change
        found = gradient(objective, flow, key, row(spread=1.2))
        monkeypatch.setattr(objectives, "FAR", np.inf)
        found -= gradient(objective, flow, key, row(spread=1.2))
    z = flow.base.sample_and_log_prob(key, (batch,))[0]
    shrink = jax.random.uniform(jax.random.fold_in(key, 1), (batch,))
    points = apply_batch(flow.bijection.forward_and_log_det, z[:narrow] * shrink[:narrow, None])[0]
    own = apply_batch(flow.bijection.forward_and_log_det, z[batch // 2 :])[0]
    log_w = curved({"x": own}) - apply_batch(flow.log_prob, own)
    log_z = jax.nn.logsumexp(log_w) - jnp.log(batch // 2)
    params, fixed = trainable(flow)

    def squares(params):
        log_q = apply_batch(eqx.combine(params, fixed).log_prob, points)
        size = jnp.abs(curved({"x": points}) - log_q - log_z)
        return jnp.mean(jnp.where(size < 1, 0.5 * size**2, size - 0.5))

    ess = jnp.exp(2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)) / (batch // 2)
    expected = jax.flatten_util.ravel_pytree(jax.grad(squares)(params))[0]
    expected *= (2 * ess - 1) * 2 / 32  # of two dimensions, beside 30
    assert np.linalg.norm(expected) > 1e-4
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.linalg.norm(expected))


@pytest.mark.parametrize("dim", [2, 10, 95, 1000])
def test_draws_are_widened_no_farther_than_their_own_norms_reach(dim):
    square = widest(dim) ** 2 * dim
    assert square == pytest.approx(dim + 3 * np.sqrt(2 * dim))
    assert (widest(dim) > 1.4) == (dim < 20)


def test_annealing_starts_at_the_reference_measure():
    """With beta = 0 the identity, which is the reference measure, has no gradient."""
    objective = PathObjective(CURVED, reverse_kl, 256, 0.0)
    identity = realnvp(2, transforms=2, hidden=(4,), seed=3)
    key = jax.random.key(0)
    assert np.linalg.norm(gradient(objective, identity, key, row(beta=0.0))) < 1e-5
    assert np.linalg.norm(gradient(objective, identity, key, row(beta=1.0))) > 1e-2


# The algebra of divergences, and settings ----------------------------------------------------


def test_divergences_add_and_scale():
    log_w = jnp.array([-1.0, 0.0, 2.0])
    w, one = np.exp(log_w), jnp.ones(())
    mixed = reverse_kl + 0.5 * forward_kl + 2 * alpha(1.5)
    np.testing.assert_allclose(mixed.coefficient(log_w, one), 1 + 0.5 * w + 2 * w**1.5, rtol=1e-6)
    assert jeffreys == reverse_kl + forward_kl == Divergence(((1.0, 0.0), (1.0, 1.0)))
    assert hash(jeffreys) == hash(reverse_kl + forward_kl)
    np.testing.assert_allclose(chi_squared.coefficient(log_w, one), 2 * w**2, rtol=1e-6)


def test_a_bad_start_has_no_weights_in_its_coefficient():
    log_w, zero = jnp.array([-1.0, 5.0]), jnp.zeros(())
    for divergence in (reverse_kl, forward_kl, jeffreys, chi_squared):
        np.testing.assert_array_equal(divergence.coefficient(log_w, zero), 1.0)


def test_divergences_that_are_none():
    for power in (-0.1, 2.5):
        with pytest.raises(SettingError, match="power from 0"):
            alpha(power)
    for factor in (0, -1.0):
        with pytest.raises(SettingError, match="positive factor"):
            factor * reverse_kl


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"rate": -1e-3}, "rate must be positive"),
        ({"widened": 1.5}, "widened must be between 0 and 1"),
        ({"widened": 1.0}, "must leave some draws"),
        ({"anneal": -0.1}, "anneal must be between"),
        ({"batch": 4}, "batch >= 8"),
        ({"particles": 10}, "particles >= 50"),
        ({"check_draws": 100}, "check_draws >= 200"),
        ({"attempts": 0}, "attempts must be positive"),
        ({"stepps": 5}, r"unknown settings \['stepps'\]; known: divergence, layers"),
    ],
)
def test_unusable_settings_are_named(changes, message):
    with pytest.raises(SettingError, match=message):
        make_method("default", changes)


def test_methods_go_by_name():
    assert make_method("poster", {}) is POSTER or make_method("poster", {}) == POSTER
    assert make_method(Method(steps=5), {"batch": 16}) == Method(steps=5, batch=16)
    with pytest.raises(SettingError, match="unknown method 'best'; choose one of default, poster"):
        make_method("best", {})
    assert POSTER.divergence == jeffreys and POSTER.layers == 10 and POSTER.rate == 1e-3
