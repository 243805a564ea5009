"""Modes are found in draws of known targets, and a lost one is seen.

Draws have fixed seeds; shares are compared within 4.5 binomial errors (false alarm 7e-6 each).
"""

import numpy as np
import pytest
from scipy.special import logsumexp

from posterion.core.errors import SettingError, ShapeError
from posterion.diagnostics import compare_modes, find_modes, mode_fractions

N = 2000
CORNERS = np.array([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [-5.0, -5.0]])


def mixture(
    centres: np.ndarray, weights: list[float], n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of unit Gaussians at the centres, and their log-density up to a constant."""
    rng = np.random.default_rng(seed)
    x = centres[rng.choice(len(weights), size=n, p=weights)] + rng.normal(
        size=(n, centres.shape[1])
    )
    square = ((x[:, None] - centres) ** 2).sum(axis=2)
    return x, logsumexp(np.log(weights) - square / 2, axis=1)


def banana(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.random.default_rng(seed).normal(size=(2, n))
    return np.stack([1 + u, (1 + u) ** 2 + 0.3 * v], axis=1), -(u**2 + v**2) / 2


def ring(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    r, phi = 5 + 0.3 * rng.normal(size=n), rng.uniform(0, 2 * np.pi, n)
    return np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1), -(((r - 5) / 0.3) ** 2) / 2


def funnel(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    v, z = 3 * rng.normal(size=(n, 1)), rng.normal(size=(n, 9))
    height = -(v[:, 0] ** 2) / 18 - (z**2).sum(axis=1) / 2 - 4.5 * v[:, 0]
    return np.concatenate([v, z * np.exp(v / 2)], axis=1), height


def stretched(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian in 50 dimensions of condition number 1e4."""
    z = np.random.default_rng(seed).normal(size=(n, 50))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 50)))[0]
    return (z * np.logspace(0, 2, 50)) @ turn.T, -(z**2).sum(axis=1) / 2


@pytest.mark.parametrize("with_density", [True, False])
@pytest.mark.parametrize("target", [banana, ring, funnel, stretched])
def test_connected_targets_are_one_mode(target, with_density: bool) -> None:
    for seed in range(2):
        x, height = target(N, seed)
        modes = find_modes(x, log_density=height if with_density else None)
        assert modes.count == 1, (target.__name__, seed)
        assert modes.fractions.tolist() == [pytest.approx(1.0)]


@pytest.mark.parametrize("with_density", [True, False])
@pytest.mark.parametrize(
    ("centres", "weights"),
    [
        (CORNERS, [0.25] * 4),
        (np.outer([1.6, -1.6], np.ones(10)), [0.7, 0.3]),
        (np.outer([1.6, -1.6], np.ones(10)), [0.97, 0.03]),
    ],
    ids=["four", "two in 10 dimensions", "a small one in 10 dimensions"],
)
def test_separate_modes_are_found(
    centres: np.ndarray, weights: list[float], with_density: bool
) -> None:
    for seed in range(2):
        x, height = mixture(centres, weights, N, seed)
        modes = find_modes(x, log_density=height if with_density else None)
        assert modes.count == len(weights)
        assert (np.diff(modes.fractions) <= 0).all(), "heaviest first"
        exact = mode_fractions(x, centres)
        np.testing.assert_allclose(np.sort(modes.fractions), np.sort(exact), atol=1e-9)
        at_centre = mode_fractions(modes.centres, centres)
        np.testing.assert_allclose(at_centre, 1 / len(weights))
        fresh, _ = mixture(centres, weights, 5000, seed + 100)
        shares = np.sort(modes.fractions_of(fresh))
        error = np.sqrt(np.sort(weights) * (1 - np.sort(weights)) / 5000)
        assert (np.abs(shares - np.sort(weights)) < 4.5 * error).all()


def test_weights_and_copies_count() -> None:
    x, height = mixture(CORNERS[[0, 3]], [0.5, 0.5], N, seed=1)
    heavy = np.where(x[:, 0] > 0, 3.0, 1.0)
    modes = find_modes(x, log_density=height, weights=heavy)
    upper = (x[:, 0] > 0).mean()
    assert modes.fractions[0] == pytest.approx(3 * upper / (3 * upper + 1 - upper))
    copies = np.repeat(x[:400], 5, axis=0)  # as resampled particles are
    assert find_modes(copies, log_density=np.repeat(height[:400], 5)).count == 2
    weighted = modes.fractions_of(x, weights=heavy)
    np.testing.assert_allclose(weighted, modes.fractions)


def test_a_group_too_small_joins_its_neighbour() -> None:
    x, height = mixture(CORNERS[[0, 3]], [0.97, 0.03], N, seed=2)
    assert find_modes(x, log_density=height).count == 2
    assert find_modes(x, log_density=height, min_fraction=0.1).count == 1


def test_valleys_by_depth() -> None:
    """Peaks of a one-dimensional density with a valley of 2.3 nats."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 12_000)
    height = -1.15 * np.cos(np.pi * x / 1.5) - np.abs(x / 2.5) ** 10
    keep = rng.random(x.size) < np.exp(height - 1.15)
    x, height = x[keep][:, None], height[keep]
    assert find_modes(x, log_density=height, depth=1.5).count == 2
    assert find_modes(x, log_density=height, depth=3.0).count == 1


def test_modes_on_a_circle() -> None:
    rng = np.random.default_rng(0)
    angle = np.where(rng.random(N) < 0.6, np.pi, 0.0) + 0.2 * rng.normal(size=N)
    cut = np.mod(angle + np.pi, 2 * np.pi) - np.pi
    modes = find_modes(cut, periods=[2 * np.pi])
    assert modes.count == 2
    assert modes.fractions[0] == pytest.approx(0.6, abs=4.5 * np.sqrt(0.24 / N))
    assert find_modes(cut).count == 3  # without the period the first is cut in two
    assert mode_fractions(cut[:, None], [[np.pi], [0.0]], periods=[2 * np.pi])[0] == pytest.approx(
        modes.fractions[0]
    )


def test_scales_set_what_is_near() -> None:
    x = [[0.4, 10.0], [0.6, -10.0]]
    centres = [[0.0, -10.0], [1.0, 10.0]]
    np.testing.assert_array_equal(mode_fractions(x, centres), [0.5, 0.5])
    assert mode_fractions([[0.4, 10.0]], centres)[1] == 1
    assert mode_fractions([[0.4, 10.0]], centres, scales=[0.001, 1.0])[0] == 1


def test_comparison_sees_a_lost_mode() -> None:
    x, height = mixture(CORNERS, [0.25] * 4, N, seed=0)
    modes = find_modes(x, log_density=height)
    flow = x[x[:, 0] > 0]
    lost = compare_modes(modes.fractions_of(flow), modes.fractions, n_flow=1000, n_witness=400)
    assert sum(p < -4.5 for p in lost.pull) == 2
    assert all(e > 0 for e in (*lost.flow_error, *lost.witness_error))


def test_pulls_are_standard_normal() -> None:
    """Equal laws: pulls have mean 0 and variance 1 within 4.5 standard errors over 1000 pairs."""
    rng = np.random.default_rng(3)
    pulls = [
        compare_modes(
            [a / 500, 1 - a / 500], [b / 200, 1 - b / 200], n_flow=500, n_witness=200
        ).pull[0]
        for a, b in zip(rng.binomial(500, 0.3, 1000), rng.binomial(200, 0.3, 1000), strict=True)
    ]
    assert np.mean(pulls) == pytest.approx(0, abs=4.5 / np.sqrt(1000))
    assert np.var(pulls) == pytest.approx(1, abs=4.5 * np.sqrt(2 / 1000))


def test_small_samples() -> None:
    assert find_modes([[1.0]]).count == 1
    assert find_modes(np.ones((50, 2))).count == 1
    assert find_modes([[0.0], [1.0]]).fractions.sum() == pytest.approx(1.0)


def test_bad_input() -> None:
    x = np.zeros((20, 2))
    with pytest.raises(ShapeError, match="log_density"):
        find_modes(x, log_density=np.zeros(3))
    with pytest.raises(ShapeError, match="not finite"):
        find_modes(np.full((5, 2), np.nan))
    with pytest.raises(SettingError, match="neighbours"):
        find_modes(x, neighbours=1)
    with pytest.raises(ShapeError, match="parameters"):
        mode_fractions(x, np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="scales"):
        mode_fractions(x, x[:2], scales=[1.0, 0.0])
    with pytest.raises(ShapeError, match="parameters"):
        find_modes(np.eye(2)).assign(np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="modes"):
        compare_modes([1.0], [0.5, 0.5], n_flow=10, n_witness=10)
    with pytest.raises(SettingError, match="positive"):
        compare_modes([1.0], [1.0], n_flow=0, n_witness=10)
    with pytest.raises(ShapeError, match="positive sum"):
        find_modes(x, weights=np.zeros(20))
