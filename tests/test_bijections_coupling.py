"""Couplings, periodic ones too, and their masks."""

import jax.numpy as jnp
import numpy as np
import pytest

from bijection_cases import (
    CASES,
    CIRCULAR,
    SPLINE,
    Case,
    coupling,
    error,
    events,
    gap,
    mixed,
    perturbed,
    quick_jit,
)
from posterion.bijections import (
    AffineTransformer,
    alternating_masks,
    apply_batch,
    binary_masks,
    random_masks,
)
from posterion.core.errors import SettingError, ShapeError

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize("name", ["circular coupling", "mixed coupling", "stack"])
def test_flow_is_periodic_in_its_angles(name):
    case = CASES[name]
    bijection = perturbed(case.build())
    x, context = events(case)
    turned = x + 2 * jnp.pi * jnp.array(case.circles, jnp.float32)

    @quick_jit
    def inverse(x):
        return apply_batch(bijection.inverse_and_log_det, x, context=context)

    (z, log_det), (again, again_log_det) = inverse(x), inverse(turned)
    assert gap(again, z, case.circles) < 1e-4 and error(again_log_det, log_det) < 1e-4


@pytest.mark.parametrize(
    ("transformer", "periodic", "mask"),
    [
        (AffineTransformer(), (False, True, False), (1.0, 0.0, 1.0)),
        (CIRCULAR, (True, False, True), (1.0, 0.0, 1.0)),
        (mixed(SPLINE), (True, True, False), (0.0, 0.0, 1.0)),
    ],
)
def test_a_circle_must_be_moved_as_a_circle(transformer, periodic, mask):
    with pytest.raises(SettingError, match="use a MixedTransformer"):
        coupling(transformer, mask=mask, periodic=periodic)
    with pytest.raises(ShapeError, match="2 entries for 3 coordinates"):
        coupling(transformer, mask=mask, periodic=periodic[:2])


def test_a_kept_angle_may_stand_beside_moved_lines():
    layer = perturbed(coupling(AffineTransformer(), periodic=(True, False, False)))
    x, _ = events(Case(lambda: layer, (True, False, False)))
    turned = x.at[:, 0].add(2 * jnp.pi)
    z, _ = apply_batch(layer.inverse_and_log_det, x)
    again, _ = apply_batch(layer.inverse_and_log_det, turned)
    assert jnp.allclose(z[:, 1], again[:, 1], atol=1e-4)
    assert layer.conditioner.weights[0].shape == (8, 4)


def test_only_what_moves_is_computed():
    """Half of the coordinates have parameters; with masks of one kind, always the same number."""
    shapes = {
        coupling(SPLINE, mask=mask).conditioner.weights[-1].shape
        for mask in ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    }
    assert shapes == {(2 * (3 * SPLINE.bins + 1), 8)}


@pytest.mark.parametrize("dim", range(1, 18))
def test_masks_move_at_most_half_and_couple_all(dim):
    binary = np.asarray(binary_masks(dim))
    assert len(binary) == 2 * max(1, int(np.ceil(np.log2(dim))))
    for masks in (binary, alternating_masks(dim, 3), random_masks(dim, 5, seed=0)):
        assert set(np.unique(masks)) <= {0.0, 1.0}
        assert np.all(np.sum(np.asarray(masks) == 0, axis=1) <= (dim + 1) // 2)
    if dim > 1:
        for masks in (binary, alternating_masks(dim, 2), random_masks(dim, 2, seed=1)):
            assert np.all(np.min(masks, axis=0) == 0) and np.all(np.max(masks, axis=0) == 1)
    moved_by = np.einsum("li,lj->ij", binary, 1 - binary) + np.eye(dim)
    assert np.all(moved_by > 0)


def test_random_masks_follow_their_seed():
    assert jnp.all(random_masks(9, 4, seed=3) == random_masks(9, 4, seed=3))
    assert not jnp.all(random_masks(9, 4, seed=3) == random_masks(9, 4, seed=4))
    with pytest.raises(ShapeError, match="at least one coordinate"):
        random_masks(0, 2, seed=0)
