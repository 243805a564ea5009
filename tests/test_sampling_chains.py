"""NUTS and HMC on targets: exact moments, honest counts, and the verdict.

Moments: five Monte Carlo standard errors, a false alarm in 2e6 checks; seeds are fixed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_less

import posterion
from posterion.core.errors import DensityError, GradientError, SettingError, ThetaError
from posterion.diagnostics import CrossChains, ess_bulk
from posterion.sampling import Chain, cross_check, hamiltonian, sample_chain
from posterion.targets import Frame, Parameter, Target
from posterion.targets.target import v_and_log_det
from sampling_targets import (
    CIRCLES_RESULTANT,
    COVARIANCE,
    FOUR,
    GAUSSIAN,
    KAPPA,
    MODES,
    MU,
)

RATE = 3.0


def mixed_target() -> Target:
    """A normal pair, a positive and a bounded parameter, an angle whose mean is beside the cut."""

    def log_density(t):
        pair = t["pair"] - GAUSSIAN.mean
        precision = jnp.linalg.inv(jnp.asarray(COVARIANCE))
        return (
            1e7
            - 0.5 * pair @ precision @ pair
            - RATE * t["rate"]
            + KAPPA * jnp.cos(jnp.deg2rad(t["phi"]) - MU)
            + jnp.log(t["share"])
        )

    return Target(
        log_density,
        [
            Parameter("pair", shape=(2,), scale=20.0),
            Parameter("rate", unit="MeV", lower=0.0, scale=2.0),
            Parameter("phi", unit="deg", lower=-180.0, upper=180.0, periodic=True),
            Parameter("share", lower=0.0, upper=1.0),
        ],
        name="mixed",
    )


@pytest.fixture(scope="module")
def target() -> Target:
    return mixed_target()


@pytest.fixture(scope="module")
def nuts(target) -> Chain:
    return sample_chain(target, draws=1000, warmup=500, seed=1)


def check_moments(chain: Chain) -> None:
    draws = chain.draws
    angle = np.deg2rad(draws["phi"]) - MU
    checked = {
        "pair 0": (draws["pair"][..., 0], GAUSSIAN.mean[0]),
        "pair 1": (draws["pair"][..., 1], GAUSSIAN.mean[1]),
        "variance": ((draws["pair"][..., 0] - GAUSSIAN.mean[0]) ** 2, COVARIANCE[0, 0]),
        "covariance": (np.prod(draws["pair"] - GAUSSIAN.mean, axis=-1), COVARIANCE[0, 1]),
        "rate": (draws["rate"], 1 / RATE),
        "rate squared": (draws["rate"] ** 2, 2 / RATE**2),
        "cos": (np.cos(angle), CIRCLES_RESULTANT),
        "sin": (np.sin(angle), 0.0),
        "share": (draws["share"], 2 / 3),
    }
    for name, (value, truth) in checked.items():
        error = value.std() / np.sqrt(float(ess_bulk(value)))
        assert abs(value.mean() - truth) < 5 * error, name


def test_nuts_has_the_exact_moments(nuts):
    check_moments(nuts)
    assert nuts.ok, nuts.sentence
    assert nuts.r_hat.shape == nuts.ess_bulk.shape == nuts.ess_tail.shape == (5,)
    assert nuts.effective == nuts.ess_bulk.min() > 800
    assert nuts.divergences == 0


def test_hmc_has_the_exact_moments(target):
    chain = sample_chain(target, draws=1000, warmup=500, sampler="hmc", seed=2)
    check_moments(chain)
    assert chain.ok, chain.sentence
    assert chain.citations[0] == "neal2011"
    assert len(np.unique(chain.statistics["n_steps"])) > 2  # the length is jittered


def test_shapes_supports_and_log_density(target, nuts):
    assert nuts.x.shape == (4, 1000, 5)
    assert nuts.x.dtype == np.float64
    assert nuts.draws["pair"].shape == (4, 1000, 2)
    assert nuts.draws["phi"].shape == (4, 1000)
    assert nuts.flat().shape == (4000, 5)
    assert (nuts.draws["rate"] > 0).all()
    assert np.abs(nuts.draws["phi"]).max() <= 180
    assert nuts.draws["phi"].max() > 170 > -170 > nuts.draws["phi"].min()
    assert_allclose(nuts.log_density.ravel(), target.evaluate(nuts.flat()), rtol=0, atol=1e-6)


def test_calls_are_the_leapfrog_steps(nuts):
    assert nuts.calls == nuts.statistics["n_steps"].sum()
    assert nuts.warmup_calls > nuts.chains * nuts.warmup
    assert nuts.scouting_calls > 0


def test_calls_are_what_the_density_sees():
    seen = []

    def log_density(t):
        jax.debug.callback(lambda x: seen.append(float(x)), t["x"])
        return -0.5 * t["x"] ** 2

    target = Target(log_density, [Parameter("x", scale=3.0)])
    frame = Frame.plain(target.support())
    chain = cross_check(target, frame, np.array([[0.1]]), draws=60, seed=1, sampler="nuts")
    jax.effects_barrier()
    assert len(seen) == chain.calls + chain.warmup_calls


def test_a_second_call_compiles_nothing_and_seeds_reproduce(target, nuts, monkeypatch):
    before = hamiltonian._segment._cache_size(), hamiltonian.begin._cache_size()
    # Segments of other lengths, as on another machine, change no bit.
    monkeypatch.setattr(hamiltonian, "_WAKE", 0.01)
    again = sample_chain(target, draws=1000, warmup=500, seed=1)
    other = sample_chain(target, draws=10, warmup=20, seed=3)
    assert (hamiltonian._segment._cache_size(), hamiltonian.begin._cache_size()) == before
    np.testing.assert_array_equal(again.x, nuts.x)
    assert again.calls == nuts.calls
    assert not np.array_equal(other.x, nuts.x[:, :10])


def test_a_run_of_many_segments_compiles_one(target):
    before = hamiltonian._segment._cache_size()
    sample_chain(target, draws=40, warmup=60, chains=3, sampler="hmc", seed=4)
    assert hamiltonian._segment._cache_size() == before + 1


def test_arviz(nuts):
    data = nuts.to_arviz()
    assert set(data.groups()) == {"posterior", "sample_stats"}
    assert data.posterior["pair"].shape == (4, 1000, 2)
    assert data.posterior["rate"].attrs["units"] == "MeV"
    expected = {"lp", "diverging", "n_steps", "energy", "acceptance_rate"}
    assert set(data.sample_stats.data_vars) == expected
    assert data.sample_stats["diverging"].dtype == bool


def test_report(nuts):
    text = repr(nuts)
    first, *lines = text.splitlines()
    assert first == "NUTS of mixed: 4 chains x 1000 draws after 500 of warmup"
    assert lines[0].split() == ["mean", "sd", "ESS", "bulk", "ESS", "tail", "R-hat"]
    assert [line.split()[0] for line in lines[1:6]] == [
        "pair[0]",
        "pair[1]",
        "rate",
        "phi",
        "share",
    ]
    assert f"density calls {nuts.calls:,}" in text
    assert lines[-1].strip() == nuts.sentence
    assert "The chains agree" in nuts.sentence
    # The angle's mean is that of the circle, not of the numbers between -180 and 180.
    mean = float(lines[4].split()[1])
    assert abs(mean - np.rad2deg(MU)) < 10


def test_summary_for_a_health_report(nuts):
    summary = nuts.summary()
    assert isinstance(summary, CrossChains)
    assert (summary.method, summary.chains, summary.draws) == ("NUTS", 4, 4000)
    assert summary.r_hat == nuts.r_hat.max()


def test_chains_in_separate_modes_are_not_believed():
    target = FOUR.target()
    scale = np.array([50.0, 50.0])
    chain = cross_check(
        target, Frame.plain(target.support()), MODES / scale, draws=300, seed=1, sampler="nuts"
    )
    assert chain.r_hat.min() > 1.5
    assert not chain.ok
    assert "disagree" in chain.sentence and "modes" in chain.sentence
    # Within its mode each chain is right: the metric is pooled about each chain's own mean.
    assert_array_less(np.abs(chain.x.mean(axis=1) - MODES), 0.5)
    assert_array_less(np.abs(chain.x.std(axis=1) - 1), 0.3)


def test_a_wall_inside_the_support_shows_as_divergences():
    def log_density(t):
        return jnp.where(t["x"] < 0.5, -0.5 * t["x"] ** 2, jnp.nan)

    target = Target(log_density, [Parameter("x", scale=2.0)])
    chain = sample_chain(target, draws=400, warmup=200, seed=1)
    assert chain.draws["x"].max() < 0.5
    assert chain.divergences > 0.01 * 1600
    assert not chain.ok


def test_infinite_density_never_holds_a_chain():
    def log_density(t):
        return jnp.where(t["x"] > 1.0, jnp.inf, -0.5 * t["x"] ** 2)

    target = Target(log_density, [Parameter("x", scale=2.0)])
    frame = Frame.plain(target.support())
    chain = cross_check(target, frame, np.array([[0.0], [0.1]]), draws=100, seed=1)
    assert chain.draws["x"].max() <= 1.0
    assert chain.divergences > 0


def test_starts(target):
    points = {
        "pair": GAUSSIAN.mean + np.zeros((4, 2)),
        "rate": np.full(4, 0.2),
        "phi": np.full(4, 170.0),
        "share": np.full(4, 0.5),
    }
    chain = sample_chain(target, draws=1, warmup=0, seed=1, start=points)
    assert chain.scouting_calls == chain.warmup_calls - 4 == 0
    assert "given points" in chain.notes[-1]
    assert_array_less(np.abs(chain.x[:, 0, :2] - GAUSSIAN.mean), 10)  # one transition away
    with pytest.raises(DensityError, match=r"start: rate = -1 does not lie within \(0, inf\)"):
        sample_chain(target, start={**points, "rate": np.full(4, -1.0)})
    with pytest.raises(SettingError, match="4 points for 2 chains"):
        sample_chain(target, chains=2, start=points)
    with pytest.raises(ThetaError, match="lacks \\['rate'\\]"):
        sample_chain(target, start={k: v for k, v in points.items() if k != "rate"})
    with pytest.raises(SettingError, match="start"):
        sample_chain(target, start="anywhere")


def test_the_reference_as_start_and_a_given_frame(target):
    chain = sample_chain(target, draws=300, warmup=300, seed=1, start="reference")
    assert "reference" in chain.notes[-1]
    assert chain.r_hat.max() < 1.05
    frame = Frame.of(np.zeros(5), np.eye(5), target.support(), 1e7)
    starts, _ = v_and_log_det(frame, chain.x[:, -1])
    checked = cross_check(target, frame, starts, draws=100, seed=2, sampler="nuts")
    assert checked.x.shape == (4, 100, 5)
    assert_allclose(checked.log_density.ravel(), target.evaluate(checked.flat()), atol=1e-6)
    given = sample_chain(target, draws=20, warmup=20, seed=1, frame=frame)
    assert given.x.shape == (4, 20, 5)


def test_a_budget_is_kept_and_said(target):
    chain = sample_chain(target, draws=1000, warmup=100, seed=1, max_calls=20_000)
    total = chain.calls + chain.warmup_calls + chain.scouting_calls
    assert total < 20_000 + 4 * 1023
    assert not chain.complete
    assert 4 <= chain.length < 1000
    assert chain.sentence.startswith("The budget ran out.")
    nothing = sample_chain(target, draws=1000, warmup=100, seed=1, max_calls=50)
    assert nothing.length == 0
    assert not nothing.ok
    assert "Too few draws" in repr(nothing)
    late = sample_chain(target, draws=100_000, warmup=20, seed=1, max_seconds=0.5)
    assert not late.complete
    assert late.length < 100_000


def test_an_interrupt_passes(target):
    def interrupt(done: int, calls: int) -> None:
        raise KeyboardInterrupt

    frame = Frame.of(np.zeros(5), np.eye(5), target.support(), 1e7)
    with pytest.raises(KeyboardInterrupt):
        hamiltonian.walk(
            target, frame, np.zeros((4, 5)), draws=10, warmup=10, seed=1, on_wake=interrupt
        )


def test_errors(target):
    plain = GAUSSIAN.target(plain=True)
    with pytest.raises(GradientError, match="NUTS sampling needs the gradient"):
        sample_chain(plain)
    with pytest.raises(GradientError, match="cross-check"):
        cross_check(plain, Frame.plain(plain.support()), np.zeros((2, 2)), draws=10, seed=1)
    with pytest.raises(SettingError, match="one of nuts, hmc"):
        sample_chain(target, sampler="gibbs")
    with pytest.raises(SettingError, match="draws >= 1"):
        sample_chain(target, draws=0)
    frame = Frame.plain(target.support())
    with pytest.raises(SettingError, match=r"starts \(chains, 5\)"):
        cross_check(target, frame, np.zeros((4, 3)), draws=10, seed=1)
    with pytest.raises(DensityError, match="not finite at a start"):
        cross_check(target, frame, np.full((4, 5), np.nan), draws=10, seed=1)


def test_scales_that_nobody_gave():
    target = Target(lambda t: -0.5 * ((t["x"] - 1e5) / 1e-2) ** 2, [Parameter("x")])
    chain = posterion.sample_chain(target, draws=300, warmup=200, seed=1)
    assert chain.draws["x"].mean() == pytest.approx(1e5, abs=0.005)
    assert chain.draws["x"].std() == pytest.approx(0.01, rel=0.2)
    assert "modes are looked for within" in chain.notes[0]
