"""Posteriors for any data: exact posteriors against weighted draws of the prior, a small run."""

import numpy as np
import pytest

import posterion
from posterion.core.errors import CheckpointError, SettingError
from posterion.studies import find_study, read_metrics
from posterion.studies.amortised import epidemic, moons, sets
from posterion.studies.amortised.options import Settings

SIMULATED = {
    "moons": moons.simulated,
    "epidemic": epidemic.simulated,
    "sets": lambda n, rng: sets.simulated(n, 6, rng),
}
MODULES = {"moons": moons, "epidemic": epidemic, "sets": sets}


@pytest.mark.parametrize("name", MODULES)
def test_the_exact_posterior_is_that_of_weighted_draws_of_the_prior(name):
    """Means, variances and the share of positive first parameters, within five standard errors."""
    rng = np.random.default_rng([7, *name.encode()])
    module = MODULES[name]
    prior, data = SIMULATED[name](20_000 if name == "epidemic" else 100_000, rng)
    theta, x = prior[0], data[0]
    if name == "epidemic":  # far more draws where its narrow posterior lies, with their weights
        spread = 0.05
        near = theta * np.exp(spread * rng.standard_normal(prior.shape))
        log_w = epidemic.log_prior(np.log(near))
        log_w += 0.5 * np.square(np.log(near / theta) / spread).sum(axis=1)
        prior = near
    else:
        log_w = np.zeros(len(prior))
    log_w = log_w + module.log_likelihood(prior, x)
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    assert 1 / np.square(w).sum() > 150
    draws = module.posterior(x, 20_000, rng)
    middle = w @ prior
    for f in (lambda t: t, lambda t: np.square(t - middle), lambda t: (t > middle) * 1.0):
        expected = w @ f(prior)
        error = np.sqrt(np.square(w) @ np.square(f(prior) - expected) + f(draws).var(axis=0) / 2e4)
        assert (np.abs(f(draws).mean(axis=0) - expected) < 5 * error).all()


def test_two_moons_stay_in_the_prior_and_give_the_data():
    rng = np.random.default_rng(3)
    x = np.array([0.2, 0.1])  # where part of the noise has no parameters
    theta = moons.posterior(x, 2000, rng)
    assert np.abs(theta).max() <= 1 and np.isfinite(moons.log_likelihood(theta, x)).all()
    assert (theta.sum(axis=1) > 0).mean() == pytest.approx(0.5, abs=0.06)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.6, 0.6, 601)] * 2), axis=-1).reshape(-1, 2)
    total = np.exp(moons.log_likelihood(np.zeros_like(grid), grid)).sum() * 0.002**2
    assert total == pytest.approx(1, abs=0.01)  # a density of x


def test_the_epidemic_has_the_limits_known_by_hand():
    rates = np.array([[0.4, 0.125], [1.5, 0.1], [0.05, 0.125]])
    share = epidemic.infected(rates)
    assert share.shape == (3, 10)
    np.testing.assert_allclose(share[:, 0], 1e-6, rtol=1e-9)
    assert share[0].max() > 0.2
    assert (np.diff(share[2]) < 0).all()  # without an outbreak it dies out
    early = 1e-6 * np.exp((0.4 - 0.125) * 17)
    assert share[0, 1] == pytest.approx(early, rel=1e-3)
    late = share[1, -2] / share[1, -1]  # all others have had it: recovery alone
    assert late == pytest.approx(np.exp(0.1 * 17), rel=1e-3)
    assert epidemic.summarised(np.array([0.0, 1000.0])).shape == (2,)


def test_sets_hold_two_points_or_more():
    theta, x = sets.simulated(500, 6, np.random.default_rng(0))
    there = ~np.isnan(x[:, :, 0])
    assert there[:, :2].all() and (np.diff(there.astype(int), axis=1) <= 0).all()
    assert set(there.sum(axis=1)) == {2, 3, 4, 5, 6} and (theta[:, 1] > 0).all()


@pytest.mark.slow
def test_a_small_run(tmp_path):
    study = find_study("amortised")
    small = {"train": 1000, "epochs": 2, "pairs": 40, "draws": 20, "observed": 2, "compared": 400}
    settings = Settings(case="sets", points=4, **small)
    outcome = study.run(settings, seed=0, out=tmp_path, resume=False)
    names = ["sets.posterion", "sets-attention.posterion", "report.html", "metrics.json"]
    assert [path.name for path in outcome.files] == names
    assert all(path.exists() for path in outcome.files)
    figures = read_metrics(tmp_path / "metrics.json").figures
    for key in ("sets", "sets-attention"):
        assert 0.4 < figures[f"{key}.auc"].value <= 1 and figures[f"{key}.auc"].truth == 0.5
        assert 0 <= figures[f"{key}.calibration.p_value"].value <= 1
        assert figures[f"{key}.mu.sd_ratio"].truth == 1
    again = study.run(settings, seed=0, out=tmp_path, resume=True)
    assert again.text == outcome.text
    learned = posterion.load(tmp_path / "sets.posterion")
    assert study.check is not None
    assert study.check(learned, seed=3).check("ranks of sigma, p-value") is not None
    with pytest.raises(CheckpointError, match="another run"):
        study.run(settings, seed=1, out=tmp_path, resume=True)


def test_settings_that_are_too_small_are_named():
    with pytest.raises(SettingError, match="pairs must be at least 20"):
        Settings(pairs=5)
