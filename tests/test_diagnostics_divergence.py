"""Distances between distributions, against exact values and their sampling floors.

Statistical tests have fixed seeds; their false-alarm rates are stated where they are not those of
4.5 standard errors (7e-6).
"""

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp, norm, wasserstein_distance

from posterion.core.errors import SettingError, ShapeError
from posterion.diagnostics import (
    energy_distance,
    jensen_shannon,
    jensen_shannon_floor,
    jensen_shannon_floor_simulated,
    jensen_shannon_of_histograms,
    kolmogorov_smirnov,
    kolmogorov_smirnov_two,
    wasserstein,
)

EDGES = norm.ppf(np.linspace(0, 1, 51))


def test_jensen_shannon_of_histograms_exactly() -> None:
    p, q = np.array([1, 3]) / 4, np.array([2, 2]) / 4
    m = (p + q) / 2
    exact = (p @ np.log(p / m) + q @ np.log(q / m)) / 2
    assert jensen_shannon_of_histograms([10, 30], [7, 7]) == pytest.approx(exact)
    assert jensen_shannon_of_histograms([1, 1, 0], [0, 0, 3]) == pytest.approx(np.log(2))
    assert jensen_shannon_of_histograms([1, 2], [2, 4]) == pytest.approx(0, abs=1e-15)


def test_jensen_shannon_of_a_shifted_normal() -> None:
    """Draws of N(0.2, 1) against N(0, 1): the exact divergence of the bins, plus the floor."""
    n = 200_000
    exact = jensen_shannon_of_histograms(np.diff(norm.cdf(EDGES - 0.2)), np.full(50, 1 / 50))
    draws = 0.2 + np.random.default_rng(0).normal(size=n)
    found = jensen_shannon(draws, cdf=norm.cdf)
    assert 0.004 < exact < 0.006
    assert found == pytest.approx(exact + jensen_shannon_floor(50, n), rel=0.05)
    assert jensen_shannon(draws, edges=EDGES) == pytest.approx(found, rel=1e-12)


def test_jensen_shannon_floor_is_its_mean() -> None:
    n = 20_000
    rng = np.random.default_rng(1)
    found = [jensen_shannon(rng.normal(size=n), cdf=norm.cdf) for _ in range(50)]
    assert np.mean(found) == pytest.approx(
        jensen_shannon_floor(50, n), abs=4.5 * np.std(found) / np.sqrt(50)
    )
    simulated = jensen_shannon_floor_simulated(50, n, seed=2, repeats=400)
    assert simulated.value == pytest.approx(jensen_shannon_floor(50, n), rel=0.05)
    assert simulated.error == pytest.approx(np.sqrt(2 * 49) / (8 * n), rel=0.2)
    six = jensen_shannon_floor_simulated(50, n, seed=2, parameters=6)
    assert six.value > simulated.value + simulated.error
    two = [
        jensen_shannon_of_histograms(*rng.multinomial(n, [0.02] * 50, size=2)) for _ in range(50)
    ]
    assert np.mean(two) == pytest.approx(jensen_shannon_floor(50, n, n), rel=0.15)


def test_jensen_shannon_counts_draws_outside_and_weights() -> None:
    inside = np.arange(100) / 100 + 0.005
    assert jensen_shannon(inside, edges=np.linspace(0, 1, 11)) == pytest.approx(0, abs=1e-14)
    half = np.concatenate([inside, inside + 5])
    found = jensen_shannon(half, edges=np.linspace(0, 1, 11))
    exact = jensen_shannon_of_histograms([0.5, 0.5], [1.0, 0.0])
    assert found == pytest.approx(exact)
    weights = np.repeat([1.0, 0.0], 100)
    assert jensen_shannon(half, edges=np.linspace(0, 1, 11), weights=weights) < 1e-12
    assert jensen_shannon([0.0, 1.0], edges=[0.0, 0.5, 1.0]) == pytest.approx(0, abs=1e-15)


def test_jensen_shannon_refuses() -> None:
    x = np.zeros(4)
    with pytest.raises(SettingError, match="either"):
        jensen_shannon(x)
    with pytest.raises(SettingError, match="either"):
        jensen_shannon(x, cdf=norm.cdf, edges=[0, 1, 2])
    with pytest.raises(SettingError, match="two bins"):
        jensen_shannon(x, cdf=norm.cdf, bins=1)
    with pytest.raises(ShapeError, match="ascending"):
        jensen_shannon(x, edges=[0, 2, 1])
    with pytest.raises(ShapeError, match="outside"):
        jensen_shannon(x, cdf=lambda v: v + 2)
    with pytest.raises(ShapeError, match="not finite"):
        jensen_shannon([0.0, np.nan], cdf=norm.cdf)
    with pytest.raises(SettingError, match="floor"):
        jensen_shannon_floor(50, 0)
    with pytest.raises(SettingError, match="floor"):
        jensen_shannon_floor_simulated(1, 10, seed=0)
    with pytest.raises(ShapeError, match="positive sum"):
        jensen_shannon_of_histograms([0, 0], [1, 1])


def test_kolmogorov_smirnov() -> None:
    exact = kolmogorov_smirnov([0.1, 0.4, 0.9], lambda u: u)
    assert exact.distance == pytest.approx(2 / 3 - 0.4)
    x = np.random.default_rng(0).normal(size=(200, 300))
    small = sum(kolmogorov_smirnov(row, norm.cdf).p_value < 0.1 for row in x)
    assert binomtest(small, 200, 0.1).pvalue > 1e-4  # false alarm 1e-4
    assert kolmogorov_smirnov(x[0] + 0.5, norm.cdf).p_value < 1e-6
    weighted = kolmogorov_smirnov(
        np.append(x[0], 50.0), norm.cdf, weights=np.append(np.ones(300), 0.0)
    )
    assert weighted.distance == pytest.approx(kolmogorov_smirnov(x[0], norm.cdf).distance)
    thinner = kolmogorov_smirnov(x[0] + 0.2, norm.cdf, n_effective=30)
    assert thinner.p_value > 10 * kolmogorov_smirnov(x[0] + 0.2, norm.cdf).p_value


def test_kolmogorov_smirnov_two() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=400), np.round(rng.normal(size=700), 1)  # with ties
    theirs = ks_2samp(a, b, method="asymp")
    ours = kolmogorov_smirnov_two(a, b)
    assert ours.distance == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.05)
    shifted = kolmogorov_smirnov_two(a, a + 0.2)
    assert kolmogorov_smirnov_two(a, a + 0.2, n_effective=(400, 40)).p_value > shifted.p_value


def test_wasserstein() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(size=500)
    u, v = rng.random(300), rng.random(500)
    assert wasserstein(a, a + 0.7) == pytest.approx(0.7)
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b))
    assert wasserstein(a, b, weights_a=u, weights_b=v) == pytest.approx(
        wasserstein_distance(a, b, u, v)
    )


def test_energy_distance_exactly() -> None:
    """Against the plain double sums, in units of the pooled standard deviation."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 2)), rng.normal(size=(11, 2)) + 1
    found = energy_distance(a, b, seed=0)
    scale = np.concatenate([a, b]).std(axis=0)

    def mean(x: np.ndarray, y: np.ndarray, pairs: int) -> float:
        return float(np.linalg.norm((x[:, None] - y) / scale, axis=-1).sum() / pairs)

    assert found.distance == pytest.approx(
        2 * mean(a, b, 99) - mean(a, a, 9 * 8) - mean(b, b, 11 * 10)
    )
    assert found.points == (9, 11)


@pytest.mark.parametrize("dimension", [1, 5])
def test_energy_significance_is_calibrated(dimension: int) -> None:
    """Above z = 1.645 in 5 % of cases for equal distributions; false alarm of the test 1e-4."""
    rng = np.random.default_rng(dimension)
    z = np.array(
        [
            energy_distance(
                rng.normal(size=(120, dimension)),
                rng.normal(size=(100, dimension)),
                seed=i,
                permutations=100,
            ).z
            for i in range(200)
        ]
    )
    assert binomtest(int((z > 1.645).sum()), 200, 0.05).pvalue > 1e-4
    assert binomtest(int((z > 0).sum()), 200, 0.5).pvalue > 1e-4
    assert z.max() < 4.5


def test_energy_distance_of_chains_counts_their_effective_draws() -> None:
    """Chains with tau = 19 compared with independent draws of the same law, 100 times."""
    rng, rho, steps = np.random.default_rng(7), 0.9, 800
    tau = (1 + rho) / (1 - rho)
    noise = rng.normal(size=(steps, 400, 2)) * np.sqrt(1 - rho**2)
    chains = np.empty_like(noise)
    chains[0] = noise[0] / np.sqrt(1 - rho**2)
    for i in range(1, steps):
        chains[i] = rho * chains[i - 1] + noise[i]
    honest, naive = [], []
    for i in range(100):
        four = chains[:, 4 * i : 4 * i + 4].transpose(1, 0, 2)
        draws = rng.normal(size=(200, 2))
        worth = (200, 4 * steps / tau)
        honest.append(energy_distance(draws, four, seed=i, n_effective=worth, permutations=60).z)
        naive.append(energy_distance(draws, four[:, -50:], seed=i, limit=200, permutations=60).z)
    assert binomtest(int(np.sum(np.array(honest) > 1.645)), 100, 0.05).pvalue > 1e-4
    assert np.mean(np.array(naive) > 1.645) > 0.2, "without the effective number it cries wolf"


def test_energy_distance_has_power() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1000, 3))
    lost = rng.normal(size=(1000, 3))
    lost[:150] += 5.0
    assert energy_distance(a, lost, seed=1).z > 6
    assert energy_distance(a, rng.normal(size=(1000, 3)) * 1.25, seed=1).z > 4.5
    far = energy_distance(a, a + 100.0, seed=1)
    assert far.z > 20
    assert energy_distance(np.ones((10, 1)), np.ones((10, 1)), seed=0).z == 0.0


def test_energy_distance_on_circles() -> None:
    """Angles about the cut of the circle: the same law, whichever side they are written on."""
    rng = np.random.default_rng(0)
    a = np.pi + 0.3 * rng.normal(size=(400, 1))
    b = np.mod(np.pi + 0.3 * rng.normal(size=(400, 1)) + np.pi, 2 * np.pi) - np.pi
    assert energy_distance(a, b, seed=1, periods=[2 * np.pi]).z < 4.5
    assert energy_distance(a, b, seed=1).z > 6


def test_energy_distance_refuses() -> None:
    x = np.zeros((100, 2))
    with pytest.raises(ShapeError, match="fewer than 8"):
        energy_distance(x, x, seed=0, n_effective=(100, 10))
    with pytest.raises(ShapeError, match="parameters"):
        energy_distance(x, x[:, :1], seed=0)
    with pytest.raises(SettingError, match="periods"):
        energy_distance(x, x, seed=0, periods=[None])
    with pytest.raises(SettingError, match="permutations"):
        energy_distance(x, x, seed=0, permutations=3)
