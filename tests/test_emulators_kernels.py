"""Every sampler against exact posteriors, and the same bits after an interruption."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_networks import (
    THREE_SIGMA,
    X,
    Y,
    chances,
    linear,
    shifted,
    truth,
    walked,
    widened,
)
from posterion.core.errors import SettingError
from posterion.diagnostics.autocorrelation import integrated_time
from posterion.emulators import chains as chains_module
from posterion.emulators.chains import walk_networks
from posterion.emulators.density import Joint, Posterior, data_of
from posterion.emulators.kernels import (
    KERNELS,
    AdjustedMclmc,
    Alternated,
    Hmc,
    L2hmc,
    Mclmc,
    Nuts,
    Rmhmc,
    Sghmc,
)
from posterion.emulators.kernels.learning import Bends, Point, bent, masks_of
from posterion.emulators.kernels.riemannian import curvature
from posterion.emulators.likelihoods import Gaussian
from posterion.emulators.priors import PRIORS, Independent
from posterion.networks import mlp

# Of networks of few numbers, so that chains are quick and take a few seconds to compile.
QUICK = L2hmc(lessons=1, width=8, steps=4)
# With as many draws of each chain as it takes to see 3 % of a variance.
EXACT = [
    (Nuts(), 10_000),
    (Hmc(), 10_000),
    (Hmc(steps=7), 15_000),
    (AdjustedMclmc(), 10_000),
    pytest.param(Rmhmc(), 10_000, marks=pytest.mark.slow),
    pytest.param(QUICK, 40_000, marks=pytest.mark.slow),
]


def _exact(theta, learned_noise=False):
    """Within three Monte Carlo errors, and so exact that 3 % of a variance would be seen.

    False alarms, were the random numbers others: one in 370 for each of the two.
    """
    of_means, of_moments = chances(theta, learned_noise)
    assert of_means > THREE_SIGMA and of_moments > THREE_SIGMA
    for factor in (0.97, 1.03):
        assert chances(widened(theta, factor, learned_noise), learned_noise)[1] < THREE_SIGMA
    assert chances(shifted(theta, 0.03, learned_noise), learned_noise)[0] < THREE_SIGMA


@pytest.mark.parametrize(("kernel", "draws"), EXACT, ids=repr)
def test_exact_samplers_give_the_conjugate_posterior(kernel, draws):
    found = walked(kernel, draws=draws, chains=8)
    _exact(found.theta)
    assert found.complete and found.statistics["diverging"].mean() < 0.01
    assert found.gradients >= found.theta.shape[0] * found.theta.shape[1]
    if kernel != Rmhmc() and kernel != QUICK:  # whose steps have other bounds, or masters
        acceptance = found.statistics["acceptance_rate"].mean()
        assert kernel.acceptance - 0.1 < acceptance < 0.98


@pytest.mark.parametrize(
    ("kernel", "draws"),
    [
        pytest.param(Alternated(Nuts(), Hmc()), 12_000, marks=pytest.mark.slow),
        pytest.param(Rmhmc(), 12_000, marks=pytest.mark.slow),
        pytest.param(QUICK, 40_000, marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_weights_and_noise_together_have_their_exact_moments(kernel, draws):
    """The truth is a quadrature over the noise."""
    found = walked(kernel, draws=draws, chains=8, learned_noise=True)
    _exact(found.theta, learned_noise=True)


def test_the_chances_of_independent_draws_are_even():
    mean, covariance = truth()
    root, rng = np.linalg.cholesky(covariance), np.random.default_rng(0)
    draws = (mean + rng.normal(size=(8, 1000, 4)) @ root.T for _ in range(400))
    found = np.array([chances(theta) for theta in draws])
    for level in (0.05, 0.3, 0.7):
        share = np.mean(found < level, axis=0)
        assert np.abs(share - level).max() < 4 * (level * (1 - level) / 400) ** 0.5


def test_no_direction_stands_where_trajectories_have_one_number_of_steps():
    """Of one size too, half turns would bring a direction back to where it was, or its opposite."""
    found = walked(Hmc(steps=7), draws=5000, chains=8, seed=2)
    mean, covariance = truth()
    for theta, metric in zip(found.theta, found.tuning.metric, strict=True):
        root = np.sqrt(metric)
        values, vectors = np.linalg.eigh(covariance / np.outer(root, root))
        z = (theta - mean) / root @ vectors / np.sqrt(values)
        assert max(float(integrated_time(z[:, i] ** 2).value) for i in range(4)) < 20


def test_the_length_of_hmc_is_about_a_quarter_turn_and_is_found_again():
    """From the spread and the slopes of the chain's own moves, whatever it was at the start."""
    lengths = walked(Hmc(), draws=5).tuning.length
    assert ((lengths > 0.8) & (lengths < 2.2)).all()
    kept = walked(Hmc(learned=False), draws=5).tuning.length
    np.testing.assert_allclose(kept, np.pi / 2, rtol=1e-6)


def _bias(kernel, **settings):
    """Of the variance, relative, on average over the directions."""
    _, covariance = truth()
    theta = walked(kernel, **({"draws": 3000} | settings)).theta.reshape(-1, 4)
    return np.trace(np.linalg.solve(covariance, np.cov(theta.T))) / 4 - 1


def test_the_bias_of_mclmc_falls_with_its_step():
    coarse, fine = (abs(_bias(Mclmc(variance), thin=4)) for variance in (0.6, 5e-4))
    assert fine < 0.05 < coarse


@pytest.mark.slow
def test_the_bias_of_sghmc_is_below_its_heat_and_falls_with_it():
    """Minibatches of 2 rows of 40 and little friction: their noise would heat the chain."""
    coarse, fine = (
        _bias(Sghmc(heat, batch=2, friction=0.02), draws=1500, thin=4) for heat in (0.4, 0.04)
    )
    assert abs(fine) < 0.04 < coarse < 0.4


def test_minibatches_of_an_epoch_have_the_whole_s_gradient():
    joint, start = linear(learned_noise=True)
    rng = np.random.default_rng(2)
    x, y = np.tile(X, (2, 1))[:67], rng.normal(size=(67, 1))
    data = data_of(x, y, chunk=30)  # 3 chunks of 23 rows, of which two are filled up
    assert data.weight is not None
    with jax.enable_x64(True):
        density = Posterior.of(joint, data)
        theta = jnp.asarray(start, jnp.float64) + 0.1
        whole = jax.jit(jax.grad(density))(theta)
        for batches in (1, 4, 10):
            slope = jax.jit(jax.grad(lambda t, i, b=batches: density.of_batch(t, i, b)))
            slopes = [slope(theta, jnp.asarray(i)) for i in range(batches)]
            np.testing.assert_allclose(np.mean(slopes, axis=0), whole, rtol=1e-5)
            assert batches == 1 or np.std(slopes, axis=0).min() > 0


def test_an_epoch_of_minibatches_counts_as_one_gradient():
    kernel = Sghmc(batch=7, steps=5, cycle=4, exploration=0.5)
    found = walked(kernel, draws=24, warmup=8, chains=2)
    assert found.gradients == 2 * 24 // 4 * 40 // 6  # of 40 minibatches a cycle, six an epoch
    assert found.statistics["gradients"].sum() == found.gradients


LONG = ("l2hmc", "rmhmc")  # to compile


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in KERNELS]
)
def test_interrupted_and_resumed_gives_the_same_bits(name, tmp_path, monkeypatch):
    settings = {"draws": 60, "warmup": 90, "thin": 2, "chains": 2, "learned_noise": True}
    kernel = QUICK if name == "l2hmc" else KERNELS[name]
    whole = walked(kernel, **settings)
    monkeypatch.setattr(chains_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(chains_module, "_SECONDS", 1e-4)
    path = tmp_path / "a.chains"

    class Killed(Exception):
        pass

    for stop in (30, 100, 150):

        def wake(done, _, stop=stop):
            if done >= stop:
                raise Killed

        with pytest.raises(Killed):
            walked(kernel, **settings, path=path, resume=True, on_wake=wake)
    path.write_bytes(path.read_bytes()[:-7])  # torn in the middle of its last block
    again = walked(kernel, **settings, path=path, resume=True)
    np.testing.assert_array_equal(again.theta, whole.theta)
    np.testing.assert_array_equal(again.log_density, whole.log_density)
    for key, values in whole.statistics.items():
        np.testing.assert_array_equal(again.statistics[key], values)
    assert again.gradients == whole.gradients
    assert again.warmup_gradients == whole.warmup_gradients


def _shaken(dim):
    """Networks that bend, as after training."""
    bends = Bends(dim, 6, jax.random.key(0))
    leaves, structure = jax.tree.flatten(bends)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.3 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("forward", [True, False])
def test_a_bent_trajectory_has_its_jacobian_and_its_inverse(dim, forward):
    with jax.enable_x64(True):
        bends = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), _shaken(dim))
        masks = jnp.asarray(masks_of(4, dim), jnp.float64)
        of = jax.value_and_grad(lambda x: -jnp.sum(x**4) / 4 - jnp.sum(jnp.cos(x)) - x[0] * x[-1])

        def run(point, forward=forward):
            x, v = jnp.split(point, 2)
            start = Point(x, v, *of(x))
            end, growth = bent(of, bends, jnp.asarray(0.3), masks, start, jnp.asarray(forward))
            return jnp.concatenate([end.x, end.v]), growth

        point = jax.random.normal(jax.random.key(2), (2 * dim,), jnp.float64)
        end, growth = run(point)
        sign, wanted = jnp.linalg.slogdet(jax.jacfwd(lambda p: run(p)[0])(point))
        assert float(sign) == 1 and abs(float(growth)) > 1e-3
        assert float(growth) == pytest.approx(float(wanted), abs=1e-10)
        back, shrunk = run(end, not forward)
        np.testing.assert_allclose(back, point, atol=1e-10)
        assert float(growth + shrunk) == pytest.approx(0, abs=1e-10)


def test_l2hmc_learns_in_the_warmup_alone():
    few, many = (walked(QUICK, draws=n, warmup=250, chains=1) for n in (5, 50))
    bends = few.tuning.learned.bends
    assert max(float(np.abs(a).max()) for a in bends.of_position.network.weights[-1:]) > 0
    for one, two in zip(jax.tree.leaves(few.tuning), jax.tree.leaves(many.tuning), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("prior", ["gaussian", "laplace", "hierarchical-cauchy"])
def test_the_metric_is_the_curvature_of_a_linear_network_and_positive_elsewhere(prior):
    joint, _ = linear()
    theta = jnp.ones(4, jnp.float32)
    data = data_of(X, Y)
    found = jax.jit(lambda t: curvature(Posterior.of(joint, data), t))(theta)
    _, covariance = truth()
    of_prior = np.sqrt(2) - 1  # the smooth absolute value of one, instead of one
    np.testing.assert_allclose(
        found - of_prior * np.eye(4), np.linalg.inv(covariance), rtol=1e-4, atol=1e-3
    )
    joint, start = Joint.of(
        mlp((3,), "tanh").build(3, 1, key=jax.random.key(0)), PRIORS[prior], Gaussian(), 1
    )
    metric = jax.jit(lambda t: curvature(Posterior.of(joint, data), t))(start)
    assert float(jnp.linalg.eigvalsh(metric).min()) > 0.1


def test_what_a_kernel_cannot_move_in_is_refused():
    network = mlp((60,)).build(3, 1, key=jax.random.key(0))
    joint, start = Joint.of(network, Independent(), Gaussian(), 1)
    for kernel in (Rmhmc(), L2hmc()):
        with pytest.raises(SettingError, match=r"at most \d+ dimensions"):
            walk_networks(joint, data_of(X, Y), np.asarray(start)[None], kernel, draws=5, warmup=5)
    with pytest.raises(SettingError, match="weights alone"):
        walked(Alternated(Hmc(), Nuts()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Alternated(Hmc(), "nuts"), "a kernel for the weights and one for all else"),
        (lambda: Alternated(Hmc(), Alternated(Hmc(), Hmc())), "one for all else"),
        (lambda: Sghmc(exploration=1.0), "exploration is a share"),
        (lambda: Sghmc(heat=0.0), "heat must be positive"),
        (lambda: Rmhmc(iterations=1), "iterations must be"),
        (lambda: L2hmc(steps=0), "steps must be a whole number, at least 1"),
        (lambda: Hmc(steps=0), "steps must be a whole number, at least 1; got 0"),
        (lambda: Hmc(acceptance=2.0), "acceptance must be a number between 0 and 1; got 2.0"),
        (lambda: Nuts(acceptance=float("nan")), "acceptance must be"),
        (lambda: Nuts(doublings=0), "doublings must be a whole number, at least 1, at most 20"),
        (lambda: Nuts(doublings=100), "doublings must be .* got 100"),
        (lambda: Sghmc(steps=1), "steps must be a whole number, at least 2"),
        (lambda: AdjustedMclmc(acceptance=2.0), "acceptance must be .* got 2.0"),
    ],
)
def test_unusable_settings_are_refused(call, message):
    with pytest.raises(SettingError, match=message):
        call()
