"""Where to run the theory next: against linear regression, where the answer is known."""

import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.emulators import emulate, next_points
from posterion.emulators.predicting import means_of_networks, moments
from posterion.networks import mlp


@pytest.fixture(scope="module")
def line():
    """A straight line through noisy points."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (120, 2))
    y = x @ np.array([1.0, -0.5]) + 0.3 * rng.normal(size=120)
    return emulate(
        x, y, network=mlp((), "tanh"), sampler="nuts", chains=2, draws=300, warmup=150, thin=2,
        epochs=20, correction=0.0, test=0.0, seed=2, quiet=True,
    )  # fmt: skip


def _expected(emulator, points, n):
    """The same choice from the covariance of the networks' predictions."""
    scaled = emulator.inputs.scaled(points)
    means = means_of_networks(emulator.joint, emulator.networks, scaled)[..., 0].astype(float)
    noise = moments(emulator.joint, emulator.networks, scaled, emulator.targets)[0].aleatoric[:, 0]
    covariance = np.cov(means.T, bias=True)
    chosen = []
    for _ in range(n):
        variance = np.diag(covariance).copy()
        variance[chosen] = -1
        place = int(np.argmax(variance))
        chosen.append(place)
        column = covariance[:, place]
        covariance = covariance - np.outer(column, column) / (column[place] + noise[place])
    return chosen


def test_choices_are_those_of_the_covariance(line):
    points = np.random.default_rng(4).uniform(-1, 1, (60, 2))
    assert next_points(line, points, 12).tolist() == _expected(line, points, 12)


def test_the_first_is_where_networks_differ_most_and_none_comes_twice(line):
    points = np.random.default_rng(5).uniform(-1, 1, (50, 2))
    found = next_points(line, points, 50)
    assert found[0] == np.argmax(line.predict(points).epistemic)
    assert sorted(found) == list(range(50))
    # A straight line is best known from opposite ends, not from one end twice.
    ends = np.array([[0.99, 0.99], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    first, second = ends[next_points(line, ends, 2)]
    assert np.abs(first - second).max() > 1


def test_what_cannot_be_chosen_is_refused(line):
    points = np.zeros((3, 2))
    for n in (0, 4):
        with pytest.raises(SettingError, match="cannot be chosen"):
            next_points(line, points, n)
    alone = emulate(
        np.random.default_rng(1).normal(size=(40, 2)), np.arange(40.0), sampler="ensemble",
        network=mlp((2,), "tanh"), chains=1, epochs=1, quiet=True,
    )  # fmt: skip
    with pytest.raises(SettingError, match="one network"):
        next_points(alone, points, 1)
