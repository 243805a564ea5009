"""Probabilities of labels, corrected."""

import numpy as np
import pytest
from scipy import special

from posterion.core.errors import ShapeError
from posterion.diagnostics import (
    corrected_probabilities,
    expected_calibration_error,
    logistic_correction,
)


def _labels(n=20_000, seed=1):
    rng = np.random.default_rng(seed)
    logit = 2.0 * rng.normal(size=n)
    return logit, (rng.random(n) < special.expit(logit)) * 1.0


def test_two_classes_get_back_what_was_distorted():
    logit, labels = _labels()
    said = special.expit(0.5 * logit - 0.3)
    found = logistic_correction(said, labels)
    np.testing.assert_allclose(found, [2.0, 0.6], atol=0.1)
    fresh, truth = _labels(seed=2)
    said = special.expit(0.5 * fresh - 0.3)
    before, _ = expected_calibration_error(said, truth)
    after, floor = expected_calibration_error(corrected_probabilities(said, found), truth)
    assert before > 0.05 and after < 2 * floor


def test_several_classes_have_one_temperature():
    rng = np.random.default_rng(3)
    logits = 2.0 * rng.normal(size=(20_000, 3))
    p = special.softmax(logits, axis=1)
    labels = np.array([rng.choice(3, p=row) for row in p])
    found = logistic_correction(special.softmax(0.4 * logits, axis=1), labels)
    assert found.shape == (1,) and found[0] == pytest.approx(2.5, rel=0.05)
    mended = corrected_probabilities(special.softmax(0.4 * logits, axis=1), found)
    np.testing.assert_allclose(mended.sum(axis=1), 1)


def test_labels_that_are_told_apart_stay_finite():
    found = logistic_correction(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
    assert 1 <= found[0] < 20 and abs(found[1]) < 1
    certain = corrected_probabilities([0.0, 1.0], found)
    assert np.isfinite(certain).all() and certain[0] < 1e-3 and certain[1] > 1 - 1e-3


def test_shapes_are_checked():
    for p, labels in (
        (np.zeros(3), np.zeros(2)),
        (np.zeros(0), np.zeros(0)),
        (np.zeros((2, 2, 2)), np.zeros(2)),
    ):
        with pytest.raises(ShapeError, match="probabilities"):
            logistic_correction(p, labels)
