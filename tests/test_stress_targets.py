"""The truths of the stress targets are true: evidence, draws and modes against one another.

Statistical tests have fixed seeds and five sigma: a false alarm in 10^5.
"""

import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.studies.stress.targets import NAMES, known_target

N = 20_000


def coordinates(name, n=N, seed=5):
    return known_target(name).draw(np.random.default_rng(seed), n)


@pytest.mark.parametrize("name", NAMES)
def test_density_evidence_and_draws_agree(name):
    """E_p[g / p] = 1/Z for any normalised g that is a little narrower than p."""
    known = known_target(name)
    x = coordinates(name)
    assert x.shape == (N, known.dim)
    value = known.target.evaluate(x)
    assert np.isfinite(value).all()
    if name == "funnel":  # its draws know no width: the conditional one, given the first
        v, rest = x[:, 0], x[:, 1:]
        spread = 0.8 * np.exp(v / 2)[:, None]
        log_g = -0.5 * (v / 2.4) ** 2 - np.log(2.4) - 0.5 * ((rest / spread) ** 2).sum(1)
        log_g -= np.log(spread[:, 0]) * 9 + 5 * np.log(2 * np.pi)
    elif name in ("banana", "offset", "rosenbrock"):
        a, b = x[:, 0::2], x[:, 1::2]
        log_g = -0.5 * ((a - 1) / 0.9) ** 2 - 0.5 * ((b - a**2) / 0.27) ** 2
        log_g = (log_g - np.log(2 * np.pi * 0.9 * 0.27)).sum(1)
    elif name == "gaussian":
        covariance = 0.95 * np.cov(coordinates(name, seed=6).T)
        log_g = -0.5 * np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
        log_g -= 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    elif name in ("box-corner", "torus"):  # uniform on a small cube at the peak
        low, width = (0.0, 0.4) if name == "box-corner" else (0.0, 0.7)
        inside = ((x >= low) & (x < low + width)).all(1)
        log_g = np.where(inside, -known.dim * np.log(width), -np.inf)
    elif name == "ring":
        r = np.sqrt((x**2).sum(1))
        log_g = -0.5 * ((r - 5) / 0.27) ** 2 - np.log(0.27 * np.sqrt(2 * np.pi) * 2 * np.pi * r)
    else:
        width = 0.8
        log_g = -0.5 * (((x - known.centres[0]) / width) ** 2).sum(1)
        log_g -= known.dim * np.log(width * np.sqrt(2 * np.pi))
    ratio = np.exp(log_g - value + known.log_evidence)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(N)
    assert ratio.std() / np.sqrt(N) < 0.05


@pytest.mark.parametrize("name", ["four-modes", "ring", "banana", "torus"])
def test_evidence_in_two_dimensions_by_quadrature(name):
    known = known_target(name)
    low, high = {"torus": (0, 2 * np.pi), "banana": (-6, 60)}.get(name, (-12, 12))
    n, m = 1500, (4000 if name == "banana" else 1500)
    a = low + (min(high, 12) - low) * (np.arange(n) + 0.5) / n
    b = low + (high - low) * (np.arange(m) + 0.5) / m
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    total = np.exp(known.target.evaluate(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert np.log(total) == pytest.approx(known.log_evidence, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_modes_hold_their_weights(name):
    known = known_target(name)
    assert known.weights.sum() == pytest.approx(1)
    found = known.mode_fractions(coordinates(name))
    error = np.sqrt(known.weights * (1 - known.weights) / N)
    assert (np.abs(found - known.weights) <= 5 * error + 1e-12).all()


def test_the_offset_is_the_banana():
    x = coordinates("banana", 100)
    plain, moved = (known_target(name).target.evaluate(x) for name in ("banana", "offset"))
    np.testing.assert_allclose(moved - 1e7, plain, atol=1e-8)


def test_the_same_object_each_time_and_a_named_error():
    assert known_target("ring") is known_target("ring")
    with pytest.raises(SettingError, match="four-modes, ring"):
        known_target("rings")
