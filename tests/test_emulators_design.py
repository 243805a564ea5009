"""Where to run the theory next: against linear regression, where the answer is known."""

import tracemalloc

import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.emulators import Gaussian, design, emulate, next_points
from posterion.emulators.predicting import means_of_networks, moments
from posterion.networks import mlp
from small_emulators import made


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


def _greedy(emulator, points, count):
    """The same choice with all that the networks say of all points at once."""
    scaled = emulator.inputs.scaled(points)
    means = means_of_networks(emulator.joint, emulator.networks, scaled).astype(float)
    noise = moments(emulator.joint, emulator.networks, scaled, emulator.targets)[0].aleatoric
    apart = (means - means.mean(axis=0)) / len(means) ** 0.5
    chosen = []
    for _ in range(count):
        variance = np.sum(apart**2, axis=(0, 2))
        variance[chosen] = -1
        place = int(np.argmax(variance))
        chosen.append(place)
        at = apart[:, place]
        square = np.sum(at**2, axis=0)
        keep = 1 - np.sqrt(noise[place] / (square + noise[place]))
        shared = np.einsum("kt,kpt->pt", at, apart)
        apart = apart - (keep / square * shared)[None] * at[:, None]
    return chosen


def test_chunks_choose_what_the_whole_does():
    toy = made(mlp((5,)), Gaussian(0.2), "abc", "yz", log="y", count=26)
    points = toy.inputs.uniform(np.random.default_rng(0), 5000)
    assert toy.next_points(points, 25).tolist() == _greedy(toy, points, 25)
    assert toy.next_points(points, 25).tolist() == next_points(toy, points, 25).tolist()


def test_more_than_networks_can_tell_are_drawn_by_how_much_they_differ():
    toy = made(mlp((5,)), Gaussian(0.2), "abc", count=6)
    points = toy.inputs.uniform(np.random.default_rng(0), 4000)
    few, many = toy.next_points(points, 5), toy.next_points(points, 405, seed=3)
    assert many[:5].tolist() == few.tolist() and len(set(many)) == 405
    assert many.tolist() == toy.next_points(points, 405, seed=3).tolist()
    assert many.tolist() != toy.next_points(points, 405, seed=4).tolist()
    # One of ten is taken: the mean of 1 / sd over them is 1 / (mean sd), but for the taking out.
    sd = toy.predict(points).epistemic
    inverse = 1 / sd[many[5:]]
    error = inverse.std() / 400**0.5
    assert abs(inverse.mean() - 1 / sd.mean()) < 3 * error + 0.05 / sd.mean()
    assert sd[many[5:]].mean() > sd.mean() + 3 * sd.std() / 400**0.5


def test_candidates_of_any_number_are_gone_through_in_chunks(monkeypatch):
    toy = made(mlp((2,)), Gaussian(0.2), [f"x{i}" for i in range(19)], count=100)
    points = toy.inputs.uniform(np.random.default_rng(0), 200_000)
    sizes = []

    def asked(joint, thetas, x):
        sizes.append(len(x))
        return means_of_networks(joint, thetas, x)

    monkeypatch.setattr(design, "means_of_networks", asked)
    toy.next_points(points[:2000], 2)
    sizes.clear()
    tracemalloc.start()
    found = toy.next_points(points, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(found)) == 10 and max(sizes) <= 1024
    assert sum(sizes) < 200_000  # of ten times as many that a search without bounds would ask
    assert peak < 5 * points.nbytes  # what networks say of all points is 5.3 times that by itself


def test_no_choice_compiles_anew(monkeypatch):
    toy = made(mlp((2,)), Gaussian(0.2), "ab", count=10)
    points = toy.inputs.uniform(np.random.default_rng(0), 300)
    sizes = set()

    def asked(joint, thetas, x):
        sizes.add(len(x))
        return means_of_networks(joint, thetas, x)

    monkeypatch.setattr(design, "means_of_networks", asked)
    for count in (1, 5, 300):
        assert len(set(toy.next_points(points, count))) == count
    assert sizes == {300}


def test_choices_outside_of_what_was_trained_on_are_said(caplog):
    toy = made(mlp((2,)), Gaussian(0.2), "ab", count=10)
    points = toy.inputs.uniform(np.random.default_rng(0), 30)
    toy.next_points(points, 30)
    assert not caplog.text
    toy.next_points(np.concatenate([points, [[9.0, 9.0]]]), 31)
    assert "1 of the 31 points chosen lie outside of what was trained on" in caplog.text


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
