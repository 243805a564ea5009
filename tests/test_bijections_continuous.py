"""Continuous flows: linear ones by the matrix exponential, their scheme, and flow matching."""

import itertools
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.linalg import expm

from bijection_cases import at, error, perturbed, quick_jit
from posterion.bijections import Continuous, apply_batch
from posterion.bijections.continuous import flow_matching_loss
from posterion.core.errors import SettingError, ShapeError

pytestmark = pytest.mark.usefixtures("strict_dtypes")

DIM = 3
A = np.array([[0.4, -1.1, 0.2], [0.7, -0.3, 0.5], [-0.2, 0.6, -0.6]])


def flow_of(hidden=(8, 8), scale=0.3, dim=DIM, **options):
    flow = Continuous(dim, hidden, key=jax.random.key(0), **options)
    return eqx.tree_at(lambda f: f.network, flow, perturbed(flow.network, scale))


def linear(**options):
    """``dz/dt = A z``; a function of the matrix, so that it can be differentiated."""
    flow = Continuous(DIM, (), frequencies=1, key=jax.random.key(0), **options)

    def of(matrix):
        weights = (jnp.concatenate([matrix, jnp.zeros((DIM, 1), matrix.dtype)], axis=1),)
        flow64 = at(matrix.dtype, flow)
        return eqx.tree_at(lambda f: f.network.weights, flow64, weights)

    return of


FAST = eqx.filter_jit(apply_batch)


def points(n=7, dim=DIM, seed=2):
    return jnp.asarray(1.5 * np.random.default_rng(seed).normal(size=(n, dim)), jnp.float32)


@pytest.mark.parametrize(
    "options", [{"steps": 40}, {"rtol": 1e-9, "atol": 1e-9}], ids=["fixed", "adaptive"]
)
def test_a_linear_velocity_gives_the_matrix_exponential_and_its_gradients(options):
    of = linear(**options)

    def loss(method, matrix, z):
        out, log_det = method(matrix, z)
        return jnp.sum(jnp.sin(out)) + 3 * jnp.sum(log_det)

    def by_flow(matrix, z):
        return apply_batch(of(matrix).forward_and_log_det, z)

    def by_exponential(matrix, z):
        return z @ expm(matrix).T, jnp.broadcast_to(jnp.trace(matrix), z.shape[:1])

    @quick_jit
    def both(matrix, z):
        x, log_det = by_flow(matrix, z)
        back, inverse_log_det = apply_batch(of(matrix).inverse_and_log_det, x)
        true_x, true_log_det = by_exponential(matrix, z)
        gradients = [
            jax.grad(partial(loss, method), (0, 1))(matrix, z)
            for method in (by_flow, by_exponential)
        ]
        slopes = [
            jax.jvp(lambda m, method=method: method(m, z)[0], (matrix,), (jnp.cos(matrix),))[1]
            for method in (by_flow, by_exponential)
        ]
        return {
            "event": error(x, true_x),
            "round trip": error(back, z),
            "gradient of the matrix": error(gradients[0][0], gradients[1][0]),
            "gradient of the event": error(gradients[0][1], gradients[1][1]),
            "forward derivative": error(*slopes),
        }, (log_det - true_log_det, inverse_log_det + true_log_det)

    with jax.enable_x64(True):
        errors, traces = both(jnp.asarray(A), at(jnp.float64, points()))
        assert {k: float(v) for k, v in errors.items() if not float(v) < 1e-8} == {}
        # The divergence is constant: each step adds its share of it.
        assert all(float(jnp.max(jnp.abs(trace))) < 1e-14 for trace in traces)


def test_gradients_of_fixed_steps_are_those_of_the_scheme():
    """With three coarse steps, far from the flow itself: against finite differences."""
    with jax.enable_x64(True):
        flow, z = at(jnp.float64, (flow_of(steps=3, scale=0.6), points()))
        parameters, rest = eqx.partition(flow, eqx.is_inexact_array)
        rng = np.random.default_rng(4)
        along = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), parameters)

        def value(moved):
            x, log_det = apply_batch(eqx.combine(moved, rest).inverse_and_log_det, z)
            return jnp.sum(jnp.sin(x)) + jnp.sum(log_det)

        @quick_jit
        def shifted(h):
            return value(jax.tree.map(lambda p, a: p + h * a, parameters, along))

        reverse = quick_jit(jax.grad(value))(parameters)
        reverse = sum(jnp.vdot(g, a) for g, a in zip(*map(jax.tree.leaves, (reverse, along))))  # noqa: B905
        forward = quick_jit(jax.jvp, static_argnums=0)(value, (parameters,), (along,))[1]
        h = 2e-4
        first, second = ((shifted(s * h) - shifted(-s * h)) / (2 * s * h) for s in (1.0, 2.0))
        assert error(reverse, forward) < 1e-12
        assert error((4 * first - second) / 3, reverse) < 1e-8


@pytest.mark.parametrize(
    ("hidden", "periodic"),
    [
        ((), None),
        ((8,), None),
        ((8, 7), None),
        ((8, 7), (True, False, True)),
        ((6, 5, 7), (False, True, False)),
    ],
)
def test_the_divergence_is_the_trace_of_the_jacobian(hidden, periodic):
    @quick_jit
    def compared(flow, z, context):
        value, divergence = flow._rates(context)(0.3, (z, z[0]))

        def one(z, context):
            return flow.velocity(z, 0.3, context)

        columns = jax.vmap(jax.jacfwd(one), in_axes=-1)(z, context)
        alone, divergence_alone = flow._rates(context[:, 0])(0.3, (z[:, 0], z[0, 0]))
        times = jnp.full(z.shape[1], 0.3)
        return {
            "velocity": error(value, jax.vmap(one, in_axes=-1, out_axes=-1)(z, context)),
            "divergence": error(divergence, jnp.trace(columns, axis1=1, axis2=2)),
            "one event": error(alone, value[:, 0]),
            "one event's divergence": error(divergence_alone, divergence[0]),
            "a time for each": error(flow.velocity(z, times, context), value),
            "one condition": error(flow.velocity(z, 0.3, context[:, 0])[:, 0], value[:, 0]),
        }

    flow = flow_of(hidden, periodic=periodic, context_size=2)
    with jax.enable_x64(True):
        errors = compared(*at(jnp.float64, (flow, points().T, points(dim=2, seed=3).T)))
        assert {k: float(v) for k, v in errors.items() if not float(v) < 1e-13} == {}


def test_probes_give_the_trace_in_expectation():
    """The mean over all sign vectors is the trace itself: none is missing, none twice."""
    signs = jnp.asarray(list(itertools.product((-1, 1), repeat=DIM)), jnp.int8)
    exact = flow_of()
    estimated = flow_of(probes=len(signs))
    assert exact.probes is None and estimated.probes.shape == signs.shape
    assert jnp.all(jnp.abs(estimated.probes) == 1) and estimated.probes.dtype == jnp.int8
    complete = eqx.tree_at(lambda f: f.probes, estimated, signs)

    @quick_jit
    def divergence(flow, z):
        return flow._rates(None)(0.5, (z, z[0]))[1]

    some, mean, true = (divergence(flow, points().T) for flow in (estimated, complete, exact))
    assert error(mean, true) < 1e-5 and error(some, true) > 1e-3


def test_probes_are_kept_until_others_are_asked_for():
    flow, z = flow_of(probes=2, steps=4), points()
    density = quick_jit(lambda flow: apply_batch(flow.inverse_and_log_det, z)[1])
    assert jnp.all(density(flow) == density(flow))
    other = flow.with_new_probes(jax.random.key(5))
    assert other.probes.shape == flow.probes.shape and jnp.any(other.probes != flow.probes)
    assert jnp.any(density(other) != density(flow))
    assert flow_of().with_new_probes(jax.random.key(5)).probes is None


def test_the_trace_is_exact_where_that_is_cheap():
    def probes(dim, hidden=(4, 4), **options):
        return Continuous(dim, hidden, key=jax.random.key(0), **options).probes

    assert probes(95) is None and probes(16, (4, 4, 4)) is None
    assert probes(95, (4, 4, 4), probes=0) is None
    assert probes(17, (4, 4, 4)).shape == (8, 17)
    assert probes(20, periodic=(True,) * 17 + (False,) * 3).shape == (8, 20)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_error_of_fixed_steps_falls_with_their_fifth_power(direction):
    @quick_jit
    def end(flow, z):
        return apply_batch(getattr(flow, f"{direction}_and_log_det"), z)

    with jax.enable_x64(True):
        z = at(jnp.float64, points())
        numbers = (8, 16, 32, 256)
        flows = [flow_of(steps=n, scale=0.2, frequencies=1) for n in numbers]
        flows = at(jnp.float64, flows)
        *ends, (true_x, true_log_det) = (end(flow, z) for flow in flows)
        for errors in (
            [float(jnp.max(jnp.abs(x - true_x))) for x, _ in ends],
            [float(jnp.max(jnp.abs(log_det - true_log_det))) for _, log_det in ends],
        ):
            rates = np.log2(np.array(errors[:-1]) / errors[1:])
            assert np.all((rates > 4.7) & (rates < 5.4)), rates


def test_adaptive_steps_meet_the_tolerance():
    fixed, tight = flow_of(steps=200, scale=0.6), flow_of(scale=0.6)
    loose = flow_of(scale=0.6, rtol=1e-3, atol=1e-3)

    @quick_jit
    def both_ways(flow, z):
        x, log_det = apply_batch(flow.forward_and_log_det, z)
        back, inverse_log_det = apply_batch(flow.inverse_and_log_det, x)
        alone, log_det_alone = jax.vmap(flow.forward_and_log_det)(z)
        return x, log_det, back, inverse_log_det, alone, log_det_alone

    z = points()
    with jax.enable_x64(True):
        true_x, true_log_det, *_ = both_ways(*at(jnp.float64, (fixed, z)))
        true_x, true_log_det = at(jnp.float32, (true_x, true_log_det))
    x, log_det, back, inverse_log_det, alone, log_det_alone = both_ways(tight, z)
    assert x.dtype == log_det.dtype == jnp.float32
    assert error(x, true_x) < 1e-5 and error(log_det, true_log_det) < 1e-5
    assert error(back, z) < 1e-5 and error(inverse_log_det, -log_det) < 1e-5
    assert error(alone, x) < 1e-5 and error(log_det_alone, log_det) < 1e-5
    x, *_ = both_ways(loose, z)
    assert 1e-5 < error(x, true_x) < 1e-2


def test_gradients_of_adaptive_steps():
    """Against many fixed ones, in both modes; float32 stays float32 where the flag is set."""
    fixed, adaptive, single = flow_of(steps=100), flow_of(rtol=1e-9, atol=1e-9), flow_of()
    z = points()

    def value(flow, z):
        x, log_det = apply_batch(flow.inverse_and_log_det, z)
        return jnp.sum(jnp.sin(x)) + jnp.sum(log_det)

    @quick_jit
    def slopes(flow, z):
        along = jnp.cos(z)
        reverse = eqx.filter_grad(value)(flow, z).network, jax.grad(value, 1)(flow, z)
        return reverse, jax.jvp(partial(value, flow), (z,), (along,))[1]

    with jax.enable_x64(True):
        wanted, found = (slopes(*at(jnp.float64, (flow, z))) for flow in (fixed, adaptive))
        for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
            assert error(a, b) < 1e-7
        out, log_det = FAST(single.forward_and_log_det, z)
        assert out.dtype == log_det.dtype == jnp.float32


def test_no_event_hides_among_the_others():
    """One that moves fast among a thousand at rest is followed as well as alone."""
    flow = linear(rtol=1e-6, atol=1e-6)(jnp.diag(jnp.asarray([6.0, 0.0, 0.0])))
    z = jnp.zeros((1000, DIM)).at[17, 0].set(1.0)
    x, _ = FAST(flow.forward_and_log_det, z)
    assert abs(float(x[17, 0]) / np.exp(6) - 1) < 2e-5
    assert jnp.all(x[:17] == 0)


@pytest.mark.parametrize("options", [{"steps": 4}, {}], ids=["fixed", "adaptive"])
def test_what_is_not_finite_stays_by_itself(options):
    flow, z = flow_of(context_size=2, **options), points()
    context = points(dim=2, seed=3)
    spoilt = z.at[1, 0].set(jnp.nan).at[2, 2].set(-jnp.inf)
    run = quick_jit(lambda z, context: apply_batch(flow.forward_and_log_det, z, context=context))
    x, log_det = run(z, context)
    found = run(spoilt, context.at[3, 1].set(jnp.nan))
    lost = np.isin(np.arange(len(z)), [1, 2, 3])
    for values, true in zip(found, (x, log_det), strict=True):
        assert jnp.all(jnp.isnan(values[lost]))
        assert error(values[~lost], true[~lost]) < 1e-5


def test_far_events_come_back():
    flow = flow_of()
    z = jnp.asarray(np.sign(points(8)) * np.geomspace(10, 1e12, 8)[:, None], jnp.float32)
    x, log_det = FAST(flow.forward_and_log_det, z)
    back, inverse_log_det = FAST(flow.inverse_and_log_det, x)
    # Far out, the divergence jumps where a unit switches.
    assert error(back, z) < 1e-4 and error(inverse_log_det, -log_det) < 1e-3


def test_a_flow_that_cannot_be_followed_says_so():
    flow = linear()(jnp.asarray(-1e5 * np.eye(DIM), jnp.float32))
    z = points()

    @quick_jit
    def followed(flow, z):
        return apply_batch(flow.forward_and_log_det, z)

    assert all(jnp.all(jnp.isnan(values)) for values in followed(flow, z))


def test_settings_that_cannot_be():
    make = partial(Continuous, 2, key=jax.random.key(0))
    for options in ({"steps": 0}, {"rtol": 0.0}, {"frequencies": 0}):
        with pytest.raises(SettingError, match="must be positive"):
            make(**options)
    with pytest.raises(SettingError, match="number, or 0 for the exact trace"):
        make(probes=-1)
    with pytest.raises(ShapeError, match="1 entries for 2 coordinates"):
        make(periodic=(True,))
    with pytest.raises(ShapeError, match="rows of events"):
        flow_matching_loss(make(), jnp.zeros((4, 2)), jnp.zeros((5, 2)), jax.random.key(0))


# Flow matching ----------------------------------------------------------------------------------


def test_loss_of_a_flow_at_rest_is_the_square_of_the_way():
    """Round the circle the shorter way; a row counts by its weight; a shared condition."""
    flow = Continuous(2, periodic=(True, False), context_size=1, key=jax.random.key(0))
    x0, x1 = jnp.array([[3.0, 0.0], [0.5, 1.0]]), jnp.array([[-3.0, 2.0], [1.0, -1.0]])
    squares = np.array([(2 * np.pi - 6) ** 2 + 4, 0.25 + 4])
    loss = partial(flow_matching_loss, flow, x0, x1, jax.random.key(0), jnp.zeros(1))
    np.testing.assert_allclose(loss(), squares.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        loss(weights=jnp.array([1.0, 3.0])), squares @ [0.25, 0.75], rtol=1e-5
    )


def test_loss_is_that_of_the_paper():
    """Against one event after the other, at the times that the velocity was asked for."""
    flow, n = flow_of(dim=2, context_size=2), 16
    x0, x1, context = points(n, 2), points(n, 2, 5), points(n, 2, 6)
    times = []

    class Watched(Continuous):
        def velocity(self, x, t, context=None):
            times.append(t)
            return super().velocity(x, t, context)

    watched = object.__new__(Watched)
    for field, value in vars(flow).items():
        object.__setattr__(watched, field, value)
    found = flow_matching_loss(watched, x0, x1, jax.random.key(3), context)
    (t,) = times
    each = [
        jnp.sum((flow.velocity((1 - t) * a + t * b, t, c) - (b - a)) ** 2)
        for a, b, c, t in zip(x0, x1, context, t, strict=True)
    ]
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-5)
    # One in each interval of length 1/n, none at the same place as for another key.
    assert np.array_equal(np.sort(np.floor(np.asarray(t) * n)), np.arange(n))


def test_flow_matching_learns_a_correlated_normal():
    """Within 0.05 nats of the exact mean log-likelihood of 4000 draws.

    A fixed seed; the difference of the two means scatters by 0.005.
    """
    mean, root = jnp.array([1.0, -0.5]), jnp.array([[1.2, 0.0], [0.6, 0.4]])

    def data(key, n):
        return mean + jax.random.normal(key, (n, 2)) @ root.T

    flow = Continuous(2, (32, 32), key=jax.random.key(1))
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, 600))
    parameters, rest = eqx.partition(flow, eqx.is_inexact_array)

    @jax.jit
    def learn(parameters):
        def step(carry, key):
            parameters, state = carry
            a, b, c = jax.random.split(key, 3)

            def loss(parameters):
                moved = eqx.combine(parameters, rest)
                x0 = jax.random.normal(a, (512, 2))
                return flow_matching_loss(moved, x0, data(b, 512), c)

            changes, state = optimiser.update(jax.grad(loss)(parameters), state)
            return (optax.apply_updates(parameters, changes), state), None

        keys = jax.random.split(jax.random.key(2), 600)
        with jax.numpy_dtype_promotion("standard"):
            (learned, _), _ = jax.lax.scan(step, (parameters, optimiser.init(parameters)), keys)
        return learned

    learned = eqx.combine(learn(parameters), rest)
    x = data(jax.random.key(3), 4000)
    z, log_det = FAST(learned.inverse_and_log_det, x)
    log_normal = jax.scipy.stats.norm.logpdf
    exact_z = jnp.linalg.solve(root, (x - mean).T)
    exact = jnp.sum(log_normal(exact_z), axis=0) - jnp.log(jnp.prod(jnp.diag(root)))
    found = jnp.sum(log_normal(z), axis=1) + log_det
    assert abs(float(jnp.mean(found - exact))) < 0.05
    assert float(jnp.mean((found - exact) ** 2)) < 0.1
