"""What ``learn`` returns: draws, density, weights, files; and mixtures of hypotheses."""

import errno
import os

import jax
import numpy as np
import pytest
from scipy import stats

from posterion.core.errors import (
    DensityError,
    OutputError,
    SettingError,
    ShapeError,
    ThetaError,
)
from posterion.core.status import Status
from posterion.targets import Parameter, Target
from posterion.training import MixedPosterior, Posterior, learn, load
from small_learning import COVARIANCE, LOG_Z, MEAN, NORMAL, SMALL


@pytest.fixture(scope="module")
def learned() -> Posterior:
    return learn(NORMAL, seed=1, **SMALL)


@pytest.fixture(scope="module")
def boxed() -> Posterior:
    """One bounded parameter, one circle that is cut, one that is not."""

    def log_density(t):
        import jax.numpy as jnp

        return -t["a"] + 20 * jnp.cos(t["b"] - 6.0) + jnp.cos(t["c"])

    turn = {"lower": 0.0, "upper": 2 * np.pi, "periodic": True}
    parameters = [Parameter("a", lower=0.0, upper=1.0), Parameter("b", **turn)]
    parameters.append(Parameter("c", **turn))
    return learn(Target(log_density, parameters, vectorized=True, name="box"), seed=1, **SMALL)


def test_draws_have_their_parameters_shape_and_precision(learned):
    draws = learned.sample(7, seed=1)
    assert list(draws) == ["x"]
    assert draws["x"].shape == (7, 2) and draws["x"].dtype == np.float64
    for n in (0, -1):
        with pytest.raises(SettingError, match="must be positive"):
            learned.sample(n, seed=1)


def test_the_same_seed_gives_the_same_draws_and_a_longer_sample_begins_with_the_shorter(learned):
    long = learned.sample(40_000, seed=4)["x"]
    np.testing.assert_array_equal(learned.sample(40_000, seed=4)["x"], long)
    for n in (1, 100, 16_384, 16_385):
        np.testing.assert_array_equal(learned.sample(n, seed=4)["x"], long[:n])
    assert (learned.sample(100, seed=5)["x"] != long[:100]).all()
    assert len(np.unique(long[:, 0])) > 39_000  # no chunk repeats another one


def test_draws_follow_the_density(learned):
    """Kolmogorov and Smirnov: a false alarm in 10^4 for this fixed seed."""
    x = learned.sample(20_000, seed=3)["x"]
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (x - MEAN).T)
    for row in white:
        assert stats.kstest(row, "norm").pvalue > 1e-4


def test_the_density_integrates_to_one_and_is_the_normals(learned):
    n = 400
    axes = [
        np.linspace(m - 6 * s, m + 6 * s, n)
        for m, s in zip(MEAN, np.sqrt(np.diag(COVARIANCE)), strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    log_q = learned.log_prob({"x": grid})
    cell = np.prod([a[1] - a[0] for a in axes])
    assert np.exp(log_q).sum() * cell == pytest.approx(1, abs=1e-3)
    exact = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(grid)
    near = exact > exact.max() - 4
    assert np.abs(log_q - exact)[near].max() < 0.15


@pytest.mark.slow
def test_bounded_and_circular_densities_integrate_to_one(boxed):
    a = (np.arange(40) + 0.5) / 40
    turn = (np.arange(160) + 0.5) / 160 * 2 * np.pi
    grid = np.stack(np.meshgrid(a, turn, turn[::4], indexing="ij"), -1).reshape(-1, 3)
    theta = {"a": grid[:, 0], "b": grid[:, 1], "c": grid[:, 2]}
    cell = 1 / 40 * (2 * np.pi / 160) * (2 * np.pi / 40)
    assert np.exp(boxed.log_prob(theta)).sum() * cell == pytest.approx(1, abs=0.01)
    kinds = boxed.frame.support.kinds
    assert kinds == ("interval", "interval", "circle")
    draws = boxed.sample(5000, seed=1)
    assert (draws["a"] > 0).all() and (draws["a"] < 1).all()
    for name in ("b", "c"):
        assert (draws[name] >= 0).all() and (draws[name] <= 2 * np.pi).all()
    # The cut circle's draws lie about 6.0 on both sides of its declared ends.
    assert (draws["b"] > 5.5).any() and (draws["b"] < 0.4).any()


def test_the_density_is_zero_beyond_the_bounds(boxed):
    theta = {"a": np.array([-0.1, 0.5, 1.1]), "b": np.full(3, 6.0), "c": np.zeros(3)}
    log_q = boxed.log_prob(theta)
    assert log_q[0] == log_q[2] == -np.inf
    assert np.isfinite(log_q[1])


def test_a_point_and_its_image_a_turn_further_have_one_density(boxed):
    theta = boxed.sample(50, seed=2)
    moved = {**theta, "b": theta["b"] + 2 * np.pi, "c": theta["c"] - 2 * np.pi}
    np.testing.assert_allclose(boxed.log_prob(moved), boxed.log_prob(theta), atol=2e-3)


def test_log_prob_agrees_with_the_density_of_the_draws(learned, boxed):
    for result in (learned, boxed):
        weighted = result.importance_sample(3000, seed=8)
        again = result.log_prob(weighted.draws)
        assert np.abs(again - weighted.log_q).max() < 5e-3
        np.testing.assert_allclose(weighted.log_weights, weighted.log_p - weighted.log_q, atol=1e-9)
        assert weighted.weights.mean() == pytest.approx(1)


def test_points_with_other_names_or_shapes_are_refused(learned):
    with pytest.raises(ThetaError, match="unknown names"):
        learned.log_prob({"y": np.zeros(3)})
    with pytest.raises((DensityError, ShapeError), match="shape"):
        learned.log_prob({"x": np.zeros(3)})


def test_importance_sampling_corrects_the_flow_and_gives_the_evidence(learned):
    weighted = learned.importance_sample(20_000, seed=3)
    assert weighted.log_evidence.value == pytest.approx(LOG_Z, abs=5 * weighted.log_evidence.error)
    assert weighted.log_evidence.error < 2e-3
    mean = (weighted.weights[:, None] * weighted.draws["x"]).mean(0)
    np.testing.assert_allclose(mean, MEAN, atol=5 / np.sqrt(20_000))


# Files --------------------------------------------------------------------------------------


def test_a_file_gives_the_same_draws_in_a_new_process_without_the_density(
    learned, tmp_path, run_python
):
    path = tmp_path / "normal.posterion"
    learned.save(path)
    draws = learned.sample(20_000, seed=2)["x"]
    np.save(tmp_path / "draws.npy", draws)
    run_python(
        """
import numpy as np, posterion
again = posterion.load("normal.posterion")
assert type(again).__name__ == "Posterior"
assert again.target is None
draws = again.sample(20_000, seed=2)["x"]
assert draws.tobytes() == np.load("draws.npy").tobytes()
try:
    again.importance_sample(10, seed=1)
except posterion.errors.DensityError as error:
    assert "with_target" in str(error)
else:
    raise SystemExit("no error")
print(again)
"""
    )
    again = load(path)
    assert str(again.health) == str(learned.health)
    assert again.log_evidence == learned.log_evidence
    assert again.settings == learned.settings and again.versions == learned.versions
    assert again.citations == learned.citations
    np.testing.assert_array_equal(again.history["loss"], learned.history["loss"])
    np.testing.assert_array_equal(again.log_prob({"x": draws}), learned.log_prob({"x": draws}))
    assert path.stat().st_size < 2_000_000
    weighted = again.with_target(NORMAL).importance_sample(100, seed=3)
    np.testing.assert_array_equal(
        weighted.log_weights, learned.importance_sample(100, seed=3).log_weights
    )


def test_another_density_is_refused(learned):
    for parameters in ([Parameter("y", shape=(2,))], [Parameter("x", shape=(3,))]):
        with pytest.raises(SettingError, match="are not the posterior's"):
            learned.with_target(Target(lambda t: 0.0, parameters))


def test_a_full_disk_keeps_the_old_file(learned, tmp_path, monkeypatch):
    path = tmp_path / "normal.posterion"
    learned.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            learned.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["normal.posterion"]
    load(path)


def test_the_report_stands_in_the_repr(learned):
    assert repr(learned) == str(learned.health)
    assert learned.status.sentence.split()[0] in repr(learned)
    assert "<table" in learned._repr_html_()
    assert learned.kind == "posterior" and learned.name == "normal"


def test_traced_draws_and_densities_agree_with_those_of_the_host(learned, boxed):
    for result in (learned, boxed):
        x = np.asarray(result._sample_flat(jax.random.key(0), (3, 5)))
        assert x.shape == (3, 5, result.dim)
        flat = x.reshape(15, -1)
        if result is learned:
            theta = {"x": flat.astype(float)}
        else:
            theta = dict(zip("abc", flat.T.astype(float), strict=True))
        found = np.asarray(jax.jit(result._log_prob_flat)(flat))
        np.testing.assert_allclose(found, result.log_prob(theta), atol=5e-3)


# Mixtures of hypotheses ---------------------------------------------------------------------


def test_hypotheses_mix_by_evidence_offset_and_prior_odds(learned, tmp_path):
    posteriors = {"first": learned, "second": learned}
    mixed = MixedPosterior.of(
        posteriors,
        name="both",
        hypothesis="which",
        log_offsets={"second": -1.0},
        prior_odds={"first": 1.0, "second": 2.0},
    )
    odds = 2 * np.exp(-1.0)
    assert mixed.probabilities["second"] == pytest.approx(odds / (1 + odds))
    total = learned.log_evidence.value + np.log(1 + odds)
    assert mixed.log_evidence.value == pytest.approx(total)
    draws = mixed.sample(20_000, seed=1)
    share = draws["which"].mean()
    assert share == pytest.approx(odds / (1 + odds), abs=5 * 0.5 / np.sqrt(20_000))
    assert set(np.unique(draws["which"])) == {0.0, 1.0}
    log_q = mixed.log_prob({k: v[:10] for k, v in draws.items()})
    own = learned.log_prob({"x": draws["x"][:10]})
    np.testing.assert_allclose(log_q - own, mixed.log_weights[draws["which"][:10].astype(int)])
    assert mixed.status is Status.converged
    assert mixed["first"] is learned
    mixed.save(tmp_path / "both.posterion")
    again = load(tmp_path / "both.posterion")
    np.testing.assert_array_equal(again.sample(100, seed=3)["x"], mixed.sample(100, seed=3)["x"])
    with pytest.raises(SettingError, match="no hypothesis 'third'"):
        mixed["third"]
    with pytest.raises(ThetaError, match="lacks 'which'"):
        mixed.log_prob({"x": np.zeros((1, 2))})


def test_hypotheses_need_the_same_parameters(learned, boxed):
    with pytest.raises(SettingError, match="the same parameters"):
        MixedPosterior.of({"a": learned, "b": boxed}, name="no", hypothesis="which")
