"""Splines on the line and on the circle, mixed with other maps, and what holds them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bijection_cases import CIRCULAR, SPLINE, coupling, error, mixed, quick_jit
from posterion.bijections import (
    CircularSpline,
    MixedTransformer,
    RationalQuadraticSpline,
)
from posterion.bijections.elementwise import wrap
from posterion.core.errors import SettingError, ShapeError

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def textbook(x, raw, bins, interval, min_bin, min_slope):
    """Equations 4 and 5 of 1906.04032 at one point, in plain Python."""

    def sizes(values):
        e = np.exp(values - values.max())
        return (interval[1] - interval[0]) * (min_bin + (1 - bins * min_bin) * e / e.sum())

    limit = -np.log(min_slope)
    x_knots = interval[0] + np.concatenate([[0], np.cumsum(sizes(raw[:bins]))])
    y_knots = interval[0] + np.concatenate([[0], np.cumsum(sizes(raw[bins : 2 * bins]))])
    d = np.exp(limit * np.tanh(raw[2 * bins :] / limit))
    if x <= interval[0]:
        return interval[0] + (x - interval[0]) * d[0], np.log(d[0])
    if x >= interval[1]:
        return interval[1] + (x - interval[1]) * d[-1], np.log(d[-1])
    k = np.searchsorted(x_knots, x) - 1
    w, h = x_knots[k + 1] - x_knots[k], y_knots[k + 1] - y_knots[k]
    s, xi = h / w, (x - x_knots[k]) / w
    bottom = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
    y = y_knots[k] + h * (s * xi**2 + d[k] * xi * (1 - xi)) / bottom
    top = s**2 * (d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2)
    return y, np.log(top / bottom**2)


def raw_parameters(transformer, n, scale=1.0, seed=0):
    shape = transformer.parameter_shape(n)
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), float)


@pytest.mark.parametrize("bins", [1, 2, 8])
def test_spline_is_that_of_the_paper(bins):
    with jax.enable_x64(True):
        spline = RationalQuadraticSpline(bins, (-1.0, 2.5), 0.02, 0.01)
        x = jnp.asarray(np.random.default_rng(3).uniform(-3, 5, 40))
        raw = raw_parameters(spline, len(x), 2.0)
        y, log_slope = quick_jit(spline.forward)(x, raw)
        back, _ = quick_jit(spline.inverse)(y, raw)
        for i in range(len(x)):
            true = textbook(float(x[i]), np.asarray(raw[i]), bins, (-1.0, 2.5), 0.02, 0.01)
            np.testing.assert_allclose((y[i], log_slope[i]), true, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)


def knots_of(transformer, raw, interval):
    """Inner knots of one coordinate's spline, found as `textbook` does."""
    e = np.exp(np.asarray(raw[: transformer.bins], np.float64))
    share = transformer.min_bin + (1 - transformer.bins * transformer.min_bin) * e / e.sum()
    return interval[0] + (interval[1] - interval[0]) * np.cumsum(share)[:-1]


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["usual", "extreme"])
@pytest.mark.parametrize("spline", [SPLINE, CIRCULAR], ids=["line", "circle"])
def test_splines_at_the_knots_the_ends_and_far_outside(spline, scale, x64):
    """Values, slopes and all gradients are finite; the map increases; it is C1 at the knots."""
    with jax.enable_x64(x64):
        interval = (-np.pi, np.pi) if spline is CIRCULAR else spline.interval
        raw = raw_parameters(spline, 1, scale)
        knots = [*interval, *knots_of(spline, raw[0], interval)]
        far = [s * 10.0**p for s in (-1, 1) for p in (1, 5, 20, 30)]
        x = jnp.asarray([*knots, *np.nextafter(np.float32(knots), np.float32(9)), *far, 0.0], float)
        raw = jnp.broadcast_to(raw, (len(x), raw.shape[1]))
        for method in (spline.forward, spline.inverse):

            @quick_jit
            def all_gradients(x, raw, method=method):
                def total(x, raw):
                    y, log_slope = method(x, raw)
                    return jnp.sum(y), jnp.sum(log_slope)

                return method(x, raw), jax.jacrev(total, argnums=(0, 1))(x, raw)

            (y, log_slope), ((slope, bend), (by_raw, slope_by_raw)) = all_gradients(x, raw)
            for values in (y, log_slope, slope, bend, by_raw, slope_by_raw):
                assert jnp.all(jnp.isfinite(values))
            assert error(jnp.log(slope[: len(knots)]), log_slope[: len(knots)]) < 1e-3
            # A step of one float32 across a knot changes the slope little.
            after = log_slope[len(knots) : 2 * len(knots)]
            assert scale > 1 or jnp.max(jnp.abs(after - log_slope[: len(knots)])) < 1e-3


@pytest.mark.parametrize("spline", [SPLINE, CIRCULAR], ids=["line", "circle"])
def test_float32_splines_invert_at_extreme_slopes(spline):
    """The discriminant of the quadratic is a sum of squares: nothing cancels."""
    raw = raw_parameters(spline, 2000, 3.0).astype(jnp.float32)
    x = jnp.asarray(np.random.default_rng(1).uniform(-3, 3, 2000), jnp.float32)
    y, log_slope = quick_jit(spline.forward)(x, raw)
    back, inverse_log_slope = quick_jit(spline.inverse)(y, raw)
    # y carries a rounding error of 3e-7: worth 3e-7 / slope in x.
    assert jnp.max(jnp.abs(wrap(back - x)) * jnp.minimum(1, jnp.exp(log_slope))) < 3e-6
    steep = log_slope > -2
    assert jnp.median(jnp.abs(inverse_log_slope + log_slope)[steep]) < 1e-5


def test_circular_spline_lives_on_the_circle():
    with jax.enable_x64(True):
        raw = raw_parameters(CIRCULAR, 50)[:1].repeat(50, axis=0)
        angle = jnp.linspace(-jnp.pi, jnp.pi, 50, endpoint=False)
        for method in (CIRCULAR.forward, CIRCULAR.inverse):
            moved, log_slope = quick_jit(method)(angle, raw)
            again, again_log_slope = quick_jit(method)(angle + 4 * jnp.pi, raw)
            assert jnp.all((moved >= -jnp.pi) & (moved < jnp.pi))
            assert jnp.max(jnp.abs(wrap(moved - again))) < 1e-12
            assert error(log_slope, again_log_slope) < 1e-12
        # Once round: the density of the image of the uniform circle integrates to 1.
        fine = jnp.linspace(-jnp.pi, jnp.pi, 4000, endpoint=False)
        _, log_slope = quick_jit(CIRCULAR.inverse)(fine, raw[:1].repeat(4000, axis=0))
        assert abs(jnp.mean(jnp.exp(log_slope)) - 1) < 1e-6


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_wrapped_angles_never_reach_pi(x64):
    with jax.enable_x64(x64):
        just_below = np.nextafter(np.asarray(-np.pi, float), -4)
        angles = jnp.asarray([np.pi, -np.pi, just_below, 3 * np.pi, -1e-9, 1e30, -1e30, 7.0], float)
        wrapped, slope = jax.vmap(jax.value_and_grad(wrap))(angles)
        assert jnp.all((wrapped >= -jnp.pi) & (wrapped < jnp.pi)) and jnp.all(slope == 1)
        assert abs(wrapped[-1] - (7 - 2 * np.pi)) < 1e-6 and abs(wrapped[4] + 1e-9) < 1e-15


def test_mixed_transformer_is_its_parts():
    transformer = mixed(SPLINE)
    raw = raw_parameters(transformer, 3)
    x = jnp.array([0.3, -2.0, 1.7])
    whole = quick_jit(transformer.forward)(x, raw)
    split = 2 * (3 * SPLINE.bins + 1)
    lines = quick_jit(SPLINE.forward)(x[jnp.array([0, 2])], raw[:split].reshape(2, -1))
    circle = quick_jit(transformer.circular.forward)(x[1:2], raw[split:].reshape(1, -1))
    for values, real, angle in zip(whole, lines, circle, strict=True):
        assert jnp.allclose(values, jnp.array([real[0], angle[0], real[1]]), atol=1e-6)
    with pytest.raises(ShapeError, match="length 3, the event of 2"):
        coupling(transformer, mask=(1.0, 0.0))


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (RationalQuadraticSpline, {"bins": 0}),
        (RationalQuadraticSpline, {"bins": 10, "min_bin": 0.1}),
        (RationalQuadraticSpline, {"min_slope": 1.0}),
        (RationalQuadraticSpline, {"interval": (1.0, 1.0)}),
        (CircularSpline, {"min_bin": 0.0}),
        (MixedTransformer, {"periodic": (True,), "real": CIRCULAR, "circular": CIRCULAR}),
        (MixedTransformer, {"periodic": (True,), "real": SPLINE, "circular": SPLINE}),
    ],
)
def test_settings_that_make_no_map(make, arguments):
    with pytest.raises(SettingError):
        make(**arguments)
