"""Distributions: what is drawn follows the density, and the density integrates to one.

Statistical tests have fixed seeds and a false-alarm rate of 1e-4 each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bijection_cases import at, coupling, error, perturbed, quick_jit
from posterion.bijections import (
    AffineTransformer,
    Chain,
    CircularSpline,
    Linear,
    MixedTransformer,
    RationalQuadraticSpline,
    Stack,
    SupportMap,
    apply_batch,
)
from posterion.core.errors import ShapeError
from posterion.core.registry import from_tree, to_tree
from posterion.distributions import (
    Distribution,
    Flow,
    Mixture,
    Normal,
    NormalMixture,
    Product,
    Uniform,
    VonMises,
)
from posterion.distributions.families import realnvp

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FALSE_ALARM = 1e-4


# ------------------------------------------------------------------- axes along which to integrate


@dataclass(frozen=True)
class Axis:
    """A coordinate ``x(v)`` in which the density has no sharp ends, for the midpoint rule."""

    lower: float
    upper: float
    x: Callable = lambda v: v
    slope: Callable = np.ones_like
    v: Callable = lambda x: x

    def nodes(self, n):
        """Midpoints, their ``x``, and the weight of each."""
        width = (self.upper - self.lower) / n
        v = self.lower + width * (np.arange(n) + 0.5)
        return self.x(v), width * self.slope(v)


LINE = Axis(-9.0, 9.0)
CIRCLE = Axis(-np.pi, np.pi)
BOX = Axis(-1.0, 2.0)
UNIT = Axis(-7.5, 7.5, stats.norm.cdf, stats.norm.pdf, stats.norm.ppf)
HALF = Axis(
    -7.5,
    9.0,
    lambda v: -stats.norm.logsf(v),
    lambda v: np.exp(stats.norm.logpdf(v) - stats.norm.logsf(v)),
    lambda x: stats.norm.isf(np.exp(-x)),
)


@dataclass(frozen=True)
class Case:
    """A two-dimensional distribution, built when it is needed."""

    build: Callable[[], Distribution]
    axes: tuple[Axis, Axis] = (LINE, LINE)
    context: tuple[float, ...] | None = None


def couplings(transformer, context=0, scale=0.2):
    masks = [(1.0, 0.0), (0.0, 1.0)]
    layers = [coupling(transformer, context, mask, seed=i) for i, mask in enumerate(masks)]
    return Stack.of([perturbed(layer, scale, seed=i) for i, layer in enumerate(layers)])


def two_normals():
    lowers = jnp.array([[[0.6, 0.0], [0.3, 0.4]], [[1.0, 0.0], [-0.5, 0.8]]])
    weights, centres = jnp.log(jnp.array([1.0, 3.0])), jnp.array([[3.0, 2.0], [-2.0, 0.0]])
    return NormalMixture(weights, centres, lowers)


def bounded(*kinds):
    return SupportMap(kinds, jnp.zeros(2), jnp.ones(2))


UNIFORM_CIRCLES = Uniform(2, -float(np.pi), float(np.pi))
LINE_AND_CIRCLE = Product((Normal(1), Uniform(1, -float(np.pi), float(np.pi))), ((0,), (1,)))
SPLINE = RationalQuadraticSpline(4, (-3.0, 3.0))

CASES = {
    "normal": Case(lambda: Normal(2)),
    "uniform": Case(lambda: Uniform(2, -1.0, 2.0), (BOX, BOX)),
    "von Mises": Case(lambda: VonMises(jnp.array([0.0, 4.0])), (CIRCLE, CIRCLE)),
    "product": Case(
        lambda: Product((VonMises(jnp.array([0.7])), Normal(1)), ((1,), (0,))), (LINE, CIRCLE)
    ),
    "mixture of normals": Case(two_normals),
    "affine flow": Case(
        lambda: Flow(Normal(2), Chain([couplings(AffineTransformer(1.0)), perturbed(Linear(2))]))
    ),
    "spline flow": Case(lambda: Flow(Normal(2), couplings(SPLINE))),
    "spline flow, context": Case(
        lambda: Flow(Normal(2), couplings(SPLINE, 1, 0.12)), context=(0.5,)
    ),
    "flow on the torus": Case(
        lambda: Flow(UNIFORM_CIRCLES, couplings(CircularSpline(4))), (CIRCLE, CIRCLE)
    ),
    "mixed flow": Case(
        lambda: Flow(
            LINE_AND_CIRCLE,
            couplings(MixedTransformer((False, True), AffineTransformer(1.0), CircularSpline(4))),
        ),
        (LINE, CIRCLE),
    ),
    "flow on a box": Case(
        lambda: Flow(Normal(2), Chain([couplings(SPLINE), bounded("interval", "interval")])),
        (UNIT, UNIT),
    ),
    "flow on a half-open strip": Case(
        lambda: Flow(
            Normal(2), Chain([couplings(AffineTransformer(0.5)), bounded("above", "interval")])
        ),
        (HALF, UNIT),
    ),
    "flow from two normals": Case(
        lambda: Flow(two_normals(), couplings(AffineTransformer(0.5))),
    ),
    "mixture of flows": Case(
        lambda: Mixture(
            jnp.array([0.0, 1.0]), (Flow(Normal(2), couplings(AffineTransformer(1.0))), Normal(2))
        )
    ),
}


def condition(case):
    return None if case.context is None else jnp.array(case.context)


@quick_jit
def log_probs(distribution, x, context):
    return apply_batch(distribution.log_prob, x, context=context)


@quick_jit
def draw(distribution, key, context):
    return distribution.sample_and_log_prob(key, (20_000,), context)


def masses(case, distribution, nodes=240, cells=24):
    """Probability of each cell of a ``cells`` by ``cells`` grid, by the midpoint rule."""
    (x, wx), (y, wy) = (axis.nodes(nodes) for axis in case.axes)
    with jax.enable_x64(True):
        points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        wide, context = at(jnp.float64, (distribution, condition(case)))
        log_p = np.asarray(log_probs(wide, jnp.asarray(points), context))
    mass = np.exp(log_p).reshape(nodes, nodes) * wx[:, None] * wy
    return mass.reshape(cells, nodes // cells, cells, nodes // cells).sum(axis=(1, 3))


@pytest.mark.parametrize("name", CASES)
def test_density_integrates_to_one_and_is_what_is_drawn_from(name):
    case = CASES[name]
    distribution = case.build()
    mass = masses(case, distribution)
    assert mass.sum() == pytest.approx(1, abs=2e-3)

    x, log_p = draw(distribution, jax.random.key(3), condition(case))
    again = log_probs(distribution, x, condition(case))
    assert float(jnp.quantile(jnp.abs(log_p - again), 0.999)) < 1e-3
    assert jnp.all(jnp.isfinite(log_p))

    v = [
        axis.v(np.asarray(column, np.float64)) for axis, column in zip(case.axes, x.T, strict=True)
    ]
    edges = [np.linspace(axis.lower, axis.upper, len(mass) + 1) for axis in case.axes]
    seen = np.histogram2d(*v, edges)[0]
    assert abs(seen.sum() / len(x) - mass.sum()) < 2e-3
    assert p_value(seen, mass) > FALSE_ALARM


def p_value(seen, mass):
    """Pearson's chi-squared test of counts, over the cells that are not rare."""
    usual = mass * seen.sum() > 8
    expected = mass[usual] * seen[usual].sum() / mass[usual].sum()
    assert expected.size > 30
    chi2 = np.sum((seen[usual] - expected) ** 2 / expected)
    return stats.chi2.sf(chi2, expected.size - 1)


def test_the_goodness_of_fit_finds_a_wrong_density():
    """The same test of draws of one flow against another: it would see 5 % of its scale."""
    case = CASES["normal"]
    x, _ = draw(Normal(2), jax.random.key(3), None)
    mass = masses(case, Normal(2))
    edges = np.linspace(LINE.lower, LINE.upper, len(mass) + 1)
    seen = np.histogram2d(*(1.05 * np.asarray(x.T)), (edges, edges))[0]
    assert p_value(seen, mass) < FALSE_ALARM


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_storage(name):
    case = CASES[name]
    distribution, arrays = case.build(), {}
    again = from_tree(to_tree(distribution, arrays), arrays)
    assert jax.tree.structure(again) == jax.tree.structure(distribution)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(distribution), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    for shape in ((), (3,), (2, 3)):
        x, log_p = jax.eval_shape(
            lambda key, shape=shape: again.sample_and_log_prob(key, shape, condition(case)),
            jax.random.key(0),
        )
        assert x.shape == (*shape, 2) and log_p.shape == shape
        assert x.dtype == log_p.dtype == jnp.float32


# ----------------------------------------------------------------------------- exact log-densities


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_bases_against_scipy(x64):
    x = np.array([0.3, -1.2])
    mixture = two_normals()
    with jax.enable_x64(x64):
        bases = at(float, (Normal(2), VonMises(jnp.array([0.0, 4.0])), mixture))
        values = [float(base.log_prob(jnp.asarray(x, float))) for base in bases]
    lowers = np.asarray(mixture.lowers, np.float64)
    normals = [
        stats.multivariate_normal(mean, lower @ lower.T).pdf(x)
        for mean, lower in zip(np.asarray(mixture.locations), lowers, strict=True)
    ]
    truth = [
        stats.norm.logpdf(x).sum(),
        -np.log(2 * np.pi) + stats.vonmises(4.0).logpdf(x[1]),
        np.log(0.25 * normals[0] + 0.75 * normals[1]),
    ]
    np.testing.assert_allclose(values, truth, rtol=1e-6 if not x64 else 1e-7)


def test_uniform_ends():
    uniform = Uniform(2, -1.0, 2.0)
    assert uniform.log_prob(jnp.array([-1.0, 1.9])) == pytest.approx(-2 * np.log(3))
    for outside in ([2.0, 0.0], [0.0, -1.1], [jnp.inf, 0.0]):
        assert uniform.log_prob(jnp.array(outside)) == -jnp.inf


def test_mixture_is_the_weighted_sum():
    flow = Flow(Normal(2), couplings(AffineTransformer(1.0)))
    mixture = Mixture(jnp.array([0.0, 1.0]), (flow, Normal(2)))
    x = jnp.array([0.4, -0.9])
    share = jax.nn.softmax(jnp.array([0.0, 1.0]))
    parts = jnp.exp(jnp.stack([flow.log_prob(x), Normal(2).log_prob(x)]))
    assert mixture.log_prob(x) == pytest.approx(float(jnp.log(share @ parts)), rel=1e-5)


def test_score_of_a_flow_is_that_carried_forward():
    flow = CASES["spline flow"].build()
    z = flow.base.sample(jax.random.key(1), (20,))
    x, _, score = quick_jit(lambda z: apply_batch(flow.bijection.forward_and_score, z, -z))(z)
    assert error(score, quick_jit(jax.vmap(flow.score))(x)) < 1e-3


# -------------------------------------------------------------------------------- families, errors


@pytest.mark.parametrize("circular", [None, (False, True, False), (True, True, True)])
def test_realnvp_starts_as_its_base(circular):
    flow = realnvp(3, transforms=4, hidden=(8,), periodic=circular, seed=2)
    z = flow.base.sample(jax.random.key(0), (50,))
    x, log_det = quick_jit(lambda z: apply_batch(flow.bijection.forward_and_log_det, z))(z)
    assert jnp.max(jnp.abs(x - z)) < 1e-5 and jnp.max(jnp.abs(log_det)) < 1e-5
    stack = flow.bijection.bijections[0]
    moved = jnp.sum(1 - stack.layers.mask, axis=0)
    assert jnp.all(moved > 0) and jnp.all(moved < 4)
    assert stack.layers.periodic == (circular if circular else None)


def test_parts_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"base draws events \(3,\)"):
        Flow(Normal(3), Linear(2))
    with pytest.raises(ShapeError, match="one weight per component"):
        Mixture(jnp.zeros(2), (Normal(2),))
    with pytest.raises(ShapeError, match="one event shape"):
        Mixture(jnp.zeros(2), (Normal(2), Normal(3)))
    with pytest.raises(ShapeError, match="2 entries for 3 coordinates"):
        realnvp(3, periodic=(True, False))
