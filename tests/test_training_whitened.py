"""Conditions are uncorrelated as a flow sees them, and come back as they were given."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import posterion
from posterion.core.errors import CheckpointError
from posterion.diagnostics.fitting import two_samples
from posterion.training.whitened import as_given, as_seen, uncorrelating

QUICK = {"epochs": 1, "batch": 100, "quiet": True, "seed": 1}


def repeated(n=500, seed=0):
    """Three measurements of one number, scattering little."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(5, 2, (n, 1))
    return truth, truth + 0.1 * rng.normal(size=(n, 3))


def test_uncorrelating_and_back():
    _, rows = repeated()
    location, covariance = rows.mean(0), np.cov(rows.T, bias=True)
    scale = np.sqrt(np.diag(covariance))
    mixing = uncorrelating(covariance, scale)
    np.testing.assert_array_equal(mixing, mixing.T)
    seen = as_seen(rows, location, scale, mixing)
    np.testing.assert_allclose(np.cov(seen.T, bias=True), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(as_given(seen, location, scale, mixing), rows, atol=1e-9)
    plain = as_seen(rows, location, scale, None)
    np.testing.assert_allclose(as_given(plain, location, scale, None), rows, atol=1e-12)
    # Each stays the one that it is: no order of the columns matters.
    assert all(np.argmax(np.abs(np.corrcoef(seen.T, rows.T)[:3, 3:]), axis=0) == np.arange(3))
    turned = uncorrelating(covariance[::-1, ::-1], scale[::-1])
    np.testing.assert_allclose(turned, mixing[::-1, ::-1], atol=1e-9)


def test_what_does_not_vary_is_not_blown_up():
    rng = np.random.default_rng(0)
    classes = np.eye(3)[rng.integers(3, size=400)]
    rows = np.column_stack([classes, rng.normal(size=400), np.full(400, 7.0)])
    covariance = np.cov(rows.T, bias=True)
    scale = np.where(np.diag(covariance) > 1e-12, np.sqrt(np.diag(covariance)), 1.0)
    mixing = uncorrelating(covariance, scale)
    assert np.abs(mixing).max() < 2
    np.testing.assert_allclose(mixing[4], np.eye(5)[4], atol=1e-12)
    seen = as_seen(rows, rows.mean(0), scale, mixing)
    assert np.linalg.eigvalsh(np.cov(seen.T, bias=True))[2:] == pytest.approx(1)


def test_a_fit_sees_uncorrelated_conditions(tmp_path):
    truth, rows = repeated()
    network = posterion.quantile_network(1, 3, hidden=(4,), bins=2)
    fitted = posterion.fit(network, truth, context=rows, **QUICK)
    assert fitted.context_mixing is not None
    np.testing.assert_allclose(np.cov(fitted.as_seen(rows).T, bias=True), np.eye(3), atol=1e-9)
    fitted.save(tmp_path / "fit.posterion")
    again = posterion.load(tmp_path / "fit.posterion")
    same = fitted.log_prob(truth, rows)
    np.testing.assert_array_equal(again.log_prob(truth, rows), same)
    assert not np.allclose(replace(fitted, context_mixing=None).log_prob(truth, rows), same)
    scaled = posterion.fit(network, truth, context=rows, whiten="scale", **QUICK)
    assert scaled.context_mixing is None
    few = posterion.fit(network, truth[:25], context=rows[:25], **QUICK)
    assert few.context_mixing is None  # a covariance of so few rows is none


def test_checks_see_conditions_as_they_were_given():
    """What is wrong for a class of one row in twenty is said of that class."""
    rng = np.random.default_rng(1)
    n = 4000
    rare = rng.uniform(size=n) < 0.05
    x = rng.normal(size=n)
    context = np.column_stack([rare, x + 0.02 * rng.normal(size=(2, n)).T[:, 0], x])
    y = rng.normal(size=(n, 1)) + 2.0 * rare[:, None]
    network = posterion.quantile_network(1, 3, hidden=(4,), bins=2)
    fitted = posterion.fit(network, y, context=context, rate=1e-6, validation=0.5, **QUICK)
    (check,) = (c for c in fitted.health.checks if c.name.startswith("worst transform"))
    assert check.verdict == "bad" and check.note.startswith("level of x[0], context[0] in bin 2")


def test_draws_that_ignore_a_repeated_measurement_are_told():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(3000, 1))
    rows = truth + 0.1 * rng.normal(size=(3000, 10))
    held, drawn = (truth + 2 * rng.normal(size=truth.shape) for _ in range(2))
    right = two_samples(drawn, held, ["y"], seed=0, context=rows)
    blind = two_samples(rng.permutation(drawn), held, ["y"], seed=0, context=rows)
    assert right is not None and blind is not None
    assert abs(right.energy.z) < 3 and blind.energy.z > 5


def test_a_checkpoint_of_other_conditions_is_refused(tmp_path):
    truth, rows = repeated()
    network = posterion.quantile_network(1, 3, hidden=(4,), bins=2)
    settings = {**QUICK, "checkpoint": tmp_path / "c", "epochs": 40}

    class Stop(Exception):
        pass

    def stopping(*_, **__):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posterion.training.running.Run._exhausted", lambda run, epoch: epoch > 1)
        patch.setattr(sys.modules["posterion.training.fit"], "examine", stopping)
        with pytest.raises(Stop):
            posterion.fit(network, truth, context=rows, **settings)
    with pytest.raises(CheckpointError):
        posterion.fit(network, truth, context=rows + 1, resume=True, **settings)
    assert posterion.fit(network, truth, context=rows, resume=True, **settings).history


def test_a_weighted_constant_does_not_vary(caplog):
    truth, rows = repeated()
    weights = np.random.default_rng(3).uniform(size=len(rows))
    context = np.column_stack([np.full(len(rows), 1 / 3), rows])
    network = posterion.quantile_network(1, 4, hidden=(4,), bins=2)
    fitted = posterion.fit(network, truth, context=context, weights=weights, **QUICK)
    assert np.isfinite(fitted.log_prob(truth, context)).all()
    assert any("context[0] does not vary" in record.getMessage() for record in caplog.records)
