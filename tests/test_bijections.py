"""One contract for every bijection, then what is particular to each."""

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
from posterion.core.errors import ShapeError
from posterion.core.registry import from_tree, to_tree

pytestmark = pytest.mark.usefixtures("strict_dtypes")

DIM = 3
MIXED = (False, True, False)
# Kinds of coordinates, and how to perturb: every parameter moves, so that none can be forgotten.
FIXED = (".mask", ".order")


def coupling(transformer, context=0, mask=(1.0, 0.0, 1.0), seed=0, **options):
    return Coupling(
        jnp.array(mask), transformer, (8,), context_size=context, key=jax.random.key(seed), **options
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


CASES = {
    "affine": Case(lambda: Affine(jnp.zeros(DIM), jnp.zeros(DIM)), identity=True, far=1e30),
    "permutation": Case(lambda: Permutation(jnp.array([2, 0, 1])), far=1e30),
    "linear": Case(lambda: Linear(DIM), identity=True, far=1e6),
    "whitening": Case(lambda: Whitening(jnp.arange(3.0), jnp.tril(jnp.ones((3, 3)))), far=1e6),
    "affine coupling": Case(lambda: coupling(AffineTransformer()), identity=True, far=20.0),
    "affine coupling, bounded scale": Case(
        lambda: coupling(AffineTransformer(2.0)), identity=True, far=1e20
    ),
    "affine coupling, context": Case(
        lambda: coupling(AffineTransformer(), 2), context=2, identity=True
    ),
    "spline coupling": Case(lambda: coupling(SPLINE), identity=True, far=1e20),
    "spline coupling, context": Case(
        lambda: coupling(SPLINE, 2, (0.0, 1.0, 0.0)), context=2, identity=True
    ),
    "circular coupling": Case(lambda: coupling(CIRCULAR), (True,) * DIM, identity=True),
    "mixed coupling": Case(lambda: coupling(mixed(SPLINE), 2), MIXED, context=2, identity=True),
    "mixed coupling, angle kept": Case(
        lambda: coupling(mixed(AffineTransformer()), mask=(0.0, 1.0, 0.0)), MIXED, identity=True
    ),
    "coupling that moves all": Case(lambda: coupling(SPLINE, mask=(0.0, 0.0, 0.0))),
    "coupling that keeps all": Case(lambda: coupling(SPLINE, mask=(1.0, 1.0, 1.0))),
    "support, real interval log": Case(lambda: support("real", "interval", "log")),
    "support, magnitudes": Case(lambda: support("sinh", "exp_above", "exp_below")),
    "support, above circle below": Case(
        lambda: support("above", "circle", "below"), (False, True, False)
    ),
    "chain": Case(
        lambda: Chain([coupling(SPLINE, 2), Linear(DIM), coupling(AffineTransformer(), 2)]),
        context=2,
        identity=True,
    ),
    "stack": Case(lambda: Stack.of(couplings(SPLINE)), identity=True),
    "stack, mixed, context": Case(
        lambda: Stack.of(couplings(mixed(AffineTransformer()), 2, 2)), MIXED, 2, identity=True
    ),
    "inverted coupling": Case(lambda: Invert(coupling(SPLINE, 2)), context=2, identity=True),
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


def events(case, n=12, seed=1):
    rng = np.random.default_rng(seed)
    z = np.where(case.circles, rng.uniform(-np.pi, np.pi, (n, DIM)), 1.5 * rng.normal(size=(n, DIM)))
    context = jnp.asarray(rng.normal(size=(n, case.context)), float) if case.context else None
    return jnp.asarray(z, float), context


def log_base(z):
    """Of any base density: not normal, so that nothing cancels by accident; periodic."""
    return jnp.sum(jnp.cos(z - 0.3)) + 0.1 * jnp.sum(jnp.sin(2 * z))


def gap(a, b, circles):
    """Largest distance between events, along the circle where that is what they live on."""
    return jnp.max(jnp.where(jnp.array(circles), jnp.abs(wrap(a - b)), jnp.abs(a - b)))


# The mathematics is tested, not the compiler's optimiser, which takes most of the time.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@partial(quick_jit, static_argnames="circles")
def measure(bijection, z, context, circles):
    """All that the contract compares, in one compiled call."""
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
    true_score = jnp.einsum("nij,ni->nj", inverse_jacobian, base_score) + bend
    worst = lambda a, b: jnp.max(jnp.abs(a - b) / (1 + jnp.abs(b)))  # noqa: E731
    return {
        "round trip": gap(back, z, circles),
        "log-determinants, forward and inverse": worst(log_det, -inverse_log_det),
        "log-determinant": worst(log_det, jnp.linalg.slogdet(jacobian)[1]),
        "log-determinant, inverse": worst(inverse_log_det, jnp.linalg.slogdet(inverse_jacobian)[1]),
        "score": worst(score, true_score),
        "score, event": worst(x_too, x),
        "score, log-determinant": worst(log_det_too, log_det),
        "one by one": gap(x_one, x, circles),
        "one by one, log-determinant": worst(log_det_one, log_det),
        "one by one, inverse": gap(back_one, back, circles),
        "one by one, inverse log-determinant": worst(inverse_log_det_one, inverse_log_det),
    }


@pytest.mark.parametrize("name", CASES)
def test_directions_determinants_scores_and_batches_agree(name):
    case = CASES[name]
    with jax.enable_x64(True):
        bijection = perturbed(case.build())
        z, context = events(case)
        measured = {k: float(v) for k, v in measure(bijection, z, context, case.circles).items()}
    assert {k: v for k, v in measured.items() if not v < 1e-10} == {}
