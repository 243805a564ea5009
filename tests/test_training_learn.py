"""``learn`` with small settings: budgets, resuming, compiling once, units, broken densities."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from posterion.core.errors import (
    CheckpointError,
    DensityError,
    GradientError,
    InterruptedLearning,
    SettingError,
    ThetaError,
)
from posterion.core.status import Status
from posterion.targets import Parameter, Target
from posterion.targets.frame import Frame
from posterion.training import self_learning
from posterion.training.method import make_method
from posterion.training.scouting import _middle_of_longest_run
from posterion.training.self_learning import learn, starts
from small_learning import COVARIANCE, LOG_Z, MEAN, NORMAL, PLAIN, SMALL


def draws_of(result, seed=9):
    return np.concatenate(
        [v.reshape(len(v), -1) for v in result.sample(4000, seed=seed).values()], axis=1
    )


@pytest.fixture(scope="module")
def learned():
    return learn(NORMAL, seed=1, **SMALL)


@pytest.fixture(scope="module")
def compiled():
    """Counts compilations: list.append at each."""
    counted = []

    def listen(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            counted.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield counted
    jax.monitoring.unregister_event_duration_listener(listen)


# The answer ---------------------------------------------------------------------------------


def test_a_normal_is_learned_exactly(learned):
    """4000 draws, five sigma."""
    assert learned.status is Status.converged, learned
    x = draws_of(learned)
    assert (np.abs(x.mean(0) - MEAN) < 5 * np.sqrt(np.diag(COVARIANCE) / 4000)).all()
    assert np.cov(x.T) == pytest.approx(COVARIANCE, abs=0.12)
    assert learned.log_evidence.value == pytest.approx(LOG_Z, abs=0.01)
    weighted = learned.importance_sample(4000, seed=2)
    assert weighted.ess / 4000 > 0.99


def test_the_same_seed_gives_the_same_bits_and_compiles_nothing(learned, compiled):
    compiled.clear()
    again = learn(NORMAL, seed=1, **SMALL)
    np.testing.assert_array_equal(draws_of(again), draws_of(learned))
    assert again.log_evidence == learned.log_evidence
    assert compiled == []


def test_another_seed_and_a_budget_in_whole_segments_compile_nothing(learned, compiled):
    compiled.clear()
    other = learn(NORMAL, seed=2, **SMALL)
    assert compiled == []
    assert (draws_of(other) != draws_of(learned)).all()


def test_the_flags_of_jax_stay(learned):
    assert jnp.ones(1).dtype == np.float32


# Budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 1000, 5000, 30_000])
def test_a_budget_is_never_exceeded_and_the_status_is_honest(budget):
    result = learn(NORMAL, seed=1, budget=budget, **SMALL)
    assert result.health.calls["learning"] <= budget
    assert result.health.calls["scouting"] > 0 and result.health.calls["health"] >= 2000
    assert result.status in (Status.converged, Status.budget_exhausted)
    if budget == 1:
        assert result.health.calls["learning"] == 0
    assert np.isfinite(draws_of(result)).all()


@pytest.mark.parametrize("budget", [3000, 20_000])
def test_a_mixture_base_keeps_to_the_budget_too(budget):
    """The shares of the modes are settled at the end, within the same budget."""
    result = learn(TWO_MODES, seed=1, budget=budget, **{**SMALL, "steps": 2000})
    assert 0 < result.health.calls["learning"] <= budget


def test_a_budget_for_a_plain_density():
    result = learn(PLAIN, seed=1, budget=500, **SMALL)
    assert result.health.calls["learning"] <= 500
    assert result.status in (Status.converged, Status.budget_exhausted)


def test_seconds_end_the_learning(learned):
    result = learn(NORMAL, seed=1, seconds=0.5, **{**SMALL, "steps": 1_000_000, "target_ess": 1.0})
    assert result.history["step"][-1] < 1_000_000
    assert any("budget" in note for note in result.health.notes) or (
        result.status is Status.budget_exhausted
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget must be a positive"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seconds": -1.0}, "seconds must be positive"),
        ({"resume": True}, "give checkpoint="),
        ({"method": "best"}, "unknown method 'best'"),
        ({"stepps": 3}, "unknown settings"),
    ],
)
def test_unusable_arguments_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        learn(NORMAL, **settings)


# Interruption and resuming ------------------------------------------------------------------


def interrupt_after(monkeypatch, segments):
    """Ctrl-C once that many segments are done."""
    original = self_learning._Run._save
    seen = []

    def save(self, *, force=False):
        original(self, force=True)
        if "step" in self.note and not force:
            seen.append(self.note["step"])
            if len(seen) == segments:
                raise KeyboardInterrupt

    monkeypatch.setattr(self_learning._Run, "_save", save)


@pytest.mark.parametrize("segments", [1, 4])
@pytest.mark.parametrize("target", [NORMAL, PLAIN], ids=["jax", "plain"])
def test_an_interrupted_run_goes_on_bit_for_bit(target, segments, tmp_path, monkeypatch):
    settings = {**SMALL, "budget": 25_000, "target_ess": 1.0}
    whole = learn(target, seed=3, **settings)
    path = tmp_path / "run.checkpoint"
    with monkeypatch.context() as patched:
        interrupt_after(patched, segments)
        with pytest.raises(InterruptedLearning, match=r"run\.checkpoint.*resume=True"):
            learn(target, seed=3, checkpoint=path, **settings)
    assert path.exists()
    resumed = learn(target, seed=3, checkpoint=path, resume=True, **settings)
    np.testing.assert_array_equal(draws_of(resumed), draws_of(whole))
    assert resumed.log_evidence == whole.log_evidence
    assert resumed.health.calls == whole.health.calls
    np.testing.assert_array_equal(resumed.history["ess"], whole.history["ess"])
    assert not path.exists()


def test_interrupted_between_two_attempts_and_after_the_last(tmp_path, monkeypatch):
    """Both after an attempt that fails and after one that satisfies: no further one is made."""
    path = tmp_path / "run.checkpoint"
    settings = {**SMALL, "attempts": 2, "base": "normal"}
    whole = learn(NORMAL, seed=1, **settings)
    original = self_learning._Run._save

    def save(self, *, force=False):
        original(self, force=force)
        if self.note.get("attempt") == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(self_learning._Run, "_save", save)
        with pytest.raises(KeyboardInterrupt):
            learn(NORMAL, seed=1, checkpoint=path, **settings)
    resumed = learn(NORMAL, seed=1, checkpoint=path, resume=True, **settings)
    np.testing.assert_array_equal(draws_of(resumed), draws_of(whole))
    assert resumed.health.calls == whole.health.calls


def test_the_cost_is_that_of_all_attempts(tmp_path, monkeypatch):
    one = learn(NORMAL, seed=1, **SMALL).health
    monkeypatch.setattr(self_learning, "content_with", lambda health: False)
    two = learn(NORMAL, seed=1, **{**SMALL, "attempts": 2, "base": "normal"}).health
    assert two.calls["health"] > 1.5 * one.calls["health"]
    # The first is sound, so the second has a third of its steps.
    assert 1.3 * one.calls["learning"] < two.calls["learning"] < 1.6 * one.calls["learning"]
    assert two.calls["scouting"] == one.calls["scouting"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.checkpoint"
    with monkeypatch.context() as patched:
        interrupt_after(patched, 1)
        with pytest.raises(InterruptedLearning):
            learn(NORMAL, seed=1, checkpoint=path, **SMALL)
    for changed in ({"seed": 2}, {"seed": 1, "steps": 700}, {"seed": 1, "budget": 5}):
        with pytest.raises(CheckpointError, match="another run"):
            learn(NORMAL, checkpoint=path, resume=True, **{**SMALL, **changed})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        learn(NORMAL, seed=1, checkpoint=path, resume=True, **SMALL)


def test_without_a_checkpoint_the_message_says_so(monkeypatch):
    interrupt_after(monkeypatch, 1)
    with pytest.raises(InterruptedLearning, match="give checkpoint=FILE"):
        learn(NORMAL, seed=1, **SMALL)


# Units, offsets, priors, supports -----------------------------------------------------------


def scaled(unit, offset=0.0):
    def log_density(t):
        a, b = t["a"] / unit[0], t["b"] / unit[1]
        return -0.5 * (a - 1) ** 2 - 0.5 * (b - 0.3 * a**2) ** 2 / 0.5 + offset

    parameters = [Parameter("a", scale=5 * unit[0]), Parameter("b", scale=5 * unit[1])]
    return Target(log_density, parameters, vectorized=True)


@pytest.fixture(scope="module")
def bent():
    return learn(scaled((1, 1)), seed=1, **SMALL)


def test_parameters_of_1e_minus_5_and_1e5_learn_alike(bent):
    small = learn(scaled((1e-5, 1e5)), seed=1, **SMALL)
    x, y = draws_of(bent), draws_of(small) / np.array([1e-5, 1e5])
    np.testing.assert_allclose(y, x, rtol=1e-3, atol=1e-3)
    assert small.log_evidence.value == pytest.approx(bent.log_evidence.value, abs=1e-4)


def test_an_offset_of_1e7_changes_nothing_but_the_evidence(bent):
    moved = learn(scaled((1, 1), 1e7), seed=1, **SMALL)
    np.testing.assert_allclose(draws_of(moved), draws_of(bent), rtol=1e-3, atol=1e-3)
    assert moved.log_evidence.value - 1e7 == pytest.approx(bent.log_evidence.value, abs=1e-4)


def test_scales_that_nobody_gave_are_found_and_told():
    def log_density(t):
        return -0.5 * ((t["a"] - 3e4) / 20.0) ** 2

    result = learn(Target(log_density, [Parameter("a")], vectorized=True), seed=1, **SMALL)
    a = result.sample(4000, seed=1)["a"]
    assert a.mean() == pytest.approx(3e4, abs=5 * 20 / np.sqrt(4000))
    assert a.std() == pytest.approx(20, rel=0.06)
    assert result.log_evidence.value == pytest.approx(np.log(20 * np.sqrt(2 * np.pi)), abs=0.01)
    assert any("search" in line for line in result.health.measure)


def test_the_evidence_with_a_prior_is_that_of_the_conjugate_normal():
    """Prior N(0, 2), one datum 1.5 with error 0.5: evidence N(1.5; 0, 4.25), exactly."""

    def log_likelihood(t):
        return stats_normal(1.5, t["mu"], 0.5)

    def stats_normal(x, mean, sd):
        return -0.5 * ((x - mean) / sd) ** 2 - jnp.log(sd * jnp.sqrt(2 * jnp.pi))

    target = Target(log_likelihood, [Parameter("mu", prior=dist.Normal(0.0, 2.0))], vectorized=True)
    result = learn(target, seed=1, **SMALL)
    exact = stats.norm(0, np.sqrt(4.25)).logpdf(1.5)
    assert result.log_evidence.value == pytest.approx(exact, abs=0.005)
    mu = result.sample(4000, seed=1)["mu"]
    assert mu.mean() == pytest.approx(1.5 * 4 / 4.25, abs=5 * 0.485 / np.sqrt(4000))
    assert mu.std() == pytest.approx(np.sqrt(1 / (1 / 4 + 1 / 0.25)), rel=0.06)
    assert result.health.measure[0] == "mu ~ Normal(loc=0, scale=2)"


TURN = {"lower": 0.0, "upper": 2.0, "periodic": True}
SUPPORTS = {
    "interval": (Parameter("interval", lower=0.0, upper=2.0), lambda a: -a, (0, 2)),
    "above": (Parameter("above", lower=1.0, scale=1.0), lambda a: -2 * (a - 1), (1, 30)),
    "below": (Parameter("below", upper=1.0, scale=1.0), lambda a: 2 * (a - 1), (-30, 1)),
    "log": (
        Parameter("log", prior=dist.LogNormal(0.5, 0.4)),
        lambda a: -0.5 * (a - 2) ** 2,
        (1e-9, 30),
    ),
    "circle": (Parameter("circle", **TURN), lambda a: jnp.cos(jnp.pi * a), (0, 2)),
    "cut": (Parameter("cut", **TURN), lambda a: 20 * jnp.cos(jnp.pi * a), (0, 2)),
}


@pytest.mark.slow
def test_every_support_against_quadrature():
    """One target of independent parameters, each on a support of another kind."""
    target = Target(
        lambda t: sum(log_density(t[name]) for name, (_, log_density, _) in SUPPORTS.items()),
        [parameter for parameter, _, _ in SUPPORTS.values()],
        vectorized=True,
    )
    result = learn(target, seed=1, **{**SMALL, "particles": 500, "steps": 1500})
    weighted = result.importance_sample(20_000, seed=1)
    assert weighted.ess / 20_000 > 0.8
    kinds = ("interval", "above", "below", "log", "circle", "interval")
    assert result.frame.support.kinds == kinds
    log_z = 0.0
    for name, (parameter, log_density, (low, high)) in SUPPORTS.items():
        grid = low + (high - low) * (np.arange(40_000) + 0.5) / 40_000
        value = np.asarray(log_density(grid))
        if parameter.prior is not None:
            value = value + stats.lognorm(s=0.4, scale=np.exp(0.5)).logpdf(grid)
        mass = np.exp(value) * (high - low) / 40_000
        log_z += np.log(mass.sum())
        a = weighted.draws[name]
        assert ((a >= low) & (a <= high)).all()
        for split in (1.0,) if name in ("circle", "cut") else np.quantile(a, [0.2, 0.5, 0.9]):
            below = float(np.average(a < split, weights=weighted.weights))
            assert below == pytest.approx(mass[grid < split].sum() / mass.sum(), abs=0.02), name
    assert result.log_evidence.value == pytest.approx(log_z, abs=0.03)


def test_a_circle_is_cut_in_the_middle_of_its_empty_part():
    flags = np.array([1, 1, 0, 0, 1, 0, 0, 1, 1, 1], bool)  # from 7 round to 1
    assert _middle_of_longest_run(flags) == 9
    assert _middle_of_longest_run(np.eye(10, dtype=bool)[4]) == 4


def two_modes_log_density(t):
    first = jnp.log(0.8) - 0.5 * jnp.sum((t["x"] - 4) ** 2, -1)
    return jnp.logaddexp(first, jnp.log(0.2) - 0.5 * jnp.sum((t["x"] + 4) ** 2, -1))


TWO_MODES = Target(two_modes_log_density, [Parameter("x", shape=(2,), scale=20.0)], vectorized=True)


def test_both_modes_with_their_weights():
    result = learn(TWO_MODES, seed=1, **{**SMALL, "steps": 1500})
    share = float((draws_of(result)[:, 0] < 0).mean())
    assert share == pytest.approx(0.2, abs=0.035)
    assert len(result.health.modes) == 2
    assert result.log_evidence.value == pytest.approx(np.log(2 * np.pi), abs=0.03)


# Broken densities ---------------------------------------------------------------------------


def test_nan_at_some_points_is_counted_and_learning_goes_on():
    def log_density(t):
        value = -0.5 * jnp.sum(t["x"] ** 2, -1)
        return jnp.where(t["x"][:, 0] > 4.0, jnp.nan, value)

    target = Target(log_density, [Parameter("x", shape=(2,), scale=5.0)], vectorized=True)
    result = learn(target, seed=1, **SMALL)
    counted = result.health.check("all calls: NaN or +inf")
    assert counted is not None and counted.value > 0
    assert result.log_evidence.value == pytest.approx(np.log(2 * np.pi), abs=0.02)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_a_density_that_is_finite_nowhere(value, plain):
    def log_density(t):
        return 0.0 * t["x"] + value

    target = Target(log_density, [Parameter("x", scale=1.0)], vectorized=True, plain=plain or None)
    with pytest.raises(DensityError, match="finite at none"):
        learn(target, seed=1, **SMALL)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("log_density", "error"),
    [
        (lambda t: jnp.zeros(3), DensityError),
        (lambda t: t["x"] * 1j, DensityError),
        (lambda t: t["y"], ThetaError),
        (lambda t: [][0], DensityError),
    ],
    ids=["vector", "complex", "unknown name", "raises"],
)
def test_broken_code_has_named_errors(log_density, error, plain):
    target = Target(log_density, [Parameter("x", scale=1.0)], plain=plain or None)
    with pytest.raises(error):
        learn(target, seed=1, **SMALL)


def test_a_density_that_jax_cannot_trace_is_learned_as_plain_code(caplog):
    def log_density(t):
        return -0.5 * float(np.asarray(t["x"])) ** 2

    target = Target(log_density, [Parameter("x", scale=3.0)], name="opaque")
    with caplog.at_level(logging.WARNING, logger="posterion"):
        result = learn(target, seed=1, budget=3000, **SMALL)
    assert "'opaque' cannot be traced" in caplog.text
    assert any("plain code" in note for note in result.health.notes)
    assert result.log_evidence.value == pytest.approx(0.5 * np.log(2 * np.pi), abs=0.05)


def test_the_posters_recipe_needs_a_gradient():
    with pytest.raises(GradientError, match="poster"):
        learn(PLAIN, seed=1, method="poster")


def test_a_warm_start_takes_the_frame_and_the_flow(learned):
    again = learn(NORMAL, seed=5, start=learned, **{**SMALL, "steps": 200})
    assert again.status is Status.converged
    np.testing.assert_array_equal(
        np.asarray(again.frame.whitening.lower), np.asarray(learned.frame.whitening.lower)
    )


@pytest.mark.parametrize(
    ("dim", "periodic", "kinds"),
    [
        (30, False, ["auto", "mixture", "again"]),
        (31, False, ["auto", "again", "again"]),
        (2, True, ["auto", "again", "again"]),
    ],
)
def test_a_second_attempt_goes_on_in_many_dimensions_and_on_circles(dim, periodic, kinds):
    bounds = {"lower": 0.0, "upper": 1.0, "periodic": True} if periodic else {"scale": 1.0}
    parameter = Parameter("x", shape=(dim,), **bounds)
    target = Target(lambda theta: -0.5 * jnp.sum(theta["x"] ** 2), [parameter])
    frame = Frame.plain(target.support())
    assert starts(make_method("default", {"attempts": 3}), target, frame, None) == kinds
    assert starts(make_method("default", {"attempts": 1}), target, frame, None) == kinds[:1]
