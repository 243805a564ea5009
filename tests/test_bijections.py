"""One contract for every bijection."""

import json
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr, tree_flatten_with_path

from bijection_cases import (
    CASES,
    DIM,
    SPLINE,
    Case,
    at,
    coupling,
    couplings,
    error,
    events,
    gap,
    is_parameter,
    log_base,
    mixed,
    perturbed,
    quick_jit,
)
from posterion.bijections import (
    Affine,
    AffineTransformer,
    Bijection,
    Chain,
    Invert,
    Linear,
    Stack,
    apply_batch,
)
from posterion.core.errors import ShapeError
from posterion.core.registry import from_tree, to_tree

pytestmark = pytest.mark.usefixtures("strict_dtypes")


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
    with jax.enable_x64(False):  # integers as in the next test: one program for both
        arguments = perturbed(case.build()), *events(case)
    with jax.enable_x64(True):
        errors, _ = exact(*at(jnp.float64, arguments), case.circles)
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
        tree_flatten_with_path(bijection, is_leaf=_none)[0],
        jax.tree.leaves(gradients, is_leaf=_none),
        strict=True,
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


@pytest.mark.parametrize("transformer", [AffineTransformer(), mixed(SPLINE)])
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


def test_layers_of_different_shapes_do_not_stack():
    with pytest.raises(ShapeError, match="use a Chain"):
        Stack.of([coupling(SPLINE), coupling(AffineTransformer())])
    with pytest.raises(ShapeError, match="use a Chain"):
        Stack.of([coupling(SPLINE), coupling(SPLINE, mask=(0.0, 0.0, 0.0))])
    with pytest.raises(ShapeError, match="use a Chain"):
        Stack.of([])


def test_chained_bijections_must_fit():
    with pytest.raises(ShapeError, match="at least one"):
        Chain([])
    with pytest.raises(ShapeError, match="chained bijections differ"):
        Chain([Linear(2), Linear(3)])


def test_directions_that_are_fast():
    class Slow(Linear):
        @property
        def fast(self):
            return "inverse"

    assert Chain([Linear(2), Slow(2)]).fast == "inverse"
    assert Chain([Invert(Slow(2)), Slow(2)]).fast == "both"
    assert Invert(Slow(2)).fast == "forward"
    assert Stack.of([Slow(2), Slow(2)]).fast == "inverse"


def test_a_condition_holds_for_the_batch_or_for_its_row():
    layer = perturbed(coupling(AffineTransformer(), 2))
    z, _ = events(CASES["affine"])
    condition = jnp.array([0.5, -1.0])
    rows = jnp.broadcast_to(condition, (len(z), 2))
    by_rows, _ = apply_batch(layer.forward_and_log_det, z, context=rows)
    shared, _ = apply_batch(layer.forward_and_log_det, z, context=condition)
    other, _ = apply_batch(layer.forward_and_log_det, z, context=-condition)
    assert jnp.allclose(by_rows, shared, atol=1e-6) and not jnp.allclose(other, shared, atol=1e-2)


@pytest.mark.parametrize(
    ("events", "context"),
    [((4, 3), (4, 3)), ((4, 3), (5, 2)), ((4, 3), (2, 4)), ((), (2,))],
)
def test_batches_of_wrong_shapes(events, context):
    layer = coupling(AffineTransformer(), 2)
    with pytest.raises(ShapeError):
        apply_batch(layer.forward_and_log_det, jnp.zeros(events), context=jnp.zeros(context))
    with pytest.raises(ShapeError, match="one leading axis"):
        apply_batch(layer.forward_and_score, jnp.zeros((4, 3)), jnp.zeros((5, 3)))


def test_a_bijection_of_single_events_is_vmapped():
    class Squared(Bijection):
        """Correct for one event only: it sums over all that it gets."""

        event_shape: tuple[int, ...] = eqx.field(static=True, default=(2,))
        context_shape: tuple[int, ...] | None = eqx.field(static=True, default=(1,))

        def forward_and_log_det(self, z, context=None):
            return z**3 + context, jnp.sum(jnp.log(3 * z**2))

        def inverse_and_log_det(self, x, context=None):
            z = jnp.cbrt(x - context)
            return z, -jnp.sum(jnp.log(3 * z**2))

    z = jnp.array([[1.0, 2.0], [-1.0, 3.0], [0.5, 1.0]])
    for bijection in (Squared(), Chain([Squared(), Affine(jnp.zeros(2), jnp.zeros(2))])):
        assert not bijection.batch_last
        for context in (jnp.array([0.25]), jnp.array([[0.25], [0.5], [1.0]])):
            x, log_det = apply_batch(bijection.forward_and_log_det, z, context=context)
            assert jnp.allclose(x, z**3 + context)
            assert jnp.allclose(log_det, jnp.sum(jnp.log(3 * z**2), axis=1))
