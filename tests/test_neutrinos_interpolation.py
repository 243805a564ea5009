"""The splines of the tables against SciPy's, against finite differences, and beyond their edges."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.interpolate import CubicSpline

from posterion.core.errors import ShapeError
from posterion.studies.neutrinos.interpolation import Spline

RNG = np.random.default_rng(1)
UNEVEN = np.cumsum(RNG.uniform(0.2, 3.0, 15))
AXES = {
    "uniform": (np.linspace(-1.0, 2.0, 12), None),
    "uneven": (UNEVEN, None),
    "geometric": (np.geomspace(1e-3, 1e3, 30), None),
    "circle": (np.linspace(-180.0, 180.0, 13)[:-1], 360.0),
    "uneven circle": (UNEVEN, UNEVEN[-1] - UNEVEN[0] + 0.7),
    "few nodes": (np.array([0.0, 1.0, 1.5, 4.0]), None),
}


def inside(nodes, period, n):
    stop = nodes[-1] if period is None else nodes[0] + period
    return np.concatenate([RNG.uniform(nodes[0], stop, n), nodes])


def scipy_spline(nodes, period, values):
    if period is None:
        return CubicSpline(nodes, values, bc_type="natural")
    closed = np.concatenate([values, values[:1]])
    return CubicSpline(np.append(nodes, nodes[0] + period), closed, bc_type="periodic")


@pytest.mark.parametrize("axis", AXES)
def test_equals_scipy_along_one_axis(axis):
    nodes, period = AXES[axis]
    values = RNG.normal(size=len(nodes))
    spline = Spline.through([nodes], values, [period])
    reference = scipy_spline(nodes, period, values)
    x = inside(nodes, period, 300)
    value, (slope,) = spline.value_and_gradient(x)
    np.testing.assert_allclose(value, reference(x), atol=1e-10)
    scale = np.abs(reference(x, 1)).max()
    np.testing.assert_allclose(slope, reference(x, 1), atol=1e-10 * scale)
    np.testing.assert_allclose(spline.value(nodes), values, atol=1e-12)
    with jax.enable_x64(True):
        np.testing.assert_allclose(spline(jnp.asarray(x)), reference(x), atol=1e-10)


@pytest.fixture(scope="module")
def solid():
    nodes = [AXES["uniform"][0], UNEVEN, AXES["circle"][0]]
    values = RNG.normal(size=tuple(map(len, nodes)))
    return nodes, values, Spline.through(nodes, values, [None, None, 360.0])


@pytest.fixture(scope="module")
def points():
    return [
        inside(AXES["uniform"][0], None, 59),
        inside(UNEVEN, None, 56),
        RNG.uniform(-180, 180, 71),
    ]


def test_tensor_product_equals_splines_of_splines(solid, points):
    nodes, values, spline = solid
    for a, b, c in np.array(points).T[::10]:
        line = scipy_spline(nodes[2], 360.0, np.moveaxis(values, 2, 0))(c)
        line = scipy_spline(nodes[1], None, line.T)(b)
        assert spline.value(a, b, c) == pytest.approx(scipy_spline(nodes[0], None, line)(a))


def test_numpy_jax_and_grid_agree(solid, points):
    nodes, values, spline = solid
    value, gradient = spline.value_and_gradient(*points)
    with jax.enable_x64(True):
        x = [jnp.asarray(p) for p in points]
        np.testing.assert_allclose(spline(*x), value, atol=1e-11)
        found = jax.jit(jax.grad(lambda *x: spline(*x).sum(), argnums=(0, 1, 2)))(*x)
        for one, two in zip(found, gradient, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-10)
        single = jax.jit(jax.vmap(spline))(*x)
        np.testing.assert_allclose(single, value, atol=1e-11)
        square = spline(*(p[:70].reshape(7, 10) for p in x))
        np.testing.assert_allclose(square, value[:70].reshape(7, 10), atol=1e-11)
    grid = spline.on_grid(points[0][:5], points[1][:4], points[2][:3])
    every = np.meshgrid(points[0][:5], points[1][:4], points[2][:3], indexing="ij")
    np.testing.assert_allclose(grid, spline.value(*every), atol=1e-11)
    np.testing.assert_allclose(spline.on_grid(*nodes), values, atol=1e-11)


def test_gradients_of_both_orders(solid, points):
    _, _, spline = solid
    h = 1e-5
    with jax.enable_x64(True):
        x = tuple(jnp.asarray(p[:20]) for p in points)
        check_grads(jax.jit(spline), x, order=1, modes=("fwd", "rev"), rtol=1e-5, eps=1e-5)
        hessian = jax.jit(jax.vmap(jax.hessian(lambda v: spline(*v))))(jnp.stack(x, axis=1))
    for k in range(3):
        ahead, behind = (
            spline.value_and_gradient(*(p[:20] + s * h * (j == k) for j, p in enumerate(points)))[1]
            for s in (1, -1)
        )
        wanted = (np.stack(ahead, 1) - np.stack(behind, 1)) / (2 * h)
        np.testing.assert_allclose(hessian[:, k], wanted, atol=1e-4)


def test_single_precision_follows_the_input(solid, points, strict_dtypes):
    _, _, spline = solid
    value = spline.value(*points)
    x = [jnp.asarray(p, dtype=jnp.float32) for p in points]
    assert spline(*x).dtype == jnp.float32
    np.testing.assert_allclose(spline(*x), value, atol=2e-4)
    with jax.enable_x64(True):
        assert spline(*x).dtype == jnp.float32
        assert spline(*(p.astype(jnp.float64) for p in x)).dtype == jnp.float64


def test_error_falls_with_the_fourth_power_of_the_step():
    def error(n):
        nodes = np.linspace(0.0, 2 * np.pi, n + 1)[:-1]
        spline = Spline.through([nodes], np.exp(np.sin(nodes)), [2 * np.pi])
        x = np.linspace(0, 7, 999)
        return np.abs(spline.value(x) - np.exp(np.sin(x))).max()

    rates = np.log2([error(n) / error(2 * n) for n in (20, 40, 80)])
    assert (rates > 3.8).all() and (rates < 4.5).all()


def test_a_circle_has_no_seam():
    nodes, period = AXES["uneven circle"]
    spline = Spline.through([nodes], RNG.normal(size=len(nodes)), [period])
    x = np.array([nodes[0] - 1e-9, nodes[0] + 1e-9])
    for turns in (-3, 0, 5):
        value, (slope,) = spline.value_and_gradient(x + turns * period)
        np.testing.assert_allclose(value, spline.value(x)[0], atol=1e-7)
        np.testing.assert_allclose(slope[0], slope[1], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_beyond_an_edge_it_is_continuous_and_points_back(solid, dtype):
    _, _, spline = solid
    low, high = UNEVEN[0], UNEVEN[-1]
    far = np.array([1e-6, 0.1, 1.0, 1e3, 1e12])
    x = np.concatenate([low - far, high + far]).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        f = lambda b: spline(jnp.full_like(b, 0.3), b, jnp.full_like(b, 10.0))  # noqa: E731
        slope = jax.jit(jax.grad(lambda b: f(b).sum()))(jnp.asarray(x))
        value = f(jnp.asarray(x))
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    away = x.astype(np.float64)
    beyond = (away < low) | (away > high)
    assert beyond.sum() >= 8
    if dtype is np.float64:
        probe, h = np.array([low - 2.0, high + 0.5]), 1e-6
        found = spline.value_and_gradient(0.3, probe, 10.0)[1]
        for k in range(3):
            at = [[0.3, probe, 10.0], [0.3, probe, 10.0]]
            at[0][k], at[1][k] = at[0][k] - h, at[1][k] + h
            wanted = (spline.value(*at[1]) - spline.value(*at[0])) / (2 * h)
            np.testing.assert_allclose(found[k], wanted, rtol=1e-5, atol=1e-6)
    assert (np.sign(slope)[beyond] == np.sign(away - UNEVEN.mean())[beyond]).all()
    edge = spline.value(0.3, np.array([low, high]), 10.0)
    np.testing.assert_allclose(np.asarray(value)[[0, 5]], edge, atol=1e-3)
    d = 0.1 / (high - low)
    steepness = np.ptp(solid[1])
    np.testing.assert_allclose(value[1], edge[0] + steepness * (d + d * d), rtol=1e-4)


def test_nan_stays_nan(solid):
    _, _, spline = solid
    assert np.isnan(spline.value(np.nan, 3.0, 0.0))
    assert np.isnan(spline(jnp.float32(np.nan), jnp.float32(3.0), jnp.float32(0.0)))
    assert spline.value(np.inf, 3.0, 0.0) == np.inf


def test_it_travels_to_a_worker_after_it_was_traced(solid, points):
    _, _, spline = solid
    spline(*(jnp.asarray(p) for p in points))
    again = pickle.loads(pickle.dumps(spline))  # noqa: S301
    np.testing.assert_array_equal(again.value(*points), spline.value(*points))


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match="at least 4 ascending nodes"):
        Spline.through([np.array([0.0, 1.0, 2.0])], np.zeros(3))
    with pytest.raises(ShapeError, match="at least 4 ascending nodes"):
        Spline.through([np.array([0.0, 2.0, 1.0, 3.0])], np.zeros(4))
    with pytest.raises(ShapeError, match=r"\(5,\) do not fit axes of \(4,\)"):
        Spline.through([np.arange(4.0)], np.zeros(5))
    with pytest.raises(ShapeError, match="must not repeat after 3"):
        Spline.through([np.arange(4.0)], np.zeros(4), [3.0])
    with pytest.raises(ShapeError, match="axis 0 lie outside"):
        Spline.through([np.arange(4.0)], np.zeros(4)).on_grid(np.array([3.5]))
