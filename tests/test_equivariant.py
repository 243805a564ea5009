"""Couplings that commute with a symmetry, and bases that are invariant under it.

Statistical tests have fixed seeds and a false-alarm rate of 1e-4 each.
"""

from itertools import permutations as orders

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bijection_cases import error, perturbed, quick_jit
from posterion.bijections import (
    Affine,
    EquivariantCoupling,
    Stack,
    VectorCoupling,
    apply_batch,
    closure,
    cyclic,
    parity,
    permutations,
)
from posterion.bijections.groups import check_group
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import from_tree, to_tree
from posterion.distributions import Flow, Mixture, Normal, Symmetrised

pytestmark = pytest.mark.usefixtures("strict_dtypes")

GROUPS = {  # with the coordinates that a first layer keeps
    "parity": (parity(4), (1, 0, 1, 0)),
    "exchange of three particles": (permutations(3, size=2), (1, 0, 1, 0, 1, 0)),
    "translations of a checkerboard": (cyclic(6, step=2), (1, 0, 1, 0, 1, 0)),
    "parity and exchange": (
        closure(np.concatenate([parity(4), permutations(2, size=2)])),
        (1, 0, 1, 0),
    ),
    "a sign on one side": (np.stack([np.eye(3), np.diag([1, -1, 1])]).astype(int), (1, 0, 1)),
}


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def two_layers(build, mask, scale=0.3):
    """A layer that keeps ``mask`` and one that keeps the rest, stacked, no parameter at zero."""
    masks = [jnp.array(mask, float), 1 - jnp.array(mask, float)]
    layers = [build(mask, jax.random.key(i)) for i, mask in enumerate(masks)]
    return Stack.of([perturbed(layer, scale, seed=i) for i, layer in enumerate(layers)])


def equivariant(group, mask, context=0):
    def build(mask, key):
        return EquivariantCoupling(mask, group, (8,), context_size=context, key=key)

    return two_layers(build, mask)


def of_vectors(mask, size, context=0):
    def build(mask, key):
        return VectorCoupling(mask, size, (8,), context_size=context, key=key)

    return two_layers(build, mask)


@quick_jit
def commutes(bijection, z, group, context):
    """How far ``f(g z)`` is from ``g f(z)`` in both directions, and how far ``f`` moves."""

    def gaps(method):
        x, log_det = apply_batch(method, z, context=context)

        def one(g):
            image, log_det_too = apply_batch(method, z @ g.T, context=context)
            return error(image, x @ g.T), error(log_det_too, log_det)

        return jnp.max(jnp.stack(jax.vmap(one)(group))), error(x, z)

    there, moved = gaps(bijection.forward_and_log_det)
    back, _ = gaps(bijection.inverse_and_log_det)
    return jnp.maximum(there, back), moved


@quick_jit
def log_probs(distribution, x):
    return apply_batch(distribution.log_prob, x)


def normals(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


# --------------------------------------------------------------------------------- finite groups


@pytest.mark.parametrize("name", GROUPS)
def test_a_coupling_commutes_with_its_group(name):
    group, mask = GROUPS[name]
    with jax.enable_x64(True):
        z, context = normals((20, len(mask))), normals((20, 2), seed=1)
        elements = jnp.asarray(group, float)
        gap, moved = commutes(equivariant(group, mask, context=2), z, elements, context)
        assert gap < 1e-13 and moved > 0.1
        one = np.eye(len(mask), dtype=int)[None]
        other, _ = commutes(equivariant(one, mask, context=2), z, elements, context)
        assert other > 0.05  # without the mean over the group it would not


@pytest.mark.parametrize("name", GROUPS)
def test_scale_and_shift_are_means_over_the_group(name):
    group, mask = GROUPS[name]
    with jax.enable_x64(True):
        kept = jnp.array(mask, float)
        layer = perturbed(EquivariantCoupling(kept, group, (8,), key=jax.random.key(0)))
        z = normals(len(mask))
        raw = [np.asarray(layer.conditioner(jnp.asarray(g, float) @ (kept * z))) for g in group]
        scale, shift = np.mean(
            [
                (np.linalg.inv(abs(g)) @ out[: len(mask)], np.linalg.inv(g) @ out[len(mask) :])
                for g, out in zip(np.asarray(group, float), raw, strict=True)
            ],
            axis=0,
        )
        x, log_det = quick_jit(lambda z: layer.forward_and_log_det(z))(z)
        moved = np.array(mask) == 0
        np.testing.assert_allclose(x[moved], (np.exp(scale) * z + shift)[moved], rtol=1e-12)
        np.testing.assert_array_equal(x[~moved], z[~moved])
        np.testing.assert_allclose(log_det, scale[moved].sum(), rtol=1e-12)


@pytest.mark.parametrize("name", GROUPS)
def test_a_flow_from_a_symmetrised_base_is_invariant(name):
    group, mask = GROUPS[name]
    dim = len(mask)
    with jax.enable_x64(True):
        shifted = Flow(Normal(dim), Affine(normals(dim, 3), 0.3 * normals(dim, 4)))
        x = normals((20, dim))
        images = jnp.einsum("gij,nj->gni", jnp.asarray(group, float), x).reshape(-1, dim)
        maps = equivariant(group, mask)
        for base, invariant in ((Symmetrised(shifted, group), True), (shifted, False)):
            values = log_probs(Flow(base, maps), images).reshape(len(group), -1)
            spread = float(jnp.max(jnp.abs(values - values[:1])))
            assert spread < 1e-11 if invariant else spread > 0.1


@pytest.mark.parametrize("name", GROUPS)
def test_usual_groups_are_groups(name):
    group, _ = GROUPS[name]
    np.testing.assert_array_equal(check_group(group), group)


def test_usual_groups_act_as_they_say():
    np.testing.assert_array_equal(parity(2) @ [1, 2], [[1, 2], [-1, -2]])
    images = permutations(3, size=2) @ [1, 2, 3, 4, 5, 6]
    particles = [(1, 2), (3, 4), (5, 6)]
    assert {tuple(i) for i in images} == {sum(order, ()) for order in orders(particles)}
    rolled = [np.roll([1, 2, 3, 4], shift) for shift in range(4)]
    np.testing.assert_array_equal(cyclic(4) @ [1, 2, 3, 4], rolled)
    np.testing.assert_array_equal(
        cyclic(3, size=2)[1] @ [1, 2, 3, 4, 5, 6], np.roll([1, 2, 3, 4, 5, 6], 2)
    )
    assert len(permutations(5)) == 120


def test_generators_are_completed():
    hexagon = closure(np.stack([turn(np.pi / 3), np.diag([1.0, -1.0])]))
    assert len(check_group(hexagon)) == 12
    assert len(closure(np.eye(2)[None])) == 1
    with pytest.raises(SettingError, match="more than 50 products"):
        closure(turn(1.0)[None], limit=50)


def test_what_is_no_group_is_named():
    third = np.stack([np.eye(2), turn(2 * np.pi / 3)])
    with pytest.raises(SettingError, match="element 1 times element 1 is not in the group"):
        check_group(third)
    with pytest.raises(SettingError, match="elements 0 and 2 of the group are the same"):
        check_group(np.concatenate([parity(2), parity(2)[:1]]))
    with pytest.raises(SettingError, match="element 1 of the group is not orthogonal"):
        check_group(np.stack([np.eye(2), 2 * np.eye(2)]))
    with pytest.raises(SettingError, match="element 1 of the group is not orthogonal"):
        check_group(np.stack([np.eye(2), np.full((2, 2), np.nan)]))
    for wrong in (np.eye(2), np.zeros((0, 2, 2)), np.zeros((2, 2, 3))):
        with pytest.raises(ShapeError, match=r"an array \(order, dim, dim\)"):
            check_group(wrong)
    with pytest.raises(SettingError, match="1 to 5 particles, got 6"):
        permutations(6)
    with pytest.raises(SettingError, match="the step 4 does not divide a ring of 6"):
        cyclic(6, step=4)


def test_masks_and_groups_that_do_not_fit():
    key = jax.random.key(0)
    with pytest.raises(SettingError, match="element 1 of the group takes a kept coordinate"):
        EquivariantCoupling(jnp.array([1.0, 0.0]), permutations(2), key=key)
    with pytest.raises(SettingError, match="element 1 of the group is no signed permutation"):
        EquivariantCoupling(jnp.array([1.0, 0.0]), closure(turn(np.pi / 4)[None]), key=key)
    with pytest.raises(ShapeError, match=r"mask \(3,\) does not fit"):
        EquivariantCoupling(jnp.ones(3), parity(2), key=key)
    with pytest.raises(ShapeError, match="vectors need a mask"):
        VectorCoupling(jnp.ones((2, 2)), 3, key=key)


# ------------------------------------------------------------------------------------- rotations


@pytest.mark.parametrize("size", [1, 2, 3])
def test_vectors_turn_together(size):
    mask = (1, 0, 1, 0)
    rng = np.random.default_rng(size)
    rotations = np.linalg.qr(rng.normal(size=(6, size, size)))[0]
    rotations[0] *= np.sign(np.linalg.det(rotations[0]))  # of both signs
    rotations[1] = rotations[0] @ np.diag([-1.0] + [1.0] * (size - 1))
    together = np.stack([np.kron(np.eye(4), r) for r in rotations])
    # One vector alone is turned: nothing commutes with that.
    alone = np.stack([np.kron(np.diag([1, 0, 0, 0]), r - np.eye(size)) for r in rotations])
    with jax.enable_x64(True):
        layers = of_vectors(mask, size, context=2)
        z, context = normals((20, 4 * size)), normals((20, 2), seed=1)
        gap, moved = commutes(layers, z, jnp.asarray(together), context)
        assert gap < 1e-12 and moved > 0.1
        other, _ = commutes(layers, z, jnp.asarray(alone + np.eye(4 * size)), context)
        assert other > 0.05


def test_a_flow_of_vectors_is_invariant_under_common_turns_alone():
    with jax.enable_x64(True):
        flow = Flow(Normal(6), of_vectors((1, 0, 1), 2))
        x = normals((30, 6))
        turned = x @ jnp.asarray(np.kron(np.eye(3), turn(1.0))).T
        assert error(log_probs(flow, turned), log_probs(flow, x)) < 1e-12
        # The third vector turned alone.
        bent = x @ jnp.asarray(np.kron(np.diag([0, 0, 1]), turn(1.0) - np.eye(2)) + np.eye(6)).T
        assert error(log_probs(flow, bent), log_probs(flow, x)) > 0.01


def test_kept_vectors_alone_decide():
    with jax.enable_x64(True):
        key = jax.random.key(0)
        layer = perturbed(VectorCoupling(jnp.array([1.0, 0.0, 1.0]), 2, (8,), key=key))
        z = normals(6)
        scale, shift = layer.scale_and_shift(z, None)
        again = layer.scale_and_shift(z.at[2:4].set(9.0), None)
        np.testing.assert_array_equal(again, (scale, shift))
        assert scale[2] == scale[3] != 0
        # At the same lengths, the angle between the kept vectors counts.
        bent, _ = layer.scale_and_shift(z.at[4:].set(jnp.asarray(turn(1.0)) @ z[4:]), None)
        assert abs(bent[2] - scale[2]) > 1e-3
        # The shift lies in the plane of the kept vectors, here along the only one left.
        _, along = layer.scale_and_shift(z.at[:2].set(0.0), None)
        assert abs(along[2] * z[5] - along[3] * z[4]) < 1e-14 < abs(along[2])


# ------------------------------------------------------------------------------ symmetrised bases

PENTAGON = closure(turn(2 * np.pi / 5)[None])
MEAN, SCALE = np.array([2.0, 0.5]), np.array([0.3, 1.0])


def five_modes():
    return Symmetrised(Flow(Normal(2), Affine(jnp.asarray(MEAN), jnp.log(SCALE))), PENTAGON)


def test_symmetrised_is_the_mixture_of_the_images():
    with jax.enable_x64(True):
        five = five_modes()
        x = normals((40, 2), 2)
        log_p = log_probs(five, 2 * x)
    truth = np.mean(
        [
            stats.multivariate_normal(g @ MEAN, g @ np.diag(SCALE**2) @ g.T).pdf(2 * np.asarray(x))
            for g in PENTAGON
        ],
        axis=0,
    )
    np.testing.assert_allclose(np.exp(log_p), truth, rtol=1e-9)


def test_symmetrised_draws_are_of_its_density():
    with jax.enable_x64(True):
        five = five_modes()
        x, log_p = quick_jit(lambda key: five.sample_and_log_prob(key, (2, 4000)))(
            jax.random.key(1)
        )
        assert x.shape == (2, 4000, 2) and log_p.shape == (2, 4000)
        assert error(log_probs(five, x[1]), log_p[1]) < 1e-12
    for direction in np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]):
        images = [(direction @ g @ MEAN, np.hypot(*(direction @ g * SCALE))) for g in PENTAGON]
        modes = [stats.norm(mean, sd) for mean, sd in images]
        along = np.asarray(x).reshape(-1, 2) @ direction
        fit = stats.kstest(along, lambda t, modes=modes: np.mean([m.cdf(t) for m in modes], axis=0))
        assert fit.pvalue > 1e-4


def test_symmetrised_passes_its_context_and_keeps_its_group():
    with jax.enable_x64(True):
        conditional = Flow(Normal(4), equivariant(np.eye(4, dtype=int)[None], (1, 0, 1, 0), 2))
        both = Symmetrised(conditional, parity(4))
        x, context = normals((5, 4)), normals(2, 1)
        rows = jnp.broadcast_to(context, (5, 2))

        @quick_jit
        def run(conditional, both):
            parts = [conditional.log_prob(sign * x[0], context) for sign in (1, -1)]
            batches = [apply_batch(both.log_prob, x, context=c)[0] for c in (context, rows)]
            draws, log_p = both.sample_and_log_prob(jax.random.key(0), (3,), context)
            again = apply_batch(both.log_prob, draws, context=context)
            slope = eqx.filter_grad(lambda both: both.log_prob(x[0], context))(both)
            truth = jnp.logaddexp(*parts) - float(np.log(2))
            return error(jnp.stack(batches), truth), error(again, log_p), slope

        *gaps, slope = run(conditional, both)
        assert max(gaps) < 1e-12 and not jnp.any(slope.group)
        assert jnp.any(slope.base.bijection.layers.conditioner.weights[0] != 0)


def test_symmetrised_is_stored():
    five, arrays = five_modes(), {}
    again = from_tree(to_tree(five, arrays), arrays)
    assert jax.tree.structure(again) == jax.tree.structure(five)
    assert again.log_prob(jnp.array([0.3, 1.0])) == five.log_prob(jnp.array([0.3, 1.0]))


def test_symmetrised_needs_a_group_that_acts_on_its_events():
    with pytest.raises(ShapeError, match=r"base draws events \(3,\)"):
        Symmetrised(Normal(3), parity(2))
    with pytest.raises(SettingError, match="is not in the group"):
        Symmetrised(Normal(2), PENTAGON[:2])
    mixture = Mixture(jnp.zeros(2), (Normal(2), Normal(2)))
    assert Symmetrised(mixture, parity(2)).event_shape == (2,)
