"""Piecewise linear and quadratic maps: the integral of their density, knots, ends and seam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bijection_cases import coupling, error, quick_jit
from posterion.bijections import (
    CircularPiecewiseLinear,
    CircularPiecewiseQuadratic,
    MixedTransformer,
    PiecewiseLinear,
    PiecewiseQuadratic,
)
from posterion.bijections.elementwise import wrap
from posterion.core.errors import SettingError

pytestmark = pytest.mark.usefixtures("strict_dtypes")

LINES = (PiecewiseLinear(bins=4), PiecewiseQuadratic(bins=4))
CIRCLES = (CircularPiecewiseLinear(bins=4), CircularPiecewiseQuadratic(bins=4))


def name_of(value):
    return type(value).__name__


def raw_parameters(transformer, n, scale=1.0, seed=0):
    shape = transformer.parameter_shape(n)
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), float)


def shares(raw, smallest):
    e = np.exp(raw - raw.max())
    return smallest + (1 - len(raw) * smallest) * e / e.sum()


def density_of(transformer, raw):
    """Knots in [0, 1] and the density there: right of each knot, and left of it."""
    raw, bins = np.asarray(raw, np.float64), transformer.bins
    if isinstance(transformer, PiecewiseLinear | CircularPiecewiseLinear):
        heights = bins * shares(raw[:bins], transformer.min_bin)
        return np.linspace(0, 1, bins + 1), heights, heights
    knots = np.concatenate([[0], np.cumsum(shares(raw[:bins], transformer.min_bin))])
    slopes = np.exp(raw[bins : 2 * bins + 1])
    if isinstance(transformer, CircularPiecewiseQuadratic):
        slopes[-1] = slopes[0]
    slopes /= np.trapezoid(slopes, knots)
    slopes = transformer.min_slope + (1 - transformer.min_slope) * slopes
    return knots, slopes[:-1], slopes[1:]


def integral_of(transformer, raw, t):
    """The integral of the density from 0 to ``t``, bin by bin, and the density at ``t``."""
    knots, first, last = density_of(transformer, raw)
    total, value = 0.0, first[0]
    for k in range(transformer.bins):
        end = min(t, knots[k + 1])
        if end > knots[k]:
            value = np.interp(end, knots[k : k + 2], [first[k], last[k]])
            total += (end - knots[k]) * (first[k] + value) / 2
    return total, value


@pytest.mark.parametrize("bins", [1, 2, 8])
@pytest.mark.parametrize("kind", [PiecewiseLinear, PiecewiseQuadratic])
def test_the_map_is_the_integral_of_its_density(kind, bins):
    with jax.enable_x64(True):
        lower, upper = -1.0, 2.5
        transformer = kind(bins, (lower, upper), 0.02)
        x = jnp.asarray(np.random.default_rng(3).uniform(lower, upper, 40))
        raw = raw_parameters(transformer, len(x), 2.0)
        y, log_slope = quick_jit(transformer.forward)(x, raw)
        back, inverse_log_slope = quick_jit(transformer.inverse)(y, raw)
        for i in range(len(x)):
            t = (float(x[i]) - lower) / (upper - lower)
            total, value = integral_of(transformer, raw[i], t)
            true = lower + (upper - lower) * total, np.log(value)
            np.testing.assert_allclose((y[i], log_slope[i]), true, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(inverse_log_slope, -log_slope, rtol=1e-11, atol=1e-11)


def both_sides(x):
    return np.concatenate([x - 1e-12, x, x + 1e-12])


@pytest.mark.parametrize("transformer", LINES, ids=name_of)
def test_knots_and_ends(transformer):
    """Values at the knots; from left and right, slopes agree where the map is C1."""
    with jax.enable_x64(True):
        raw = raw_parameters(transformer, 1)
        knots, first, last = density_of(transformer, raw[0])
        heights = np.diff(knots) * (first + last) / 2
        ends = -4 + 8 * np.concatenate([[0], np.cumsum(heights)])
        x = jnp.asarray(both_sides(-4 + 8 * knots))
        rows = jnp.broadcast_to(raw, (len(x), raw.shape[1]))
        y, log_slope = quick_jit(transformer.forward)(x, rows)
        assert jnp.max(jnp.abs(y.reshape(3, -1) - ends)) < 1e-11
        left, at, right = jnp.exp(log_slope).reshape(3, -1)
        tail = transformer is LINES[0]
        before = [1.0 if tail else first[0], *last]
        after = [*first, 1.0 if tail else last[-1]]
        for found, true in ((left, before), (right, after)):
            np.testing.assert_allclose(found, true, rtol=1e-10)
        # At the ends themselves, the slope of the bin.
        np.testing.assert_allclose((at[0], at[-1]), (first[0], last[-1]), rtol=1e-10)
        # The same knots, from the other side.
        back, _ = quick_jit(transformer.inverse)(jnp.asarray(ends), rows[:5])
        np.testing.assert_allclose(back, -4 + 8 * knots, atol=1e-13)


@pytest.mark.parametrize("transformer", LINES, ids=name_of)
def test_far_outside_it_is_a_straight_line(transformer):
    raw = raw_parameters(transformer, 1).astype(jnp.float32)
    _, first, last = density_of(transformer, raw[0])
    slopes = (1.0, 1.0) if transformer is LINES[0] else (first[0], last[-1])
    for side, slope in zip((-1, 1), slopes, strict=True):
        x = jnp.asarray([side * 5.0, side * 1e4, side * 1e30], jnp.float32)
        rows = jnp.broadcast_to(raw, (3, raw.shape[1]))
        y, log_slope = quick_jit(transformer.forward)(x, rows)
        np.testing.assert_allclose(y, side * 4 + (np.asarray(x) - side * 4) * slope, rtol=1e-5)
        np.testing.assert_allclose(log_slope, np.log(slope), atol=1e-5)
        back, _ = quick_jit(transformer.inverse)(y, rows)
        np.testing.assert_allclose(back, x, rtol=1e-5)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 40.0], ids=["usual", "extreme"])
@pytest.mark.parametrize("transformer", [*LINES, *CIRCLES], ids=name_of)
def test_gradients_are_finite_everywhere(transformer, scale, x64):
    """At the knots, one step beside them, at the ends and out to 1e30; in both directions."""
    with jax.enable_x64(x64):
        raw = raw_parameters(transformer, 1, scale)
        lower, upper = getattr(transformer, "interval", (-np.pi, np.pi))
        knots = lower + (upper - lower) * density_of(transformer, raw[0])[0]
        beside = [np.nextafter(np.float32(knots), np.float32(s)) for s in (-9, 9)]
        far = [s * 10.0**p for s in (-1, 1) for p in (1, 5, 20, 30)]
        x = jnp.asarray([*knots, *beside[0], *beside[1], *far, 0.0], float)
        raw = jnp.broadcast_to(raw, (len(x), raw.shape[1]))
        for method in (transformer.forward, transformer.inverse):

            @quick_jit
            def all_gradients(x, raw, method=method):
                def total(x, raw):
                    y, log_slope = method(x, raw)
                    return jnp.sum(y), jnp.sum(log_slope)

                return method(x, raw), jax.jacrev(total, argnums=(0, 1))(x, raw)

            (y, log_slope), ((slope, bend), (by_raw, slope_by_raw)) = all_gradients(x, raw)
            for values in (y, log_slope, slope, bend, by_raw, slope_by_raw):
                assert jnp.all(jnp.isfinite(values))
            assert error(jnp.log(slope), log_slope) < 1e-3


@pytest.mark.parametrize("transformer", [*LINES, *CIRCLES], ids=name_of)
def test_float32_inverts_at_extreme_slopes(transformer):
    raw = raw_parameters(transformer, 4000, 6.0).astype(jnp.float32)
    x = jnp.asarray(np.random.default_rng(1).uniform(-3, 3, 4000), jnp.float32)
    y, log_slope = quick_jit(transformer.forward)(x, raw)
    back, inverse_log_slope = quick_jit(transformer.inverse)(y, raw)
    assert jnp.min(log_slope) < -4.5 and jnp.max(log_slope) > 1.3
    # y carries a rounding error of 3e-7: worth 3e-7 / slope in x.
    gap = wrap(back - x) if transformer in CIRCLES else back - x
    assert jnp.max(jnp.abs(gap) * jnp.minimum(1, jnp.exp(log_slope))) < 3e-6
    steep = log_slope > -2
    assert jnp.median(jnp.abs(inverse_log_slope + log_slope)[steep]) < 1e-5


@pytest.mark.parametrize("transformer", CIRCLES, ids=name_of)
def test_circular_maps_are_rotated_integrals(transformer):
    with jax.enable_x64(True):
        angle = jnp.asarray(np.random.default_rng(5).uniform(-np.pi, np.pi, 30))
        raw = raw_parameters(transformer, len(angle))
        y, log_slope = quick_jit(transformer.forward)(angle, raw)
        again, _ = quick_jit(transformer.forward)(angle + 4 * jnp.pi, raw)
        back, _ = quick_jit(transformer.inverse)(y - 2 * jnp.pi, raw)
        for i in range(len(angle)):
            t = (float(angle[i]) + np.pi) / (2 * np.pi)
            total, value = integral_of(transformer, raw[i], t)
            moved = 2 * np.pi * total - np.pi + float(raw[i, -1])
            assert abs(np.exp(1j * float(y[i])) - np.exp(1j * moved)) < 1e-12
            assert abs(float(log_slope[i]) - np.log(value)) < 1e-12
        for values in (y, again, back):
            assert jnp.all((values >= -jnp.pi) & (values < jnp.pi))
        assert jnp.max(jnp.abs(wrap(again - y))) < 1e-12
        assert jnp.max(jnp.abs(wrap(back - angle))) < 1e-12


@pytest.mark.parametrize("transformer", CIRCLES, ids=name_of)
def test_no_seam_on_the_circle(transformer):
    """Across the cut at pi the map is continuous, and the quadratic one C1."""
    with jax.enable_x64(True):
        step = 1e-9
        angle = jnp.asarray([np.pi - step, -np.pi, -np.pi + step])
        raw = jnp.broadcast_to(
            raw_parameters(transformer, 1), (3, transformer.parameter_shape(1)[1])
        )
        y, log_slope = quick_jit(transformer.forward)(angle, raw)
        assert jnp.max(jnp.abs(wrap(y - y[1]))) < 1e-7
        jump = jnp.max(jnp.abs(log_slope - log_slope[1]))
        assert (jump < 1e-7) == (transformer is CIRCLES[1])
        back, _ = quick_jit(transformer.inverse)(y, raw)
        assert jnp.max(jnp.abs(wrap(back - angle))) < 1e-13
        # Once round: the density of the image of the uniform circle integrates to 1.
        fine = jnp.linspace(-jnp.pi, jnp.pi, 20_000, endpoint=False)
        _, log_slope = quick_jit(transformer.inverse)(fine, jnp.tile(raw[:1], (len(fine), 1)))
        assert abs(jnp.mean(jnp.exp(log_slope)) - 1) < 1e-3


def test_lines_and_circles_mix():
    mixed = MixedTransformer((False, True), LINES[1], CIRCLES[1])
    assert coupling(mixed, mask=(1.0, 0.0)).periodic == (False, True)
    with pytest.raises(SettingError, match="circles"):
        MixedTransformer((False, True), LINES[1], LINES[1])


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (PiecewiseLinear, {"bins": 0}, "bins >= 1"),
        (PiecewiseLinear, {"bins": 10, "min_bin": 0.1}, "min_bin"),
        (PiecewiseLinear, {"interval": (1.0, 1.0)}, "empty"),
        (PiecewiseQuadratic, {"min_slope": 1.0}, "min_slope"),
        (PiecewiseQuadratic, {"interval": (2.0, 1.0)}, "empty"),
        (CircularPiecewiseLinear, {"min_bin": 0.0}, "min_bin"),
        (CircularPiecewiseQuadratic, {"min_slope": 0.0}, "min_slope"),
    ],
)
def test_settings_that_make_no_map(make, arguments, message):
    with pytest.raises(SettingError, match=message):
        make(**arguments)
