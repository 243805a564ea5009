"""One contract for every family of flows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bijection_cases import at, error, perturbed, quick_jit
from posterion import flows
from posterion.bijections import apply_batch, permutations
from posterion.core.errors import SettingError, ShapeError
from posterion.distributions import NormalMixture

SMALL = {"hidden": (8,), "transforms": 2}
FAMILIES = {
    "realnvp": partial(flows.realnvp, **SMALL),
    "realnvp, residual": partial(flows.realnvp, hidden=(8, 8), transforms=2, residual=True),
    "coupling spline": partial(flows.coupling_spline, bins=4, mixing=True, **SMALL),
    "quadratic coupling": partial(flows.coupling_spline, bins=4, spline="quadratic", **SMALL),
    "linear coupling": partial(flows.coupling_spline, bins=4, spline="linear", **SMALL),
    "maf": partial(flows.maf, **SMALL),
    "iaf": partial(flows.iaf, **SMALL),
    "autoregressive spline": partial(flows.autoregressive_spline, bins=4, **SMALL),
    "its inverse": partial(flows.autoregressive_spline, bins=4, inverse=True, **SMALL),
    "neural autoregressive": partial(flows.neural_autoregressive, units=4, **SMALL),
    "continuous": partial(flows.continuous, hidden=(8,), steps=16),
}
FAST = {"maf": "inverse", "iaf": "forward", "its inverse": "forward"} | {
    "autoregressive spline": "inverse",
    "neural autoregressive": "inverse",
}
BOUNDS = [(0.0, 2.0), (1.0, None), None, (-2.0, 6.0)]
ANGLES = [False, False, False, True]


@quick_jit
def drawn(flow, key, context):
    return flow.sample_and_log_prob(key, (40,), context)


@quick_jit
def log_probs(flow, x, context):
    return apply_batch(flow.log_prob, x, context=context)


@pytest.mark.parametrize("name", FAMILIES)
def test_starts_as_its_base_and_says_which_way_is_fast(name):
    flow = FAMILIES[name](3, seed=1)
    z = flow.base.sample(jax.random.key(0), (20,))
    x, log_det = quick_jit(lambda z: apply_batch(flow.bijection.forward_and_log_det, z))(z)
    assert error(x, z) < 2e-5 and jnp.max(jnp.abs(log_det)) < 2e-5
    assert flow.bijection.fast == FAST.get(name, "both")
    same, other = FAMILIES[name](3, seed=1), FAMILIES[name](3, seed=2)
    leaves = [jax.tree.leaves(at(jnp.float32, f)) for f in (flow, same, other)]
    assert all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_lives_on_its_support_given_a_context(name):
    flow = FAMILIES[name](4, bounds=BOUNDS, periodic=ANGLES, context_dim=2)
    moved = flow.bijection.bijections
    chain = type(flow.bijection)([*(perturbed(b, 0.1) for b in moved[:-1]), moved[-1]])
    flow = type(flow)(flow.base, chain)
    assert flow.context_shape == (2,)
    contexts = jnp.array([[0.5, -1.0], [2.0, 1.0]])
    x, log_p = drawn(flow, jax.random.key(1), contexts[0])
    lower = np.array([0.0, 1.0, -np.inf, -2.0])
    upper = np.array([2.0, np.inf, np.inf, 6.0])
    assert np.all((np.asarray(x) >= lower) & (np.asarray(x) <= upper))
    assert jnp.all(jnp.isfinite(log_p))
    again = log_probs(flow, x, contexts[0])
    assert float(jnp.median(jnp.abs(again - log_p))) < 1e-4
    assert float(jnp.max(jnp.abs(again - log_probs(flow, x, contexts[1])))) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_integrates_to_one_on_a_square(name):
    flow = FAMILIES[name](2, bounds=[(0.0, 1.0), (0.0, 3.0)])
    layers = flow.bijection.bijections
    moved = [perturbed(layer, 0.1) for layer in layers[:-1]]
    flow = type(flow)(flow.base, type(flow.bijection)([*moved, layers[-1]]))
    n = 60
    with jax.enable_x64(True):
        # Equal steps of the normal variable, so that the ends of the square are seen.
        u = np.linspace(-6, 6, n)
        w = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi) * (u[1] - u[0])
        p = np.array([float(jax.scipy.stats.norm.cdf(v)) for v in u])
        x = np.stack(np.meshgrid(p, 3 * p, indexing="ij"), axis=-1).reshape(-1, 2)
        density = np.exp(log_probs(at(jnp.float64, flow), jnp.asarray(x), None)).reshape(n, n)
    assert 3 * (w @ density @ w) == pytest.approx(1, abs=2e-3)


def test_a_mixture_as_base_and_a_chosen_order():
    lowers = jnp.stack([jnp.eye(3), jnp.eye(3)])
    base = NormalMixture(jnp.zeros(2), jnp.array([[3.0, 0, 0], [-3.0, 0, 0]]), lowers)
    flow = flows.maf(3, order=[2, 0, 1], base=base, **SMALL)
    assert flow.base is base
    order = flow.bijection.bijections[0].layers.order
    assert order.tolist() == [[2, 0, 1], [1, 0, 2]]


@pytest.mark.parametrize("masks", ["random", "alternating", "binary"])
def test_masks_by_name(masks):
    flow = flows.realnvp(5, masks=masks, hidden=(8,), transforms=6)
    kept = np.asarray(flow.bijection.bijections[0].layers.mask)
    assert kept.shape == (6, 5) and (kept.sum(axis=0) < 6).all()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: flows.maf(0), SettingError, "at least one coordinate, got dim=0"),
        (lambda: flows.maf(3, order=[0, 1]), ShapeError, "2 entries for 3"),
        (lambda: flows.maf(3, order=[0, 1, 1]), ShapeError, "no permutation"),
        (lambda: flows.maf(3, periodic=[True]), ShapeError, "1 entries for 3"),
        (lambda: flows.maf(2, bounds=[(0, 1)]), ShapeError, "1 bounds for 2"),
        (lambda: flows.maf(2, bounds=[(1, 0), None]), SettingError, "coordinate 0: lower 1"),
        (
            lambda: flows.maf(2, bounds=[(1, None), None], periodic=[True, False]),
            SettingError,
            "needs both bounds",
        ),
        (lambda: flows.maf(2, hidden=()), SettingError, "hidden layers"),
        (lambda: flows.maf(2, hidden=(8, 4), residual=True), SettingError, "of one width"),
        (lambda: flows.realnvp(2, hidden=(8, 4), residual=True), SettingError, "layers of one"),
        (lambda: flows.coupling_spline(2, spline="cubic"), SettingError, "choose one of"),
        (lambda: flows.realnvp(4, masks="odd"), SettingError, "choose random"),
        (lambda: flows.realnvp(4, transforms=1), SettingError, r"leave coordinates \[\d, \d\]"),
    ],
)
def test_what_cannot_be_built(build, error, message):
    with pytest.raises(error, match=message):
        build()


SPECIAL = {
    "equivariant": partial(flows.equivariant, 4, permutations(2, size=2), **SMALL),
    "rotational": partial(flows.rotational, 2, 2, **SMALL),
    "manifold": partial(flows.manifold, 4, 2, **SMALL),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_symmetric_ones_and_surfaces_take_a_context(name):
    flow = SPECIAL[name](context_dim=2)
    assert flow.context_shape == (2,) and flow.event_shape == (4,)
    flow = perturbed(flow, 0.1)
    contexts = jnp.array([[0.5, -1.0], [2.0, 1.0]])
    x, log_p = drawn(flow, jax.random.key(1), contexts[0])
    again = log_probs(flow, x, contexts[0])
    assert float(jnp.max(jnp.abs(again - log_p))) < 2e-3
    each = jnp.broadcast_to(contexts[1], (40, 2))
    other = log_probs(flow, x, each)
    assert float(jnp.max(jnp.abs(again - other))) > 1e-3
    assert float(jnp.max(jnp.abs(other - log_probs(flow, x, contexts[1])))) < 1e-5
