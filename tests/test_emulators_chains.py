"""Chains of networks: time, windows, files of other runs, what is refused."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from linear_networks import SIGMA, X, Y, linear, walked
from posterion.core.errors import CheckpointError, DensityError, SettingError
from posterion.emulators.chains import walk_networks, windows
from posterion.emulators.density import data_of
from posterion.emulators.kernels import Hmc, Nuts, make_kernel
from posterion.emulators.likelihoods import Own


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
