"""The conditional Wasserstein network: draws of a known law, and what it cannot be asked."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion.core.errors import DensityError, ExportError, SettingError
from posterion.distributions import Distribution, Samplable
from posterion.training import WassersteinPenalty, running
from posterion.training.adversarial import energy_score
from posterion.training.losses import Batch

SD = np.array([0.5, 0.8])


def pairs(n=10_000, seed=0):
    """Normal about 1.5 x and -x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x * [1.5, -1.0] + SD * rng.normal(size=(n, 2)), x


def small(**options):
    return posterion.conditional_gan(2, 1, hidden=(32, 32), noise=4, **options)


@pytest.fixture(scope="module")
def fitted():
    y, x = pairs()
    settings = {"epochs": 70, "patience": 70, "batch": 128, "average": 0.99, "quiet": True}
    network = posterion.conditional_gan(2, 1, noise=4)
    return posterion.fit(network, y, context=x, seed=1, **settings)


def test_it_learns_a_linear_normal_law_to_some_percent(fitted):
    x = np.array([[-1.0], [0.0], [1.0]])
    drawn = fitted.sample(10_000, context=x, seed=2)
    np.testing.assert_allclose(drawn.mean(axis=1), x * [1.5, -1.0], atol=0.12)
    np.testing.assert_allclose(drawn.std(axis=1), SD + np.zeros((3, 2)), rtol=0.2)
    correlation = [np.corrcoef(part.T)[0, 1] for part in drawn]
    assert np.abs(correlation).max() < 0.25
    middle = fitted.quantile(0.5, context=x, n=4000)
    np.testing.assert_allclose(middle, drawn.mean(axis=1), atol=0.1)


def test_its_health_looks_at_draws_and_ranks(fitted):
    report = str(fitted)
    assert "energy score, held-out rows" in report and "rank of x[" in report
    assert "log-density" not in report and fitted.settings["loss"].startswith("WassersteinPenalty")
    checks = {check.name: check for check in fitted.health.checks}
    assert checks["held-out minus train"].verdict == "good"
    assert checks["worst transform (PIT), p-value"].verdict != "bad"


def test_it_has_no_density_and_says_so(fitted, tmp_path):
    x = np.array([[0.5]])
    for ask in (
        lambda: fitted.log_prob([[0.0, 0.0]], x),
        lambda: fitted.given(x).density64(),
        lambda: fitted.given(x).profile("x[0]"),
    ):
        with pytest.raises(DensityError, match=r"has no inverse.*quantile_network"):
            ask()
    with pytest.raises(ExportError):
        posterion.training.export_onnx(fitted, tmp_path)
    assert isinstance(fitted.flow, Samplable) and not isinstance(fitted.flow, Distribution)
    assert fitted.given(x).summary(n=2000) is not None


def test_a_saved_network_draws_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "gan.posterion")
    again = posterion.load(tmp_path / "gan.posterion")
    x = np.array([[0.7]])
    np.testing.assert_array_equal(
        again.sample(5, context=x, seed=1), fitted.sample(5, context=x, seed=1)
    )
    np.testing.assert_array_equal(again.outside([[9.0]]), [True])


def test_an_interrupted_fit_goes_on_to_the_same_end(tmp_path, monkeypatch):
    y, x = pairs(300)
    settings = {"context": x, "epochs": 4, "batch": 60, "quiet": True, "seed": 3}
    whole = posterion.fit(small(), y, **settings)
    monkeypatch.setattr(running, "_SAVE_EVERY", -1.0)
    note, file = running.Run._note, tmp_path / "c.ckpt"

    def stop(self, epoch, loss, seconds):
        if epoch == 2:
            raise KeyboardInterrupt
        note(self, epoch, loss, seconds)

    monkeypatch.setattr(running.Run, "_note", stop)
    with pytest.raises(KeyboardInterrupt):
        posterion.fit(small(), y, checkpoint=file, **settings)
    monkeypatch.setattr(running.Run, "_note", note)
    again = posterion.fit(small(), y, checkpoint=file, resume=True, **settings)
    np.testing.assert_array_equal(again.history["valid"], whole.history["valid"])


@pytest.mark.parametrize("one_sided", [True, False])
def test_each_player_has_its_own_gradient(one_sided):
    y, x = pairs(50)
    batch = Batch(jnp.asarray(y, jnp.float32), jnp.asarray(x, jnp.float32), jnp.ones(50))
    model, loss = small(), WassersteinPenalty(one_sided=one_sided)
    key = jax.random.key(0)

    def total(model):
        return loss.value(model, batch, key, {})

    def of_critic(critic):
        distance, penalty, _ = loss._parts(with_critic(critic), batch, key)
        return loss.penalty * penalty - distance

    def of_generator(generator):
        return -loss._parts(with_generator(generator), batch, key)[2]

    def with_critic(critic):
        return replaced(critic=critic)

    def with_generator(generator):
        return replaced(generator=generator)

    def replaced(**parts):
        names = list(parts)
        return eqx.tree_at(lambda m: [getattr(m, n) for n in names], model, list(parts.values()))

    whole = eqx.filter_grad(total)(model)
    for part, alone in (("critic", of_critic), ("generator", of_generator)):
        wanted = eqx.filter_grad(alone)(getattr(model, part))
        for a, b in zip(
            jax.tree.leaves(getattr(whole, part)), jax.tree.leaves(wanted), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert max(float(jnp.abs(a).max()) for a in jax.tree.leaves(wanted)) > 1e-4


def test_the_generator_moves_once_in_so_many_steps():
    loss = WassersteinPenalty(steps=3)
    model = small()
    params = eqx.filter(model, eqx.is_inexact_array)
    rule = loss.optimiser(5.0)
    memory = rule.init(params)
    moved = []
    for _ in range(6):
        change, memory = rule.update(jax.tree.map(jnp.ones_like, params), memory, params)
        moved.append([
            bool(sum(float(jnp.abs(a).sum()) for a in jax.tree.leaves(part)) > 0)
            for part in (change.generator, change.critic)
        ])  # fmt: skip
    assert [g for g, _ in moved] == [False, False, True] * 2 and all(c for _, c in moved)


def test_the_energy_score_is_least_at_the_truth():
    class Normal:
        def __init__(self, shift, sd):
            self.shift, self.sd = shift, sd

        def sample(self, key, shape, context):
            return self.shift + self.sd * jax.random.normal(key, (*shape, 2))

    v = jnp.asarray(np.random.default_rng(1).normal(size=(20_000, 2)), jnp.float32)
    score = energy_score.__wrapped__
    right, moved, narrow, wide = (
        float(score(Normal(*law), v, None).mean())
        for law in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (0.0, 1.5))
    )
    assert right < min(moved, narrow, wide) - 0.02
    # Half the mean distance of two normal points in the plane, sqrt(pi)/2.
    assert right == pytest.approx(np.sqrt(np.pi) / 2, abs=0.02)


def test_losses_and_sizes_that_do_not_suit():
    y, x = pairs(100)
    with pytest.raises(SettingError, match=r"is for posterion\.conditional_gan"):
        posterion.fit(posterion.quantile_network(2, 1), y, context=x, loss="wgan-gp", quiet=True)
    with pytest.raises(SettingError, match="has no density and knows no other"):
        posterion.fit(small(), y, context=x, loss="nll", quiet=True)
    with pytest.raises(SettingError, match="must be positive"):
        WassersteinPenalty(steps=0)
    for options in ({"dim": 0}, {"context_dim": -1}, {"noise": 0}):
        with pytest.raises(SettingError, match="at least one output"):
            posterion.conditional_gan(**{"dim": 2, **options})
