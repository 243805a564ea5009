"""What a fit minimises and how it goes on: losses of their own kind, symmetry, checkpoints."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import posterion
from posterion import flows
from posterion.bijections import apply_batch, permutations
from posterion.core.errors import CheckpointError, InterruptedLearning, SettingError
from posterion.distributions import NormalMixture
from posterion.networks.perceptron import MLP
from posterion.training import running
from posterion.training.discflow import DiscFlow, Ratio
from posterion.training.losses import Batch, NegativeLogLikelihood

QUICK = {"epochs": 3, "batch": 200, "rate": 1e-2, "quiet": True, "seed": 1}


def skewed(n=2000, seed=0):
    x = np.random.default_rng(seed).gamma(1.5, size=(n, 3))
    return x @ np.array([[1.0, 0.8, 0.2], [0, 0.6, -0.3], [0, 0, 0.5]]) + [10.0, -3e4, 0.0]


def maf():
    return flows.maf(3, transforms=2, hidden=(8,))


def parabola(n=2000, seed=0):
    """A curve in three dimensions, in units that differ."""
    u = np.random.default_rng(seed).normal(0.0, 0.5, n)
    return np.stack([1e3 * u, u**2, 0.5 * np.sin(2 * u)], axis=1)


def curve():
    return flows.manifold(3, 1, transforms=4, hidden=(16,), bins=4, scale_limit=1.0)


# ------------------------------------------------------------------------------------ checkpoints

CASES = {
    "likelihood": (maf, skewed, {}),
    "two phases": (curve, parabola, {}),
    "discflow": (maf, skewed, {"loss": DiscFlow(every=2, rows=500)}),
}


def interrupted(monkeypatch, epochs, arguments, options):
    """The error of a fit that Ctrl-C reaches after so many epochs."""
    note, seen = running.Run._note, itertools.count()

    def stop(self, *row):
        if next(seen) == epochs:
            raise KeyboardInterrupt
        note(self, *row)

    with monkeypatch.context() as patch:
        patch.setattr(running, "_SAVE_EVERY", -1.0)
        patch.setattr(running.Run, "_note", stop)
        with pytest.raises(InterruptedLearning) as caught:
            posterion.fit(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_interrupted_and_resumed_it_is_the_same(name, tmp_path, monkeypatch):
    build, samples, own = CASES[name]
    options = QUICK | own
    whole = posterion.fit(build(), samples(), **options)
    kept = options | {"checkpoint": tmp_path / "run.safetensors"}
    # In the midst of the first loss, and behind the classifier or in the second phase.
    for done in (2, *((4,) if name == "two phases" else (3,) if name == "discflow" else ())):
        if done < len(whole.history["epoch"]):
            message = interrupted(monkeypatch, done, (build(), samples()), kept)
            assert "resume=True" in message
            again = posterion.fit(build(), samples(), **kept, resume=True)
            assert np.array_equal(again.sample(50, seed=3), whole.sample(50, seed=3))
            assert not kept["checkpoint"].exists()


def test_a_checkpoint_of_another_fit(tmp_path, monkeypatch):
    kept = QUICK | {"checkpoint": tmp_path / "run.safetensors"}
    interrupted(monkeypatch, 1, (maf(), skewed(500)), kept)
    with pytest.raises(CheckpointError, match="seed"):
        posterion.fit(maf(), skewed(500), **(kept | {"seed": 2}), resume=True)


def test_epochs_without_a_finite_held_out_loss_are_outlived(monkeypatch):
    """The first two overflow: the fit goes on, and the best of the others is kept."""
    true, seen = running.Run.held_out_loss, itertools.count()

    def overflows(self, params):
        return (float("nan"), float("inf"))[n] if (n := next(seen)) < 2 else true(self, params)

    monkeypatch.setattr(running.Run, "held_out_loss", overflows)
    result = posterion.fit(maf(), skewed(), **(QUICK | {"epochs": 6}))
    valid = result.history["valid"]
    assert len(valid) == 6 and not np.isfinite(valid[:2]).any()
    best = int(np.argmin(valid[2:])) + 3
    assert result.health.check("epochs").note.startswith(f"the one kept: {best};")
    assert result.status.name in ("fitted", "still_improving")


# --------------------------------------------------------------------------------------- surfaces


@pytest.fixture(scope="module")
def on_curve():
    return posterion.fit(curve(), parabola(), **(QUICK | {"epochs": 60, "rate": 1e-2}))


def test_a_curve_in_space_is_learned(on_curve):
    assert on_curve.on_surface and on_curve.settings["loss"].startswith("Reconstruction")
    check = on_curve.health.check("distance from the surface")
    plane = np.sqrt(np.linalg.eigvalsh(np.corrcoef(parabola().T))[:2].sum())
    assert check.value < 0.05 < plane and check.verdict == "good"
    x = on_curve.sample(2000, seed=2)
    u = x[:, 0] / 1e3
    assert (
        np.abs(x[:, 1] - u**2).mean() < 0.03 and np.abs(x[:, 2] - np.sin(2 * u) / 2).mean() < 0.03
    )
    assert stats.ks_2samp(u, parabola(2000, seed=5)[:, 0] / 1e3).pvalue > 1e-4
    # Lengths are in units of the spread of each coordinate.
    spread = np.diag(on_curve.frame.whitening.lower)
    u = np.linspace(-1.0, 1.0, 11)
    points = np.stack([1e3 * u, u**2, np.sin(2 * u) / 2], axis=1)
    speed = np.stack([np.full(11, 1e3), 2 * u, np.cos(2 * u)], axis=1) / np.asarray(spread)
    truth = stats.norm(0, 0.5).logpdf(u) - np.log(np.linalg.norm(speed, axis=1))
    assert np.abs(on_curve.log_prob(points) - truth).mean() < 0.2


def test_a_fit_on_a_curve_is_kept(on_curve, tmp_path):
    on_curve.save(tmp_path / "curve.posterion")
    again = posterion.load(tmp_path / "curve.posterion")
    assert np.array_equal(again.sample(20, seed=1), on_curve.sample(20, seed=1))
    assert np.array_equal(again.log_prob(parabola(5)), on_curve.log_prob(parabola(5)))


def test_a_surface_worse_than_a_plane_is_said_so():
    result = posterion.fit(curve(), parabola(400), **(QUICK | {"epochs": 1, "rate": 1e-6}))
    check = result.health.check("distance from the surface")
    assert check.verdict == "bad" and not result.status.ok
    assert "a plane lies nearer" in str(result)


def test_what_surfaces_cannot():
    with pytest.raises(SettingError, match="1 to 2, not 3"):
        flows.manifold(3, 3)
    with pytest.raises(SettingError, match="'nll' alone"):
        posterion.fit(curve(), parabola(400), loss="discflow", **QUICK)


def test_a_fit_on_a_curve_is_not_distilled(on_curve):
    with pytest.raises(SettingError, match="surface"):
        posterion.distill(on_curve, flows.iaf(3))


# --------------------------------------------------------------------------------------- symmetry


def test_alike_particles_stay_alike():
    """Learned in units of 1e3 away from zero: scaling must not break the exchange."""
    rng = np.random.default_rng(0)
    x = rng.normal([1e3, 0.0, 1e3, 0.0], [30.0, 1.0, 30.0, 1.0], (2000, 4))
    x[:, [1, 3]] += 0.1 * (x[:, [2, 0]] - 1e3)
    flow = flows.equivariant(4, permutations(2, size=2), transforms=4, hidden=(16,))
    result = posterion.fit(flow, x, **QUICK)
    np.testing.assert_allclose(
        result.log_prob(x[:200]), result.log_prob(x[:200][:, [2, 3, 0, 1]]), atol=1e-4
    )
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            result.log_prob(x[:200]), result.log_prob(x[:200][:, [1, 0, 3, 2]]), atol=1
        )


def test_one_normal_and_its_image_make_two_modes():
    base = NormalMixture(jnp.zeros(1), jnp.array([[3.0, 0.0, -3.0, 0.0]]), jnp.eye(4)[None])
    flow = flows.equivariant(
        4, permutations(2, size=2), transforms=2, hidden=(8,), base=base, seed=1
    )
    x = jnp.array([[3.0, 0.5, -2.0, 0.1], [-2.0, 0.1, 3.0, 0.5]])
    centres = np.array([[3.0, 0, -3, 0], [-3.0, 0, 3, 0]])
    each = [stats.multivariate_normal(c, np.eye(4)).pdf(np.asarray(x)) for c in centres]
    np.testing.assert_allclose(apply_batch(flow.log_prob, x), np.log(np.mean(each, 0)), rtol=1e-5)
    left = (flow.sample(jax.random.key(0), (4000,))[:, 0] < 0).mean()
    assert float(left) == pytest.approx(0.5, abs=0.04)


def test_vectors_turn_together():
    rng = np.random.default_rng(1)
    p = 40.0 * rng.normal(size=(2000, 3, 3))
    p[:, 2] = -p[:, 0] - p[:, 1] + 4.0 * rng.normal(size=(2000, 3))
    flow = flows.rotational(3, transforms=4, hidden=(16,))
    result = posterion.fit(flow, p.reshape(2000, 9), **QUICK)
    turn = stats.special_ortho_group(3, seed=2).rvs()
    np.testing.assert_allclose(
        result.log_prob(p[:200].reshape(-1, 9)),
        result.log_prob((p[:200] @ turn).reshape(-1, 9)),
        atol=2e-3,
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: flows.equivariant(3, permutations(3)), "no coupling commutes"),
        (lambda: flows.equivariant(3, permutations(2)), "acts on 2 coordinates"),
        (lambda: flows.equivariant(4, permutations(2, 2), transforms=1), "use more"),
        (lambda: flows.rotational(1), "needs two vectors"),
    ],
)
def test_symmetric_flows_that_cannot_be_built(build, message):
    with pytest.raises(SettingError, match=message):
        build()


# --------------------------------------------------------------------------------------- discflow


def test_without_power_discflow_is_the_likelihood():
    options = QUICK | {"epochs": 4}
    plain = posterion.fit(maf(), skewed(), **options)
    same = posterion.fit(maf(), skewed(), loss=DiscFlow(0.0, every=2, rows=500), **options)
    np.testing.assert_allclose(same.log_prob(skewed(9)), plain.log_prob(skewed(9)), atol=1e-4)
    other = posterion.fit(maf(), skewed(), loss=DiscFlow(1.0, every=2, rows=500), **options)
    assert np.abs(other.log_prob(skewed(9)) - plain.log_prob(skewed(9))).max() > 1e-4


def test_discflow_weights_by_the_ratio_of_densities():
    """Against the formula, with a classifier that is written down."""
    network = MLP(3, 1, (4,), key=jax.random.key(0))
    ratio = Ratio(network, jnp.ones(3), 2 * jnp.ones(3), jnp.asarray(1.5), jnp.asarray(-0.2))
    rng = np.random.default_rng(3)
    v = jnp.asarray(rng.normal(size=(20, 3)), jnp.float32)
    weight = jnp.asarray(rng.uniform(0.5, 1.5, 20), jnp.float32)
    flow, batch = maf(), Batch(v, None, weight)
    value = DiscFlow(0.5).value(flow, batch, jax.random.key(0), {"ratio": ratio})
    logit = jax.vmap(network)((v - 1) / 2)[:, 0]
    factor = jnp.exp(0.5 * jnp.clip(1.5 * logit - 0.2, -5, 5))
    truth = -jnp.mean(weight * factor * apply_batch(flow.log_prob, v))
    assert float(value) == pytest.approx(float(truth), rel=1e-5)
    plain = NegativeLogLikelihood().value(flow, batch, jax.random.key(0), {})
    assert float(value) != pytest.approx(float(plain), rel=1e-2)


def test_discflow_under_conditions():
    rng = np.random.default_rng(4)
    condition = rng.uniform(-1, 1, (1500, 1))
    x = condition + 0.2 * rng.normal(size=(1500, 1))
    flow = flows.maf(1, transforms=2, hidden=(8,), context_dim=1)
    options = QUICK | {"epochs": 20, "loss": DiscFlow(every=5, rows=400)}
    result = posterion.fit(flow, x, context=condition, **options)
    assert result.given([0.5]).sample(2000, seed=1).mean() == pytest.approx(0.5, abs=0.15)


def test_discflow_settings():
    with pytest.raises(SettingError, match="alpha >= 0"):
        DiscFlow(-1.0)
    assert DiscFlow() == DiscFlow(0.5, 5, 50_000)  # compiled once
