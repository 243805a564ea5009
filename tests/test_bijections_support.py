"""Maps to supports: exact reference measures, tails, bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bijection_cases import error, quick_jit
from posterion.bijections import SupportMap, apply_batch
from posterion.bijections.support import CLIPPED_WIDTHS, straightened, support_of
from posterion.core.errors import ShapeError

pytestmark = pytest.mark.usefixtures("strict_dtypes")

A, B = -1.5, 2.0
REFERENCES = {  # of the standard normal: a frozen distribution, and whether x falls as u rises
    "real": (stats.norm(A, B), False),
    "interval": (stats.uniform(A, B - A), False),
    "above": (stats.expon(A, B), False),
    "below": (stats.expon(A, B), True),
    "log": (stats.lognorm(s=B, scale=np.exp(A)), False),
}


def support(kind, a=A, b=B):
    return SupportMap((kind,), jnp.array([a], float), jnp.array([b], float))


def run(method, x):
    """One method of a one-dimensional map, at many points; any result squeezed."""
    out = quick_jit(lambda x: apply_batch(method, x))(jnp.asarray(x, float)[:, None])
    return [np.asarray(o).reshape(len(x)) for o in out]


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", REFERENCES)
def test_the_normal_becomes_the_reference(kind, x64):
    reference, falling = REFERENCES[kind]
    u = np.linspace(-6, 6, 49).astype(np.float32)
    tail = stats.norm.logcdf(-abs(u))
    with jax.enable_x64(x64):
        x, log_det = run(support(kind).forward_and_log_det, u)
        x = 2 * A - x if falling else x
        # Distances from the nearer end of the support keep their digits only in `x` itself.
        true_x = np.where(u < 0, reference.ppf(np.exp(tail)), reference.isf(np.exp(tail)))
        np.testing.assert_allclose(
            x, true_x, rtol=1e-12 if x64 else 3e-6, atol=1e-12 if x64 else 2e-6
        )
        true_log_det = stats.norm.logpdf(u) - reference.logpdf(true_x)
        np.testing.assert_allclose(log_det, true_log_det, rtol=0, atol=1e-9 if x64 else 1e-4)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", REFERENCES)
def test_the_score_is_that_of_the_reference_up_to_the_bounds(kind, x64):
    """Also where the last digits of ``x`` no longer tell ``u``: the slope is not inverted."""
    u = np.linspace(-9, 9, 37).astype(np.float32)
    with jax.enable_x64(x64):
        layer = support(kind)
        events = jnp.asarray(u, float)[:, None]
        out = quick_jit(lambda u: apply_batch(layer.forward_and_score, u, -u))(events)
        x, log_det, score = (np.asarray(value).reshape(-1) for value in out)
        true = {
            "real": -(x - A) / B**2,
            "interval": 0 * x,
            "above": -1 / B + 0 * x,
            "below": 1 / B + 0 * x,
            "log": -(1 + (A + B * u - A) / B**2) / np.exp(A + B * u),
        }[kind]
        # A difference of numbers of the size of u, over the slope.
        rounding = 50 * np.finfo(score.dtype).eps * (1 + abs(u)) * np.exp(-log_det)
        assert np.all(np.abs(score - true) <= rounding + 1e-4 * np.abs(true))


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["interval", "above", "below", "log", "exp_above", "exp_below"])
def test_inverse_at_and_beyond_the_bounds_is_finite(kind, x64):
    x = {"interval": [A, B, A - 1, B + 1], "log": [0.0, -1.0]}.get(kind, [A, A - 1, A + 1])
    with jax.enable_x64(x64):
        inverse = support(kind).inverse_and_log_det
        u, log_det = run(inverse, x)
        assert np.all(np.isfinite(u)) and np.all(np.isfinite(log_det))
        slopes = quick_jit(jax.vmap(jax.jacrev(inverse)))(jnp.asarray(x, float)[:, None])
        assert all(jnp.all(jnp.isfinite(slope)) for slope in slopes)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_interval_is_accurate_next_to_both_ends(x64):
    """The interval (-1, 0) has all its digits at its upper end, (0, 1) at its lower one."""
    distance = np.geomspace(1e-30, 0.4, 40)
    with jax.enable_x64(x64):
        distance = jnp.asarray(distance, float)
        for sign, a, b in ((1, 0.0, 1.0), (-1, -1.0, 0.0)):
            u, inverse_log_det = run(support("interval", a, b).inverse_and_log_det, sign * distance)
            true = sign * stats.norm.ppf(np.asarray(distance, np.float64))
            np.testing.assert_allclose(u, true, rtol=1e-13 if x64 else 2e-6)
            back, log_det = run(support("interval", a, b).forward_and_log_det, u)
            np.testing.assert_allclose(sign * back, distance, rtol=1e-11 if x64 else 3e-4)
            np.testing.assert_allclose(log_det, -inverse_log_det, rtol=1e-5)


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["above", "below"])
def test_half_lines_are_accurate_over_35_decades(kind, x64):
    distance = np.concatenate([np.geomspace(1e-30, 1e5, 141), np.linspace(0.9, 1.1, 21)])
    sign = 1 if kind == "above" else -1
    with jax.enable_x64(x64):
        distance = jnp.asarray(distance, float)
        layer = support(kind, 0.0, 1.0)
        u, inverse_log_det = run(layer.inverse_and_log_det, sign * distance)
        t = np.asarray(distance, np.float64)
        small, tolerance = t < 1, 1e-11 if x64 else 1e-5
        true = stats.norm.ppf(-np.expm1(-t[small]))
        np.testing.assert_allclose(u[small], true, rtol=tolerance, atol=1e-6)
        # SciPy has no inverse here: its forward function instead.
        true = -stats.norm.logcdf(-u[~small].astype(np.float64))
        np.testing.assert_allclose(true, t[~small], rtol=tolerance)
        back, log_det = run(layer.forward_and_log_det, u)
        np.testing.assert_allclose(sign * back, distance, rtol=1e-11 if x64 else 1e-4)
        np.testing.assert_allclose(log_det, -inverse_log_det, rtol=1e-6)


def test_slopes_of_the_inverse_are_exact_for_any_derivative():
    """The rules of differentiation are written by hand: against those of the forward map."""
    with jax.enable_x64(True):
        for kind in ("interval", "above"):
            layer = support(kind, 0.0, 1.0)

            def inverse(x, layer=layer):
                return layer.inverse_and_log_det(x[None])[0][0]

            def forward(u, layer=layer):
                return layer.forward_and_log_det(u[None])[0][0]

            def derivatives(f, x):
                first = jax.grad(f)
                return quick_jit(jax.vmap(lambda x: (f(x), first(x), jax.grad(first)(x))))(x)

            u = jnp.array([-3.0, -0.5, 0.0, 0.7, 3.0])
            x, d1, d2 = derivatives(forward, u)
            back, inverse_d1, inverse_d2 = derivatives(inverse, x)
            assert error(back, u) < 1e-12
            assert error(inverse_d1, 1 / d1) < 1e-10
            assert error(inverse_d2, -d2 / d1**3) < 1e-8


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_circle_is_half_open_and_turns(x64):
    with jax.enable_x64(x64):
        layer = support("circle", -180.0, 180.0)
        u = jnp.asarray([-np.pi, -1e-9, 0.0, np.pi, np.nextafter(np.float32(np.pi), 0), 9.0], float)
        x, _ = run(layer.forward_and_log_det, u)
        assert np.all((x >= -180) & (x < 180))
        np.testing.assert_allclose(x[[0, 2, 3]], [-180, 0, -180], atol=1e-4)
        np.testing.assert_allclose(x[5], np.degrees(9.0) - 360, rtol=1e-5)
        back, _ = run(layer.inverse_and_log_det, x)
        again, _ = run(layer.inverse_and_log_det, x + 360)
        assert np.all((back >= -np.pi) & (back < np.pi))
        np.testing.assert_allclose(np.cos(back), np.cos(u), atol=1e-5)
        np.testing.assert_allclose(np.cos(again), np.cos(u), atol=1e-5)


def test_what_is_clipped_bends_at_its_bounds_alone():
    layer = support("clipped")
    width = (B - A) / CLIPPED_WIDTHS
    with jax.enable_x64(True):
        inner = np.linspace(A + 12 * width, B - 12 * width, 9)
        x, log_slope = run(layer.forward_and_log_det, inner)
        np.testing.assert_allclose(x, inner, atol=1e-7)
        np.testing.assert_allclose(log_slope, 0, atol=1e-5)
        outer = np.array([A - 30 * width, A - width, A, B, B + width, B + 30 * width])
        x, log_slope = run(layer.forward_and_log_det, outer)
        depth = np.where(outer <= A, outer - A, B - outer) / width
        inside = width * np.log1p(np.exp(depth))
        np.testing.assert_allclose(x, np.where(outer <= A, A + inside, B - inside), rtol=1e-12)
        np.testing.assert_allclose(log_slope, -np.log1p(np.exp(-depth)), rtol=1e-9)
        back, minus = run(layer.inverse_and_log_det, x)
        np.testing.assert_allclose(back[1:-1], outer[1:-1], atol=1e-12)
        np.testing.assert_allclose(minus[1:-1], -log_slope[1:-1], rtol=1e-9)
        ends, _ = run(layer.inverse_and_log_det, [A, B])
        assert np.isfinite(ends).all()


def test_intervals_are_clipped_where_draws_are_nearly_normal():
    rng = np.random.default_rng(0)
    given = support_of([(-1.0, 5.0), (0.0, 1.0), (0.0, 1.0), (0.0, None)], [False] * 4)
    x = np.stack(
        [
            rng.normal(0.4, 0.3, 4000),
            rng.beta(1, 3, 4000),
            rng.uniform(size=4000),
            rng.exponential(size=4000),
        ],
        axis=1,
    )
    kinds = ("clipped", "interval", "interval", "above")
    assert straightened(given, x).kinds == kinds
    # By weights the second is normal in the middle of its interval.
    weights = stats.norm.pdf(x[:, 1], 0.5, 0.1) / stats.beta.pdf(x[:, 1], 1, 3)
    assert straightened(given, x, weights).kinds[1] == "clipped"


def test_kinds_must_be_known_and_as_many_as_coordinates():
    with pytest.raises(ShapeError, match="unknown kinds of support"):
        support("half")
    with pytest.raises(ShapeError, match="2 kinds, but a has"):
        SupportMap(("real", "real"), jnp.zeros(3), jnp.ones(3))


def test_many_runs_of_kinds_are_one_map_for_each_coordinate():
    """Few runs are cut as slices, many are gathered by kind: the values are the same."""
    kinds = ("real", "interval") * 10
    a, b = jnp.full(len(kinds), A), jnp.full(len(kinds), B)
    u = jax.random.normal(jax.random.key(0), (5, len(kinds)))
    x, log_det = apply_batch(SupportMap(kinds, a, b).forward_and_log_det, u)
    back, minus = apply_batch(SupportMap(kinds, a, b).inverse_and_log_det, x)
    total = np.zeros(5)
    for i, kind in enumerate(kinds):
        alone, part = run(support(kind).forward_and_log_det, u[:, i])
        np.testing.assert_allclose(x[:, i], alone, atol=1e-6)
        total += part
    np.testing.assert_allclose(log_det, total, rtol=1e-5)
    np.testing.assert_allclose(minus, -total, rtol=1e-4)
    np.testing.assert_allclose(back, u, atol=1e-4)
