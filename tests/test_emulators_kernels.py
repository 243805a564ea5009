"""Every sampler against exact posteriors, and the same bits after an interruption."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_networks import X, Y, farthest, linear, truth, walked
from posterion.core.errors import SettingError
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
EXACT = [Nuts(), Hmc(), Hmc(steps=7), AdjustedMclmc(), Rmhmc(), QUICK]


@pytest.mark.parametrize("kernel", EXACT, ids=repr)
def test_exact_samplers_give_the_conjugate_posterior(kernel):
    """False alarms: one in a thousand for each kernel, were its random numbers others."""
    found = walked(kernel)
    assert farthest(found.theta) < 1
    assert found.complete and found.statistics["diverging"].mean() < 0.01
    assert found.gradients >= found.theta.shape[0] * found.theta.shape[1]
    if kernel != Rmhmc() and kernel != QUICK:  # whose steps have other bounds, or masters
        acceptance = found.statistics["acceptance_rate"].mean()
        assert kernel.acceptance - 0.1 < acceptance < 0.98


@pytest.mark.parametrize(
    "kernel",
    [
        Alternated(Nuts(), Hmc()),
        pytest.param(Rmhmc(), marks=pytest.mark.slow),
        pytest.param(QUICK, marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_weights_and_noise_together_have_their_exact_moments(kernel):
    """The truth is a quadrature over the noise; false alarms as above."""
    found = walked(kernel, learned_noise=True)
    assert farthest(found.theta, learned_noise=True) < 1


def test_a_spread_that_is_a_tenth_off_would_be_seen():
    mean, covariance = truth()
    root, rng = np.linalg.cholesky(covariance), np.random.default_rng(0)
    z = rng.normal(size=(4, 1500, 4)) @ root.T
    assert farthest(mean + z) < 1 < farthest(mean + 1.1 * z)
    assert farthest(mean + z + 0.1 * root[0, 0]) > 1


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


@pytest.mark.parametrize("name", KERNELS)
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
        (lambda: L2hmc(steps=0), "steps must be positive"),
    ],
)
def test_unusable_settings_are_refused(call, message):
    with pytest.raises(SettingError, match=message):
        call()
