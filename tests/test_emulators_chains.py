"""Chains of networks: the conjugate posterior, resuming bit for bit, what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import CheckpointError, DensityError, SettingError
from posterion.emulators import chains as chains_module
from posterion.emulators.chains import walk_networks, windows
from posterion.emulators.density import Joint, data_of
from posterion.emulators.kernels import KERNELS, AdjustedMclmc, Hmc, Mclmc, Nuts, make_kernel
from posterion.emulators.likelihoods import Gaussian, Own
from posterion.emulators.priors import Independent
from posterion.networks import mlp

SIGMA = 0.5
RNG = np.random.default_rng(4)
X = RNG.normal(size=(40, 3)) * [1.0, 0.5, 2.0]
Y = X @ [[0.7], [-0.4], [0.2]] + 0.3 + SIGMA * RNG.normal(size=(40, 1))


def linear():
    """A network with no hidden layer: the posterior of its weights is normal."""
    network = mlp(()).build(3, 1, key=jax.random.key(0))
    joint, start = Joint.of(network, Independent(by_inputs=False), Gaussian(SIGMA), 1)
    return joint, np.asarray(start)


def conjugate():
    design = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    covariance = np.linalg.inv(np.eye(4) + design.T @ design / SIGMA**2)
    return covariance @ design.T @ Y[:, 0] / SIGMA**2, covariance


def walked(kernel, *, draws=1500, warmup=600, chains=4, seed=0, **settings):
    joint, start = linear()
    starts = start + 0.3 * np.random.default_rng(1).normal(size=(chains, 4))
    data = data_of(X, Y)
    given = {"draws": draws, "warmup": warmup, "seed": seed} | settings
    return walk_networks(joint, data, starts.astype(np.float32), kernel, **given)


def pulls(theta):
    """Of means and of covariances, in Monte Carlo errors taken from batches."""
    mean, covariance = conjugate()
    batches = theta.reshape(theta.shape[0] * 10, -1, 4).astype(np.float64)
    of_mean = batches.mean(axis=1)
    shift = batches - mean
    products = np.einsum("bni,bnj->bij", shift, shift) / batches.shape[1]
    n = len(batches)
    first = (of_mean.mean(0) - mean) / (of_mean.std(0, ddof=1) / n**0.5)
    second = (products.mean(0) - covariance) / (products.std(0, ddof=1) / n**0.5)
    return np.concatenate([first, second[np.triu_indices(4)]])


@pytest.mark.parametrize("kernel", [Nuts(), Hmc(), Hmc(steps=7), AdjustedMclmc()], ids=repr)
def test_exact_samplers_give_the_conjugate_posterior(kernel):
    found = walked(kernel)
    assert np.abs(pulls(found.theta)).max() < 3.5  # of 14 numbers
    assert found.complete and found.statistics["diverging"].sum() == 0
    assert found.gradients >= found.theta.shape[0] * found.theta.shape[1]
    acceptance = found.statistics["acceptance_rate"].mean()
    assert kernel.acceptance - 0.1 < acceptance < 0.98


def test_the_bias_of_mclmc_falls_with_its_step():
    _, covariance = conjugate()

    def bias(variance):
        theta = walked(Mclmc(variance), draws=3000, thin=4).theta.reshape(-1, 4)
        return abs(np.trace(np.linalg.solve(covariance, np.cov(theta.T))) / 4 - 1)

    coarse, fine = bias(0.3), bias(5e-4)
    assert fine < 0.05 < coarse


@pytest.mark.parametrize("name", KERNELS)
def test_interrupted_and_resumed_gives_the_same_bits(name, tmp_path, monkeypatch):
    settings = {"draws": 60, "warmup": 90, "thin": 2, "chains": 2}
    whole = walked(KERNELS[name], **settings)
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
            walked(KERNELS[name], **settings, path=path, resume=True, on_wake=wake)
    path.write_bytes(path.read_bytes()[:-7])  # torn in the middle of its last block
    again = walked(KERNELS[name], **settings, path=path, resume=True)
    np.testing.assert_array_equal(again.theta, whole.theta)
    np.testing.assert_array_equal(again.log_density, whole.log_density)
    for key, values in whole.statistics.items():
        np.testing.assert_array_equal(again.statistics[key], values)
    assert again.gradients == whole.gradients
    assert again.warmup_gradients == whole.warmup_gradients


def test_a_chain_does_not_depend_on_how_many_there_are():
    two = walked(Nuts(), draws=20, warmup=50, chains=2)
    three = walked(Nuts(), draws=20, warmup=50, chains=3)
    np.testing.assert_allclose(two.theta, three.theta[:2], rtol=1e-5)


def test_time_that_ends_leaves_what_was_drawn(tmp_path):
    path = tmp_path / "a.chains"
    found = walked(Nuts(), draws=10**6, warmup=50, chains=2, max_seconds=2.0, path=path)
    assert not found.complete and 0 < found.theta.shape[1] < 10**6
    assert found.theta.shape[:2] == found.log_density.shape


def test_windows_end_with_the_warmup():
    ends = windows(300)
    assert ends[-1][0] == 300 and any(renew for _, renew in ends)
    assert [end for end, _ in ends] == sorted({end for end, _ in ends})
    assert windows(0) == []


def test_another_run_s_file_is_refused(tmp_path):
    path = tmp_path / "a.chains"
    walked(Nuts(), draws=5, warmup=20, chains=2, path=path)
    with pytest.raises(CheckpointError, match="different: seed"):
        walked(Nuts(), draws=5, warmup=20, chains=2, path=path, resume=True, seed=3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make_kernel("gibbs"), SettingError, "unknown sampler 'gibbs'.*nuts"),
        (lambda: walked(Nuts(), draws=0), SettingError, "draws >= 1"),
        (lambda: walked(Nuts(), resume=True), SettingError, "resume needs the file"),
    ],
)
def test_unusable_settings_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_start_that_is_not_finite_is_refused():
    joint, start = linear()
    with pytest.raises(DensityError, match="not finite at a start"):
        bad = np.full((2, joint.dim), np.nan, np.float32)
        walk_networks(joint, data_of(X, Y), bad, Nuts(), draws=5, warmup=5)
    assert np.isfinite(start).all() and jnp.isfinite(joint.log_prior(jnp.asarray(start)))


def test_an_infinite_density_holds_no_chain():
    """Beyond a wall the log-density is +inf: such transitions are divergences and are undone."""
    joint, start = linear()

    def wall(out, y):
        return jnp.where(out[:, 0] > 3.0, jnp.inf, -0.5 * (out - y)[:, 0] ** 2 / SIGMA**2)

    own = Own(wall, lambda key, out: out, lambda out: (out, jnp.ones_like(out)))
    joint = eqx.tree_at(lambda j: j.likelihood, joint, own)
    starts = np.zeros((2, 4), np.float32)
    found = walk_networks(joint, data_of(X, Y), starts, Hmc(), draws=300, warmup=50, seed=1)
    assert np.isfinite(found.log_density).all()
    assert len(np.unique(found.theta[0, :, 0])) > 100
    assert start.shape == (4,)
