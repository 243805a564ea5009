"""The toy likelihood's posterior for any counts: the simulation is the density's, a small run."""

import json
from dataclasses import replace

import numpy as np
import pytest

import posterion
from posterion.core.errors import SettingError
from posterion.studies import find_study, read_metrics
from posterion.studies.likelihood_conditional.options import Settings
from posterion.studies.likelihood_conditional.simulation import (
    learned_parameters,
    simulated,
    summarised,
)
from posterion.studies.likelihood_toy.inputs import generate
from posterion.studies.likelihood_toy.model import toy_target


def test_pairs_are_of_the_model_that_the_density_has():
    """At the counts of a pair, its own parameters have the highest density far more often."""
    inputs = generate()
    theta, counts, kept = simulated(inputs, 200, seed=1)
    assert counts.shape == (200, 90) and theta["mc"].shape == (200, 90) and 0.5 < kept < 1
    better = 0
    for i in range(10):
        target = toy_target(replace(inputs, observed=counts[i]))
        rows = target.flatten({k: v[[i, (i + 1) % 200]] for k, v in theta.items()})
        # The same nuisances, so that their prior does not decide.
        rows[1, 1:] = rows[0, 1:]
        values = target.evaluate(rows)
        assert np.isfinite(values[0])
        better += values[0] > values[1]
    assert better >= 8
    again, other, _ = simulated(inputs, 200, seed=1, fresh=True)
    assert not np.array_equal(other, counts) and not np.array_equal(again["mu"], theta["mu"])


def test_moments_of_counts_and_of_their_summary():
    inputs = generate()
    theta, counts, _ = simulated(inputs, 20_000, seed=2)
    near = np.abs(theta["mu"] - 1) < 0.2
    expected = inputs.background + inputs.signal * theta["mu"][near].mean()
    found, error = counts[near].mean(axis=0), counts[near].std(axis=0) / np.sqrt(near.sum())
    assert (np.abs(found - expected) < 0.05 * expected + 4 * error).all()
    many = inputs.background > 20
    plain = np.random.default_rng(3).poisson(inputs.background, (20_000, 90)).astype(float)
    excess = summarised(inputs, plain)["excess"]
    assert excess.shape == (20_000, 90)
    assert (np.abs(excess[:, many].mean(axis=0)) < 0.1).all()  # less by 1 / (4 sqrt b)
    assert (np.abs(excess[:, many].std(axis=0) - 1) < 0.03).all()
    assert [p.name for p in learned_parameters(bins=False)] == ["mu", "isr", "jes", "lv", "cr"]
    assert sum(p.size for p in learned_parameters(bins=True)) == 95


@pytest.mark.slow
def test_a_small_run(tmp_path):
    study = find_study("likelihood-conditional")
    settings = Settings(train=4000, epochs=2, pairs=60, draws=50, chain=2560)
    outcome = study.run(settings, seed=0, out=tmp_path, resume=False)
    assert "Calibration of p(theta | counts): 60 pairs" in outcome.text
    assert all(path.exists() for path in outcome.files) and len(outcome.files) == 3
    figures = read_metrics(tmp_path / "metrics.json").figures
    assert 0 <= figures["calibration.p_value"].value <= 1
    assert figures["mu.coverage_68"].truth == pytest.approx(0.6827, abs=1e-4)
    assert figures["mu.observed_sd"].truth == pytest.approx(0.25, abs=0.15)
    assert json.loads((tmp_path / "metrics.json").read_text())["study"] == study.name
    learned = posterion.load(tmp_path / "likelihood-conditional.posterion")
    assert study.check is not None
    health = study.check(learned, seed=3)
    assert health.check("ranks of mu, p-value") is not None
    with pytest.raises(SettingError, match="is not one that"):
        study.check(replace(learned, provenance={}), seed=3)


def test_settings_that_are_too_small_are_named():
    with pytest.raises(SettingError, match="pairs must be at least 20"):
        Settings(pairs=5)
