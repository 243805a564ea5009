"""Densities of draws on grids, against the densities that the draws are from."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, vonmises

from posterion.core.columns import Column
from posterion.core.density import histogram, kernel_density, window
from posterion.core.errors import SettingError, ShapeError

N = 50_000
LINE = Column("x")
CIRCLE = Column("phi", lower=-np.pi, upper=np.pi, periodic=True)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def estimate(x, columns, weights=None):
    x = x.reshape(len(x), -1)
    windows = [window(y, weights, c) for y, c in zip(x.T, columns, strict=True)]
    return kernel_density(x, weights, windows)


def distance(density, exact):
    """The integral of the absolute difference."""
    return float(np.abs(density.values - exact).sum() * density.cell)


def grid(density):
    return np.stack(np.meshgrid(*density.axes, indexing="ij"), -1)


# A normal's best kernel estimate from 5e4 draws is off by 0.012; a histogram of 4096 cells by 0.2.


def test_normal(generator):
    density = estimate(generator.normal(3, 2, size=N), [LINE])
    assert distance(density, norm.pdf(density.axes[0], 3, 2)) < 0.03
    assert density.values.sum() * density.cell == pytest.approx(1, abs=1e-3)


def test_narrow_peaks_far_apart_are_not_smoothed_into_each_other(generator):
    """Silverman's rule would give 0.4 here: its kernel is as wide as the peaks."""
    sign = np.where(generator.random(N) < 0.7, 1, -1)
    density = estimate(5 * sign + 0.2 * generator.normal(size=N), [LINE])
    x = density.axes[0]
    assert distance(density, 0.7 * norm.pdf(x, 5, 0.2) + 0.3 * norm.pdf(x, -5, 0.2)) < 0.03


def test_a_density_that_stops_at_a_wall(generator):
    column = Column("x", lower=0.0)
    density = estimate(generator.exponential(size=N), [column])
    assert density.windows[0].lower == 0
    assert distance(density, np.exp(-density.axes[0])) < 0.03
    assert density.values[0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("middle", "kappa"), [(np.pi, 2.0), (3.0, 300.0), (-1.0, 1e-9)])
def test_circle(generator, middle, kappa):
    x = (generator.vonmises(middle, kappa, size=N) + np.pi) % (2 * np.pi) - np.pi
    density = estimate(x, [CIRCLE])
    assert distance(density, vonmises.pdf(density.axes[0], kappa, middle)) < 0.03
    assert (density.windows[0].period is None) == (kappa == 300)
    points = middle + np.array([-0.05, 0.0, 0.05])
    found = density.at(points)
    np.testing.assert_allclose(found, vonmises.pdf(points, kappa, middle), rtol=0.1)
    np.testing.assert_allclose(density.at(points + 2 * np.pi), found, rtol=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.95])
def test_two_dimensions(generator, correlation):
    covariance = [[1, correlation], [correlation, 1]]
    x = generator.multivariate_normal([0, 0], covariance, size=N)
    density = estimate(x * [1, 1e-3], [LINE, LINE])
    exact = 1e3 * multivariate_normal([0, 0], covariance).pdf(grid(density) * [1, 1e3])
    assert distance(density, exact) < 0.08
    levels = density.levels([0.5, 0.9])
    peak = 1e3 / (2 * np.pi * np.sqrt(1 - correlation**2))
    np.testing.assert_allclose(levels, peak * np.array([0.5, 0.1]), rtol=0.1)


def test_line_and_circle_together(generator):
    phi = (generator.vonmises(3.0, 1.0, size=N) + np.pi) % (2 * np.pi) - np.pi
    density = estimate(np.stack([phi, generator.normal(size=N)], 1), [CIRCLE, LINE])
    x, y = density.axes
    assert distance(density, vonmises.pdf(x, 1.0, 3.0)[:, None] * norm.pdf(y)) < 0.08


def test_weights_are_counted(generator):
    x = generator.uniform(-5, 5, size=N)
    weights = norm.pdf(x)
    density = estimate(x, [LINE], weights / weights.sum())
    assert distance(density, norm.pdf(density.axes[0])) < 0.05


def test_a_chain_that_stays_on_its_draws_is_smoothed_as_what_it_is_worth(generator):
    """Each of 2000 draws comes 50 times: as good as 2000, not rough as if 1e5 were independent."""
    x = generator.normal(size=(2000, 2))
    for d, columns in ((1, [LINE]), (2, [LINE, LINE])):
        once, often = estimate(x[:, :d], columns), estimate(np.repeat(x[:, :d], 50, 0), columns)
        np.testing.assert_allclose(often.values, once.values, atol=0.02 * once.values.max())


def test_histogram_counts_what_falls_in_each_cell():
    column = Column("x", lower=0.0, upper=4.0)
    x = np.array([0.0, 0.5, 1.5, 1.6, 3.9, 4.0])[:, None]
    shown = window(x[:, 0], None, column)
    assert (shown.lower, shown.upper) == (0.0, 4.0)
    found = histogram(x, None, [shown], 4)
    np.testing.assert_allclose(found.values, np.array([2, 2, 0, 2]) / 6)
    np.testing.assert_allclose(found.edges[0], [0, 1, 2, 3, 4])
    weighted = histogram(x, np.array([0, 0, 1, 0, 0, 0]), [shown], 4)
    np.testing.assert_allclose(weighted.values, [0, 1, 0, 0])


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-20, 1e12])
def test_draws_on_a_point_have_a_window_all_the_same(value):
    density = estimate(np.full((100, 2), value), [LINE, LINE])
    assert np.isfinite(density.values).all()
    assert density.values.sum() * density.cell == pytest.approx(1)


@pytest.mark.parametrize("n", [256, 64])
def test_perfectly_even_draws_are_flat(n):
    x = np.linspace(-np.pi, np.pi, n, endpoint=False) + np.pi / n
    one = estimate(np.tile(x, 16), [CIRCLE])
    two = estimate(np.stack(np.meshgrid(x, x), -1).reshape(-1, 2), [CIRCLE, CIRCLE])
    if n == 256:
        np.testing.assert_allclose(two.values, (2 * np.pi) ** -2, rtol=1e-6)
    for density in (one, two):
        assert density.values.sum() * density.cell == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_draws(generator, n):
    density = estimate(generator.normal(size=(n, 2)), [LINE, CIRCLE])
    assert np.isfinite(density.values).all()


def test_points_outside_have_no_density_and_wrong_shapes_are_named(generator):
    density = estimate(generator.normal(size=1000), [LINE])
    np.testing.assert_array_equal(density.at(np.array([-50.0, 50.0])), 0)
    with pytest.raises(ShapeError, match="for 1 dimensions"):
        density.at(np.zeros((3, 2)))
    with pytest.raises(SettingError, match="not 3"):
        estimate(np.zeros((5, 3)), [LINE] * 3)
    with pytest.raises(SettingError, match="at least one bin"):
        histogram(np.zeros((5, 1)), None, density.windows, 0)
