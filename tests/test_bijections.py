"""One contract for every bijection, then what is particular to each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from posterion.bijections import (
    Affine,
    AffineTransformer,
    Bijection,
    Chain,
    CircularSpline,
    Coupling,
    Invert,
    Linear,
    MixedTransformer,
    Permutation,
    RationalQuadraticSpline,
    Stack,
    SupportMap,
    Whitening,
    alternating_masks,
    apply_batch,
)
from posterion.bijections.elementwise import wrap
from posterion.core.registry import from_tree, to_tree

pytestmark = pytest.mark.usefixtures("strict_dtypes")

DIM = 3
MIXED = (False, True, False)
# Kinds of coordinates, and how to perturb: every parameter moves, so that none can be forgotten.
FIXED = (".mask", ".order")


def coupling(transformer, context=0, mask=(1.0, 0.0, 1.0), seed=0, **options):
    return Coupling(
        jnp.array(mask),
        transformer,
        (8,),
        context_size=context,
        key=jax.random.key(seed),
        **options,
    )


def couplings(transformer, layers=3, context=0):
    masks = alternating_masks(DIM, layers)
    return [coupling(transformer, context, mask, seed=i) for i, mask in enumerate(masks)]


def mixed(real):
    return MixedTransformer(MIXED, real, CircularSpline(bins=3))


def support(*kinds):
    n = len(kinds)
    return SupportMap(kinds, jnp.linspace(-1.0, 0.5, n), jnp.linspace(1.5, 3.0, n))


SPLINE = RationalQuadraticSpline(bins=4)
CIRCULAR = CircularSpline(bins=4)


@dataclass(frozen=True)
class Case:
    """How to build a bijection, and what may be asked of it."""

    build: Callable[[], Bijection]
    circles: tuple[bool, ...] = (False,) * DIM
    context: int = 0
    identity: bool = False
    far: float | None = None  # where the support is the line: out to here
    idle: tuple[str, ...] = ()  # parameters that nothing can depend on


CASES = {
    "affine": Case(lambda: Affine(jnp.zeros(DIM), jnp.zeros(DIM)), identity=True, far=1e30),
    "permutation": Case(lambda: Permutation(jnp.array([2, 0, 1])), far=1e30),
    "linear": Case(lambda: Linear(DIM), identity=True, far=1e6),
    "whitening": Case(lambda: Whitening(jnp.arange(3.0), jnp.tril(jnp.ones((3, 3)))), far=1e6),
    "affine coupling": Case(lambda: coupling(AffineTransformer(), 2), context=2, identity=True),
    "affine coupling, bounded": Case(
        lambda: coupling(AffineTransformer(2.0)), identity=True, far=1e20
    ),
    "spline coupling": Case(lambda: coupling(SPLINE), identity=True, far=1e20),
    "circular coupling": Case(lambda: coupling(CIRCULAR, 2), (True,) * DIM, 2, identity=True),
    "mixed coupling": Case(lambda: coupling(mixed(SPLINE)), MIXED, identity=True),
    "mixed coupling, angle kept": Case(
        lambda: coupling(mixed(AffineTransformer()), mask=(0.0, 1.0, 0.0)), MIXED, identity=True
    ),
    "coupling that moves all": Case(
        lambda: coupling(AffineTransformer(), mask=(0.0, 0.0, 0.0)), idle=("weights[0]",)
    ),
    "coupling that keeps all": Case(
        lambda: coupling(AffineTransformer(), mask=(1.0, 1.0, 1.0)), idle=("weights", "biases")
    ),
    "support, real interval log": Case(lambda: support("real", "interval", "log")),
    "support, magnitudes": Case(lambda: support("sinh", "exp_above", "exp_below")),
    "support, above circle below": Case(
        lambda: support("above", "circle", "below"), (False, True, False)
    ),
    "chain": Case(
        lambda: Chain([coupling(AffineTransformer(), 2), Linear(DIM), Invert(coupling(SPLINE, 2))]),
        context=2,
        identity=True,
    ),
    "stack": Case(
        lambda: Stack.of(couplings(mixed(AffineTransformer()), 2, 2)), MIXED, 2, identity=True
    ),
}


def is_parameter(path, leaf):
    return eqx.is_inexact_array(leaf) and not keystr(path).endswith(FIXED)


def perturbed(bijection, scale=0.3, seed=0):
    """Every parameter moved at random."""
    leaves, structure = tree_flatten_with_path(bijection)
    rng = np.random.default_rng(seed)
    moved = [
        leaf + jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)
        if is_parameter(path, leaf)
        else leaf
        for path, leaf in leaves
    ]
    return tree_unflatten(structure, moved)


def at(dtype, tree):
    """``tree`` with its floating-point arrays as ``dtype``."""
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)


def events(case, n=12, seed=1):
    rng = np.random.default_rng(seed)
    z = np.where(
        case.circles, rng.uniform(-np.pi, np.pi, (n, DIM)), 1.5 * rng.normal(size=(n, DIM))
    )
    context = jnp.asarray(rng.normal(size=(n, case.context)), jnp.float32) if case.context else None
    return jnp.asarray(z, jnp.float32), context


def log_base(z):
    """Of any base density: not normal, so that nothing cancels by accident; periodic."""
    return jnp.sum(jnp.cos(z - 0.3)) + 0.1 * jnp.sum(jnp.sin(2 * z))


def gap(a, b, circles):
    """Largest distance between events, along the circle where that is what they live on."""
    return jnp.max(jnp.where(jnp.array(circles), jnp.abs(wrap(a - b)), jnp.abs(a - b)))


# The mathematics is tested, not the compiler's optimiser, which takes most of the time.
quick_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
    },
)


def error(a, b):
    """Largest difference, relative to ``b`` where that is large."""
    return jnp.max(jnp.abs(a - b) / (1 + jnp.abs(b)))


@partial(quick_jit, static_argnames="circles")
def exact(bijection, z, context, circles):
    """What the contract compares, by Jacobians; and the results themselves."""
    axes = (0, None if context is None else 0)

    def with_jacobian(method):
        def both(event, context):
            out = method(event, context)
            return out, out

        return jax.vmap(jax.jacfwd(both, has_aux=True), in_axes=axes)

    base_score = jax.vmap(jax.grad(log_base))(z)
    x, log_det = apply_batch(bijection.forward_and_log_det, z, context=context)
    back, inverse_log_det = apply_batch(bijection.inverse_and_log_det, x, context=context)
    x_too, log_det_too, score = apply_batch(
        bijection.forward_and_score, z, base_score, context=context
    )
    (jacobian, _), (x_one, log_det_one) = with_jacobian(bijection.forward_and_log_det)(z, context)
    (inverse_jacobian, bend), (back_one, inverse_log_det_one) = with_jacobian(
        bijection.inverse_and_log_det
    )(x, context)
    # d/dx of log q(x) = log_base(z(x)) + log|det dz/dx|
    true_score = jnp.einsum("nij,ni->nj", inverse_jacobian, base_score) + bend
    errors = {
        "round trip": gap(back, z, circles),
        "log-determinants, forward and inverse": error(log_det, -inverse_log_det),
        "log-determinant": error(log_det, jnp.linalg.slogdet(jacobian)[1]),
        "log-determinant, inverse": error(inverse_log_det, jnp.linalg.slogdet(inverse_jacobian)[1]),
        "score": error(score, true_score),
        "score, event": gap(x_too, x, circles),
        "score, log-determinant": error(log_det_too, log_det),
        "one by one": gap(x_one, x, circles),
        "one by one, log-determinant": error(log_det_one, log_det),
        "one by one, inverse": gap(back_one, back, circles),
        "one by one, inverse log-determinant": error(inverse_log_det_one, inverse_log_det),
    }
    return errors, (x, log_det, score)


traced = []


@quick_jit
def working(bijection, z, context):
    """The results in working precision, and the gradients of all parameters."""
    traced.append(bijection)
    parameters, rest = eqx.partition(bijection, eqx.is_inexact_array)

    def loss(parameters):
        moved = eqx.combine(parameters, rest)
        x, log_det, score = apply_batch(
            moved.forward_and_score, z, jax.vmap(jax.grad(log_base))(z), context=context
        )
        weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        return jnp.sum(weights * x) + jnp.sum(weights[:, 0] * log_det), (x, log_det, score)

    gradients, results = jax.grad(loss, has_aux=True)(parameters)
    back = apply_batch(bijection.inverse_and_log_det, results[0], context=context)
    return results, back, gradients


@pytest.mark.parametrize("name", CASES)
def test_directions_determinants_scores_and_batches_agree(name):
    case = CASES[name]
    with jax.enable_x64(True):
        arguments = at(jnp.float64, (perturbed(case.build()), *events(case)))
        errors, _ = exact(*arguments, case.circles)
        assert {k: float(v) for k, v in errors.items() if not float(v) < 1e-10} == {}


@pytest.mark.parametrize("name", CASES)
def test_float32_agrees_with_float64(name):
    case = CASES[name]
    with jax.enable_x64(False):
        arguments = perturbed(case.build()), *events(case)
        (x, log_det, score), (back, inverse_log_det), _ = working(*arguments)
    with jax.enable_x64(True):
        _, (true_x, true_log_det, true_score) = exact(*at(jnp.float64, arguments), case.circles)
        assert x.dtype == back.dtype == score.dtype == log_det.dtype == jnp.float32
        assert gap(at(jnp.float64, x), true_x, case.circles) < 1e-4
        assert error(at(jnp.float64, log_det), true_log_det) < 1e-5
        assert error(at(jnp.float64, score), true_score) < 1e-4
        assert error(at(jnp.float64, inverse_log_det), -true_log_det) < 1e-3
        assert gap(at(jnp.float64, back), at(jnp.float64, arguments[1]), case.circles) < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_has_a_gradient(name):
    case = CASES[name]
    bijection = perturbed(case.build())
    *_, gradients = working(bijection, *events(case))
    for (path, leaf), gradient in zip(
        tree_flatten_with_path(bijection)[0], jax.tree.leaves(gradients, is_leaf=_none), strict=True
    ):
        if eqx.is_inexact_array(leaf):
            assert jnp.all(jnp.isfinite(gradient)), keystr(path)
            moves = bool(jnp.any(gradient != 0))
            idle = any(part in keystr(path) for part in case.idle)
            assert moves == (is_parameter(path, leaf) and not idle), keystr(path)


def _none(leaf):
    return leaf is None


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.far])
def test_far_outside(name):
    case = CASES[name]
    z, context = events(case)
    z = jnp.asarray(np.sign(z) * np.geomspace(10, case.far, len(z))[:, None], jnp.float32)
    (x, log_det, score), (back, inverse_log_det), gradients = working(
        perturbed(case.build()), z, context
    )
    for values in (x, log_det, score, *jax.tree.leaves(gradients)):
        assert jnp.all(jnp.isfinite(values))
    assert error(back, z) < 1e-3
    assert error(inverse_log_det, -log_det) < 1e-3


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.identity])
def test_starts_as_the_identity(name):
    case = CASES[name]
    z, context = events(case)
    (x, log_det, score), _, _ = working(case.build(), z, context)
    assert gap(x, z, case.circles) < 2e-6
    assert jnp.max(jnp.abs(log_det)) < 1e-5
    assert error(score, jax.vmap(jax.grad(log_base))(z)) < 1e-5


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_stored_and_rebuilt_it_is_the_same(name, x64):
    case = CASES[name]
    with jax.enable_x64(x64):
        bijection, arrays = perturbed(case.build()), {}
        again = from_tree(json.loads(json.dumps(to_tree(bijection, arrays))), arrays)
        assert jax.tree.structure(again) == jax.tree.structure(bijection)
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(bijection), strict=True):
            assert a.dtype == b.dtype and bool(jnp.all(a == b))


@pytest.mark.parametrize("name", CASES)
def test_traced_once(name):
    case = CASES[name]
    z, context = events(case)
    working(case.build(), z, context)
    before = len(traced)
    arrays = {}
    rebuilt = from_tree(to_tree(perturbed(case.build(), seed=5), arrays), arrays)
    jax.block_until_ready(working(rebuilt, 2 * z, context))
    assert len(traced) == before


@pytest.mark.parametrize("transformer", [AffineTransformer(), SPLINE, CIRCULAR, mixed(SPLINE)])
def test_a_stack_is_the_chain_of_its_layers(transformer):
    @quick_jit
    def both_ways(bijection, z):
        scored = apply_batch(bijection.forward_and_score, z, z)
        return scored, apply_batch(bijection.inverse_and_log_det, z)

    layers = [perturbed(layer, 0.1, seed=i) for i, layer in enumerate(couplings(transformer, 2))]
    z, _ = events(Case(lambda: layers[0], transformer.circles(DIM)))
    for a, b in zip(
        jax.tree.leaves(both_ways(Stack.of(layers), z)),
        jax.tree.leaves(both_ways(Chain(layers), z)),
        strict=True,
    ):
        assert error(a, b) < 1e-5
