"""The table of bijections that the tests go through, and how they compare."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from posterion.bijections import (
    Affine,
    AffineTransformer,
    Autoregressive,
    Bijection,
    Chain,
    CircularPiecewiseLinear,
    CircularPiecewiseQuadratic,
    CircularSpline,
    Continuous,
    Coupling,
    EquivariantCoupling,
    Invert,
    Linear,
    MaskedQuantiles,
    MixedTransformer,
    NeuralTransformer,
    Permutation,
    PiecewiseLinear,
    PiecewiseQuadratic,
    QuantileMap,
    RationalQuadraticSpline,
    Stack,
    Summarised,
    SupportMap,
    VectorCoupling,
    Whitening,
    alternating_masks,
    closure,
)
from posterion.bijections.elementwise import wrap
from posterion.bijections.support import KINDS
from posterion.networks import DeepSet, SetAttention

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


def autoregressive(transformer, context=0, hidden=(7, 7), seed=0, **options):
    order = jnp.array([2, 0, 1])
    key = jax.random.key(seed)
    return Autoregressive(order, transformer, hidden, context_size=context, key=key, **options)


def equivariant(context=0, **options):
    """Under the exchange of the first and the last coordinate, and under parity."""
    exchange = np.eye(DIM, dtype=int)[[2, 1, 0]]
    group = closure(np.stack([exchange, -np.eye(DIM, dtype=int)]))
    mask, key = jnp.array([1.0, 0.0, 1.0]), jax.random.key(0)
    return EquivariantCoupling(mask, group, (8,), context_size=context, key=key, **options)


def vectors(context=0, **options):
    """Three vectors of two components."""
    mask, key = jnp.array([1.0, 0.0, 1.0]), jax.random.key(0)
    return VectorCoupling(mask, 2, (8,), context_size=context, key=key, **options)


def continuous(context=0, periodic=None):
    key = jax.random.key(0)
    return Continuous(DIM, (7, 6), context_size=context, periodic=periodic, steps=64, key=key)


def mixed(real):
    return MixedTransformer(MIXED, real, CircularSpline(bins=3))


def quantiles(context=0, **options):
    options = {"transformer": NeuralTransformer(units=3), **options}
    return QuantileMap(DIM, (7, 6), context_size=context, key=jax.random.key(0), **options)


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
    "affine coupling, shift first": Case(
        lambda: coupling(AffineTransformer(None, True), 2), context=2, identity=True
    ),
    "affine coupling": Case(lambda: coupling(AffineTransformer(), 2), context=2, identity=True),
    "affine coupling, bounded": Case(
        lambda: coupling(AffineTransformer(2.0)), identity=True, far=1e20
    ),
    "spline coupling": Case(lambda: coupling(SPLINE), identity=True, far=1e20),
    "circular coupling": Case(lambda: coupling(CIRCULAR, 2), (True,) * DIM, 2, identity=True),
    "piecewise linear coupling": Case(
        lambda: coupling(PiecewiseLinear(bins=4)), identity=True, far=1e20
    ),
    "piecewise quadratic coupling": Case(
        lambda: coupling(PiecewiseQuadratic(bins=4), 2), context=2, identity=True, far=1e20
    ),
    "circular piecewise linear coupling": Case(
        lambda: coupling(CircularPiecewiseLinear(bins=4)), (True,) * DIM, identity=True
    ),
    "circular piecewise quadratic coupling": Case(
        lambda: coupling(CircularPiecewiseQuadratic(bins=4), 2), (True,) * DIM, 2, identity=True
    ),
    "neural coupling": Case(
        lambda: coupling(NeuralTransformer(units=3), 2), context=2, identity=True, far=1e20
    ),
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
    "autoregressive": Case(
        lambda: autoregressive(AffineTransformer(), 2), context=2, identity=True
    ),
    "autoregressive, residual": Case(
        lambda: autoregressive(AffineTransformer(2.0), residual=True), identity=True, far=1e20
    ),
    "autoregressive, few units": Case(
        lambda: autoregressive(AffineTransformer(), hidden=(1,)), identity=True
    ),
    "autoregressive spline": Case(lambda: autoregressive(SPLINE, 2), context=2, identity=True),
    "autoregressive on circles": Case(
        lambda: autoregressive(CIRCULAR), (True,) * DIM, identity=True
    ),
    "autoregressive, mixed": Case(lambda: autoregressive(mixed(SPLINE)), MIXED, identity=True),
    "inverse autoregressive": Case(
        lambda: Invert(autoregressive(AffineTransformer(), 2)), context=2, identity=True
    ),
    "masked quantiles": Case(
        lambda: MaskedQuantiles(autoregressive(NeuralTransformer(units=3), 2)),
        context=2,
        identity=True,
    ),
    "quantiles of one network": Case(lambda: quantiles(2), context=2, identity=True),
    "quantiles of separate networks": Case(lambda: quantiles(separate=True), identity=True),
    "equivariant coupling": Case(lambda: equivariant(2), context=2, identity=True),
    "equivariant coupling, bounded": Case(lambda: equivariant(limit=2.0), identity=True, far=1e20),
    "vector coupling": Case(lambda: vectors(2), (False,) * 6, 2, identity=True),
    "vector coupling, bounded": Case(
        lambda: vectors(limit=2.0), (False,) * 6, identity=True, far=1e12
    ),
    "continuous": Case(lambda: continuous(2), context=2, identity=True),
    "continuous, mixed": Case(lambda: continuous(2, MIXED), MIXED, 2, identity=True),
    "summarised by a deep set": Case(
        lambda: Summarised(
            coupling(AffineTransformer(), 2),
            DeepSet(3, 2, 2, (5, 4), (4,), key=jax.random.key(0)),
            6,
        ),
        context=6,
        identity=True,
    ),
    "summarised by attention": Case(
        lambda: Summarised(
            autoregressive(SPLINE, 2),
            SetAttention(3, 2, 2, 4, 2, 1, (4,), key=jax.random.key(0)),
            6,
        ),
        context=6,
        identity=True,
    ),
    "support": Case(
        lambda: SupportMap(
            KINDS,
            jnp.linspace(-1, 0.5, len(KINDS)).at[KINDS.index("clipped")].set(-800),
            jnp.linspace(1.5, 3, len(KINDS)).at[KINDS.index("clipped")].set(800),
        ),
        tuple(kind == "circle" for kind in KINDS),
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
    rng, shape = np.random.default_rng(seed), (n, len(case.circles))
    z = np.where(case.circles, rng.uniform(-np.pi, np.pi, shape), 1.5 * rng.normal(size=shape))
    context = jnp.asarray(rng.normal(size=(n, case.context)), jnp.float32)
    return jnp.asarray(z, jnp.float32), context if case.context else None


def log_base(z):
    """Of any base density: not normal, so that nothing cancels by accident; periodic."""
    return jnp.sum(jnp.cos(z - 0.3)) + 0.1 * jnp.sum(jnp.sin(2 * z))


def error(a, b):
    """Largest difference, relative to ``b`` where that is large."""
    return jnp.max(jnp.abs(a - b) / (1 + jnp.abs(b)))


def gap(a, b, circles):
    """Largest difference of events, along the circle where that is what they live on."""
    along_circle = jnp.max(jnp.where(jnp.array(circles), jnp.abs(wrap(a - b)), 0))
    return jnp.maximum(along_circle, error(*(jnp.where(jnp.array(circles), 0, e) for e in (a, b))))


# The mathematics is tested, not the compiler's optimiser, which takes most of the time.
_options: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # later ones know no others
    _options["xla_cpu_use_fusion_emitters"] = False
quick_jit = partial(jax.jit, compiler_options=_options)
