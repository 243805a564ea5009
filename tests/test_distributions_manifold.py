"""Flows on surfaces: exact densities on known ones, projections, and that they can be learned.

Statistical tests have fixed seeds and a false-alarm rate of 1e-4 each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from bijection_cases import SPLINE, at, coupling, error, perturbed, quick_jit
from posterion.bijections import AffineTransformer, Bijection, Linear, Stack, apply_batch
from posterion.core.errors import ShapeError
from posterion.core.registry import from_tree, to_tree
from posterion.distributions import (
    Distribution,
    Flow,
    ManifoldFlow,
    Normal,
    VonMises,
    projected,
    projected_log_probs,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FALSE_ALARM = 1e-4
RADIUS = 3.0


class Paraboloid(Bijection):
    """``(a, b, a^2 + b^2)`` and heights above it."""

    event_shape: tuple[int, ...] = eqx.field(static=True, default=(3,))
    context_shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def forward_and_log_det(self, z, context=None):
        return z.at[2].add(z[0] ** 2 + z[1] ** 2), jnp.zeros((), z.dtype)

    def inverse_and_log_det(self, x, context=None):
        return x.at[2].add(-(x[0] ** 2) - x[1] ** 2), jnp.zeros((), x.dtype)


class Curve(Bijection):
    """``(u^2, sin u, u)`` and offsets of its first two coordinates."""

    event_shape: tuple[int, ...] = eqx.field(static=True, default=(3,))
    context_shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def forward_and_log_det(self, z, context=None):
        x = jnp.stack([z[1] + z[0] ** 2, z[2] + jnp.sin(z[0]), z[0]])
        return x, jnp.zeros((), z.dtype)

    def inverse_and_log_det(self, x, context=None):
        z = jnp.stack([x[2], x[0] - x[2] ** 2, x[1] - jnp.sin(x[2])])
        return z, jnp.zeros((), x.dtype)


class Polar(Bijection):
    """Angle and logarithm of the radius, from that of the circle."""

    event_shape: tuple[int, ...] = eqx.field(static=True, default=(2,))
    context_shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def forward_and_log_det(self, z, context=None):
        r = RADIUS * jnp.exp(z[1])
        return jnp.stack([r * jnp.cos(z[0]), r * jnp.sin(z[0])]), 2 * jnp.log(r)

    def inverse_and_log_det(self, x, context=None):
        r = jnp.hypot(x[0], x[1])
        return jnp.stack([jnp.arctan2(x[1], x[0]), jnp.log(r / RADIUS)]), -2 * jnp.log(r)


@dataclass(frozen=True)
class Surface:
    """A flow on a known surface; what is known of it is written without the flow."""

    chart: Bijection
    density: Callable[[], Distribution]
    patches: Callable  # coordinates u (m, n) of small patches, and the area of each
    point: Callable  # u (m, n) to x (m, dim)
    log_density: Callable  # of u, per area
    marginal: Callable  # of one coordinate of a draw, its exact distribution function


def paraboloid_patches():
    r = 9 * (np.arange(600) + 0.5) / 600
    angle = 2 * np.pi * np.arange(64) / 64
    u = np.stack(
        [np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))],
        axis=-1,
    ).reshape(-1, 2)
    area = r * np.sqrt(1 + 4 * r**2) * (9 / 600) * (2 * np.pi / 64)
    return u, np.repeat(area, 64)


def curve_patches():
    u = np.linspace(-9, 9, 2000)[:, None]
    return u, (np.sqrt(1 + 4 * u**2 + np.cos(u) ** 2) * (u[1] - u[0]))[:, 0]


def circle_patches():
    angle = np.linspace(-np.pi, np.pi, 400, endpoint=False)[:, None]
    return angle, np.full(400, RADIUS * 2 * np.pi / 400)


SURFACES = {
    "paraboloid": Surface(
        Paraboloid(),
        lambda: Normal(2),
        paraboloid_patches,
        lambda u: np.stack([u[:, 0], u[:, 1], np.sum(u**2, axis=1)], axis=1),
        lambda u: stats.norm.logpdf(u).sum(axis=1) - 0.5 * np.log(1 + 4 * np.sum(u**2, axis=1)),
        stats.norm.cdf,
    ),
    "curve": Surface(
        Curve(),
        lambda: Normal(1),
        curve_patches,
        lambda u: np.concatenate([u**2, np.sin(u), u], axis=1),
        lambda u: (stats.norm.logpdf(u) - 0.5 * np.log(1 + 4 * u**2 + np.cos(u) ** 2))[:, 0],
        stats.norm.cdf,
    ),
    "circle": Surface(
        Polar(),
        lambda: VonMises(jnp.array([1.5])),
        circle_patches,
        lambda u: RADIUS * np.concatenate([np.cos(u), np.sin(u)], axis=1),
        lambda u: stats.vonmises(1.5).logpdf(u)[:, 0] - np.log(RADIUS),
        stats.vonmises(1.5).cdf,
    ),
}


def build(surface):
    return ManifoldFlow(surface.chart, surface.density())


def values(flow, x, context=None):
    return [
        apply_batch(method, x, context=context)
        for method in (flow.log_prob, flow.project, flow.distance)
    ]


evaluate = quick_jit(values)


def reconstruction_loss(flow, x, context=None):
    return jnp.mean(jnp.sum((x - projected(flow, x, context)) ** 2, axis=1))


def projected_loss(flow, x, context=None):
    return -jnp.mean(projected_log_probs(flow, x, context))


@pytest.mark.parametrize("name", SURFACES)
def test_density_on_the_surface_is_exact_and_integrates_to_one(name):
    surface = SURFACES[name]
    u, area = surface.patches()
    with jax.enable_x64(True):
        log_p, (near, coordinates), _ = evaluate(build(surface), jnp.asarray(surface.point(u)))
    np.testing.assert_allclose(log_p, surface.log_density(u), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(near, surface.point(u), atol=1e-12, rtol=1e-12)
    np.testing.assert_allclose(coordinates, u, atol=1e-12)
    assert np.sum(np.exp(log_p) * area) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("name", SURFACES)
def test_draws_lie_on_the_surface_and_follow_the_density(name):
    surface = SURFACES[name]
    flow = build(surface)

    @quick_jit
    def draw(key):
        return flow.sample_and_log_prob(key, (2, 3000)), flow.sample(key, (2, 3000))

    (x, log_p), same = draw(jax.random.key(5))
    np.testing.assert_allclose(same, x, rtol=1e-5, atol=1e-5)
    x, log_p = np.asarray(x).reshape(6000, -1), np.asarray(log_p).reshape(-1)
    again, (_, u), distance = evaluate(flow, jnp.asarray(x))
    u = np.asarray(u, np.float64)
    np.testing.assert_allclose(x, surface.point(u), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_p, surface.log_density(u), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again, log_p, rtol=1e-4, atol=1e-4)
    assert np.max(distance) < 1e-5
    for column in u.T:
        assert stats.kstest(column, surface.marginal).pvalue > FALSE_ALARM


def test_a_point_off_the_surface_has_the_density_of_its_projection():
    u, rng = np.array([[0.3, -1.0], [1.2, 0.4]]), np.random.default_rng(0)
    on = SURFACES["paraboloid"].point(u)
    height = rng.normal(size=2)
    with jax.enable_x64(True):
        flow = build(SURFACES["paraboloid"])
        off = jnp.asarray(on + height[:, None] * np.array([0, 0, 1]))
        log_p, (near, coordinates), distance = evaluate(flow, off)
        loss = reconstruction_loss(flow, off)
        np.testing.assert_allclose(flow.embed(jnp.asarray(u[0])), on[0], rtol=1e-12)
    np.testing.assert_allclose(log_p, SURFACES["paraboloid"].log_density(u), rtol=1e-12)
    np.testing.assert_allclose(near, on, rtol=1e-12)
    np.testing.assert_allclose(coordinates, u, rtol=1e-12)
    np.testing.assert_allclose(distance, abs(height), rtol=1e-12)
    assert loss == pytest.approx(np.mean(height**2), rel=1e-12)


def test_a_surface_that_fills_the_space_is_a_flow():
    with jax.enable_x64(True):
        chart = perturbed(Linear(3))
        x = jnp.asarray(np.random.default_rng(1).normal(size=(10, 3)))
        log_p, _, distance = evaluate(ManifoldFlow(chart, Normal(3)), x)
        truth = apply_batch(Flow(Normal(3), chart).log_prob, x)
        assert error(log_p, truth) < 1e-12 and jnp.max(distance) < 1e-12


def test_a_thin_surface_keeps_its_digits_in_float32():
    """``J^T J`` would be singular: its condition number is 1e10."""
    stretch = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0 + 1e-5, 0.0], [0.0, 0.0, 1.0]])
    chart = Linear(3)
    chart = eqx.tree_at(
        lambda chart: (chart.lower, chart.upper, chart.log_diagonal),
        chart,
        (
            jnp.zeros((3, 3)).at[1, 0].set(1.0),
            jnp.zeros((3, 3)).at[0, 1].set(1.0),
            jnp.log(jnp.array([1.0, stretch[1, 1] - 1.0, 1.0])),
        ),
    )
    flow = ManifoldFlow(chart, Normal(2))
    log_p, _, _ = evaluate(flow, flow.embed(jnp.array([0.5, -0.2]))[None])
    with jax.enable_x64(True):
        sides = np.asarray(stretch, np.float64)[:, :2]
        truth = (
            stats.norm.logpdf([0.5, -0.2]).sum()
            - np.log(np.linalg.svd(sides, compute_uv=False)).sum()
        )
    assert float(log_p[0]) == pytest.approx(truth, abs=0.1)


# ---------------------------------------------------------------------------- context and storage


def layers(dim, context=0, scale=0.3):
    masks = [np.arange(dim) % 2 == i for i in (0, 1)]
    each = [
        coupling(AffineTransformer(1.0), context, mask * 1.0, i) for i, mask in enumerate(masks)
    ]
    return Stack.of([perturbed(layer, scale, seed=i) for i, layer in enumerate(each)])


@pytest.mark.parametrize(("of_chart", "of_density"), [(2, 0), (0, 2), (2, 2)])
def test_context_reaches_the_parts_that_have_one(of_chart, of_density):
    @quick_jit
    def run(flow, x, rows):
        first, second = rows[0] if of_chart else None, rows[0] if of_density else None

        def embed(u):
            return flow.chart.forward_and_log_det(jnp.append(u, 0.0), first)[0]

        log_p, (near, u), distance = values(flow, x, rows)
        jacobian = jax.jacrev(embed)(u[0])
        volume = 0.5 * jnp.linalg.slogdet(jacobian.T @ jacobian)[1]
        inside = apply_batch(flow.density.log_prob, u, context=rows if of_density else None)
        draws, log_p_too = flow.sample_and_log_prob(jax.random.key(0), (2, 3), rows[0])
        again = values(flow, draws[1], rows[0])[0]
        return {
            "log_prob": error(log_p[0], flow.density.log_prob(u[0], second) - volume),
            "projection": error(near[0], embed(u[0])),
            "reconstruction": error(reconstruction_loss(flow, x, rows), jnp.mean(distance**2)),
            "projected": error(projected_loss(flow, x, rows), -jnp.mean(inside)),
            "draws": error(flow.sample(jax.random.key(0), (2, 3), rows[0]), draws),
            "their log_prob": error(again, log_p_too[1]),
        }

    with jax.enable_x64(True):
        chart, density = layers(3, of_chart), Flow(Normal(2), layers(2, of_density, 0.2))
        flow = ManifoldFlow(*at(jnp.float64, (chart, density)))
        rng = np.random.default_rng(2)
        errors = run(
            flow, jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.normal(size=(4, 2)))
        )
        assert {k: float(v) for k, v in errors.items() if not float(v) < 1e-10} == {}
        assert flow.context_shape == (2,)


def test_stored_and_rebuilt_it_is_the_same():
    flow, arrays = ManifoldFlow(layers(3, 2), Normal(2)), {}
    again = from_tree(to_tree(flow, arrays), arrays)
    assert jax.tree.structure(again) == jax.tree.structure(flow)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(flow), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_parts_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"events \(4,\) does not fit a chart of \(3,\)"):
        ManifoldFlow(Linear(3), Normal(4))
    with pytest.raises(ShapeError, match="contexts of different shapes"):
        ManifoldFlow(layers(3, 2), Flow(Normal(2), layers(2, 1)))


# --------------------------------------------------------------------------------------- learning


def test_each_phase_has_its_own_gradient():
    flow = ManifoldFlow(layers(3), Flow(Normal(2), layers(2)))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(8, 3)), jnp.float32)

    def moves(tree):
        return [bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(tree.conditioner)]

    @quick_jit
    def gradients(flow, x):
        parts = [eqx.filter_grad(loss)(flow, x) for loss in (reconstruction_loss, projected_loss)]
        on = flow.embed(jnp.ones(2))
        return parts, flow.score(x[0]), jax.grad(flow.distance)(on)

    (first, second), score, slope = gradients(flow, x)
    assert all(moves(first.chart.layers)) and not any(moves(first.density.bijection.layers))
    assert all(moves(second.density.bijection.layers)) and not any(moves(second.chart.layers))
    assert jnp.all(jnp.isfinite(score)) and jnp.all(jnp.isfinite(slope))


def descend(loss, flow, x, steps, rate):
    """``flow`` after some steps of Adam, and the losses on the way."""
    adam = optax.adam(rate)
    parameters, rest = eqx.partition(flow, eqx.is_inexact_array)

    @quick_jit
    def run(parameters, x):
        def step(carry, _):
            parameters, state = carry
            value, slope = jax.value_and_grad(lambda p: loss(eqx.combine(p, rest), x))(parameters)
            moved, state = adam.update(slope, state)
            return (optax.apply_updates(parameters, moved), state), value

        return jax.lax.scan(step, (parameters, adam.init(parameters)), length=steps)

    with jax.numpy_dtype_promotion("standard"):  # Optax mixes its counter with numbers
        (parameters, _), losses = run(parameters, x)
    return eqx.combine(parameters, rest), losses


def test_a_parabola_is_learned_in_two_phases():
    """The surface first, then the density on it: both against what is known of them."""
    u = 0.7 * np.random.default_rng(4).normal(size=(400, 1))
    x = np.concatenate([u, u**2 - 0.5], axis=1)
    truth = stats.norm(0, 0.7).logpdf(u)[:, 0] - 0.5 * np.log(1 + 4 * u[:, 0] ** 2)
    parts = [coupling(AffineTransformer(1.0), mask=m, seed=i) for i, m in enumerate(np.eye(2))]
    inside = Flow(Normal(1), coupling(SPLINE, mask=(0.0,)))
    flow = ManifoldFlow(Stack.of(parts), inside)
    data = jnp.asarray(x, jnp.float32)
    flow, losses = descend(reconstruction_loss, flow, data, 600, 1e-2)
    assert losses[0] > 0.2 and losses[-1] < 2e-4
    before = jnp.mean(evaluate(flow, data)[0])
    flow, losses = descend(projected_loss, flow, data, 300, 1e-2)
    after = jnp.mean(evaluate(flow, data)[0])
    assert after - before == pytest.approx(float(losses[0] - losses[-1]), abs=0.01)
    assert float(after) == pytest.approx(float(np.mean(truth)), abs=0.1)
