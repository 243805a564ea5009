"""Continuous flows: a learned velocity, followed from base to data."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffrax import (
    RESULTS,
    ForwardMode,
    ODETerm,
    PIDController,
    SaveAt,
    SubSaveAt,
    Tsit5,
    diffeqsolve,
)
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.bijections.base import Bijection, across
from posterion.bijections.divergence import by_columns, by_kernel, by_probes, has_kernel, kernel
from posterion.bijections.elementwise import wrap
from posterion.core.errors import SettingError, ShapeError
from posterion.core.registry import register
from posterion.networks.perceptron import MLP

_EXACT = 16  # derivatives, one a coordinate, up to which the trace is exact by default
_PROBES = 8
_MAX_STEPS, _BLOCK = 256, 16

State = tuple[Array, Array]


@register("continuous")
class Continuous(Bijection):
    """``x = z(1)`` where ``dz/dt = v(z, t, context)`` and ``z(0) = z``: a learned velocity.

    The log-determinant is the integral of the divergence of ``v``, a perceptron. Both directions
    take the same time, and both are differentiable, in either mode.

    By default the steps of Diffrax's ``Tsit5`` adapt to the tolerances, for the whole batch at once
    so that its worst event meets them: what an event gives then depends, within the tolerances, on
    the events beside it. Derivatives are those of the scheme with the steps that were taken. An
    event that is not finite gives NaN; one that needs over 256 steps, NaN for the whole batch. With
    ``steps`` there are that many equal ones, and the error falls as their number to the power -5;
    more slowly far from the origin, where units switch and the divergence all but jumps.

    Args:
        dim: length of the event.
        hidden: widths of the velocity's hidden layers.
        activation: name of its activation; smooth, or the steps become small.
        context_size: width of the context, 0 for none.
        periodic: for each coordinate, whether it is an angle on ``[-pi, pi)``.
        frequencies: how many cosines of the time the velocity sees: ``cos(pi k t)``, from k = 1.
        probes: 0 for the exact trace, else the number of random ones, kept with the flow so that
            its density is one function, that estimate it. By default the exact trace where it costs
            at most 16 derivatives, 8 probes elsewhere; it costs one for each coordinate, for each
            angle alone where there are at most two hidden layers.
        steps: number of equal steps; ``None`` for adaptive ones.
        rtol: relative tolerance of an adaptive step.
        atol: absolute tolerance of an adaptive step.
        key: random key; the velocity's last layer starts at zero, the flow as the identity.

    Raises:
        SettingError: a number that is not positive.
        ShapeError: ``periodic`` has not ``dim`` entries.

    Source: Chen et al., 1806.07366, theorem 1; Grathwohl et al., 1810.01367.
    """

    network: MLP
    probes: Array | None
    periodic: tuple[bool, ...] | None = eqx.field(static=True)
    frequencies: int = eqx.field(static=True)
    steps: int | None = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "silu",
        *,
        context_size: int = 0,
        periodic: tuple[bool, ...] | None = None,
        frequencies: int = 3,
        probes: int | None = None,
        steps: int | None = None,
        rtol: float = 1e-6,
        atol: float = 1e-6,
        key: PRNGKeyArray,
    ):
        flags = (False,) * dim if periodic is None else tuple(bool(p) for p in periodic)
        if len(flags) != dim:
            raise ShapeError(f"periodic has {len(flags)} entries for {dim} coordinates")
        if min(frequencies, 1 if steps is None else steps) < 1 or min(rtol, atol) <= 0:
            raise SettingError(
                f"frequencies={frequencies}, steps={steps}, rtol={rtol} and atol={atol} must be "
                "positive"
            )
        if probes is not None and probes < 0:
            raise SettingError(f"probes={probes}: give their number, or 0 for the exact trace")
        self.network = MLP(
            dim + sum(flags) + frequencies + context_size,
            dim,
            hidden,
            activation,
            key=jax.random.fold_in(key, 0),
            zero_output=True,
        )
        if probes is None:
            derivatives = sum(flags) if has_kernel(self.network) else dim
            probes = 0 if derivatives <= _EXACT else _PROBES
        self.probes = _signs(jax.random.fold_in(key, 1), (probes, dim)) if probes else None
        self.periodic = flags if any(flags) else None
        self.frequencies = frequencies
        self.steps = steps
        self.rtol = rtol
        self.atol = atol
        self.event_shape = (dim,)
        self.context_shape = (context_size,) if context_size else None

    @property
    def batch_last(self) -> bool:
        return True

    def velocity(self, x: Array, t: Array | float, context: Array | None = None) -> Array:
        """``dx/dt`` of one event ``(dim,)`` at time ``t``, or of a batch along a last axis.

        Args:
            x: events, ``(dim,)`` or ``(dim, n)``; angles may be on any turn.
            t: times from 0, the base, to 1, the data: one, or ``(n,)``.
            context: one condition, or one for each event, ``(context_size, n)``.
        """
        return self.network(self._inputs(x, t, context))

    def with_new_probes(self, key: PRNGKeyArray) -> "Continuous":
        """The same flow with other probes, as many: one set for long is learned by heart."""
        if self.probes is None:
            return self
        return eqx.tree_at(lambda flow: flow.probes, self, _signs(key, self.probes.shape))

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._follow(z, context, 0.0, 1.0)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._follow(x, context, 1.0, 0.0)

    def _angles(self) -> np.ndarray:
        return np.flatnonzero(self.periodic or ())

    def _inputs(self, x: Array, t: Array | float, context: Array | None) -> Array:
        k = jnp.asarray(np.pi * np.arange(1, self.frequencies + 1), x.dtype)
        t = jnp.asarray(t, x.dtype)
        parts = [x, jnp.cos((k[:, None] if t.ndim else k) * t)]
        if self.periodic is not None:
            circles = across(jnp.asarray(self.periodic), x)
            parts[0] = jnp.where(circles, jnp.cos(x), x)
            parts.insert(1, jnp.sin(x[self._angles()]))
        if context is not None:
            parts.append(context)
        return jnp.concatenate(
            [jnp.broadcast_to(across(p, x), (*p.shape[:1], *x.shape[1:])) for p in parts]
        )

    def _follow(
        self, start: Array, context: Array | None, begin: float, end: float
    ) -> tuple[Array, Array]:
        finite = jnp.all(jnp.isfinite(start), axis=0)
        if context is not None:
            finite &= jnp.all(jnp.isfinite(context), axis=0)
            context = jnp.where(finite if context.ndim > 1 else jnp.all(finite), context, 0)
        start = jnp.where(finite, start, 0)
        if self.steps is None:
            x, log_det = _adaptive(self, start, context, begin, end)
        else:
            times = jnp.asarray(np.linspace(begin, end, self.steps + 1), start.dtype)
            x, log_det = _through(self, start, context, times)
        if self.periodic is not None:
            x = jnp.where(across(jnp.asarray(self.periodic), x), wrap(x), x)
        return jnp.where(finite, x, jnp.nan), jnp.where(finite, log_det, jnp.nan)

    def _rates(self, context: Array | None) -> Any:
        """``rates(t, (z, _))``: the velocity and its divergence."""
        angles, matrix = self._angles(), None
        if self.probes is None and has_kernel(self.network):
            matrix = kernel(self.network, np.setdiff1d(np.arange(*self.event_shape), angles))

        def rates(t: Array | float, state: State) -> State:
            z, _ = state

            def velocity(z: Array) -> Array:
                return self.velocity(z, t, context)

            if self.probes is not None:
                return by_probes(velocity, z, self.probes)
            if matrix is None:
                return by_columns(velocity, z, np.arange(z.shape[0]))
            value, divergence = by_kernel(self.network, self._inputs(z, t, context), matrix)
            if len(angles):
                divergence = divergence + by_columns(velocity, z, angles)[1]
            return value, divergence

        return rates


def _signs(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Integers, that no optimiser takes for parameters."""
    return jax.random.rademacher(key, shape, jnp.int8)


# Steps that are given -----------------------------------------------------------------------


def _through(flow: Continuous, start: Array, context: Array | None, times: Array) -> State:
    """Steps of Tsit5 between ``times``, ``(steps + 1,)`` or, in blocks, ``(blocks, steps + 1)``.

    Steps and blocks of no length are left out. In reverse mode what a step computes is computed
    again: only the steps' ends are kept.
    """
    rates = flow._rates(context)

    def take(state: State, t: Array, h: Array) -> State:
        table, slopes = Tsit5.tableau, [rates(t, state)]
        # The last stage is the next step's first.
        for c, row in zip(table.c[:-1], table.a_lower[:-1], strict=True):
            slopes.append(rates(t + float(c) * h, _moved(state, h, row, slopes)))
        return _moved(state, h, table.b_sol, slopes)

    @jax.checkpoint
    def step(state: State, ends: tuple[Array, Array]) -> tuple[State, None]:
        t, h = ends[0], ends[1] - ends[0]
        return lax.cond(h != 0, take, lambda state, t, h: state, state, t, h), None

    def block(state: State, times: Array) -> tuple[State, None]:
        def steps(state: State) -> State:
            return lax.scan(step, state, (times[:-1], times[1:]))[0]

        return lax.cond(times[0] != times[-1], steps, lambda state: state, state), None

    state = start, jnp.zeros(start.shape[1:], start.dtype)
    return block(state, times)[0] if times.ndim == 1 else lax.scan(block, state, times)[0]


def _moved(state: State, h: Array, row: np.ndarray, slopes: list[State]) -> State:
    for weight, slope in zip(row, slopes, strict=False):
        state = jax.tree.map(lambda y, k, a=float(weight): y + (a * h) * k, state, slope)
    return state


# Steps that adapt ---------------------------------------------------------------------------


def _worst(errors: State) -> Array:
    """Largest of the events' root mean squares: no event hides among the others."""
    squares = jnp.sum(errors[0] ** 2, axis=0) + errors[1] ** 2
    return jnp.sqrt(jnp.max(squares) / (errors[0].shape[0] + 1))


def _solved(
    flow: Continuous, start: Array, context: Array | None, begin: float, end: float
) -> tuple[State, Array, Array]:
    """The state at the end, whether it was reached, and the times of the steps, in blocks."""
    rates = flow._rates(context)
    state = start, jnp.zeros(start.shape[1:], start.dtype)
    # Diffrax takes the dtype of its times from the flag, and that of the state from both.
    with jax.enable_x64(start.dtype == jnp.float64):
        solution: Any = diffeqsolve(
            ODETerm(lambda t, state, _: rates(t, state)),
            Tsit5(),
            begin,
            end,
            0.1 * (end - begin),
            state,
            stepsize_controller=PIDController(rtol=flow.rtol, atol=flow.atol, norm=_worst),
            saveat=SaveAt(
                subs=[SubSaveAt(t1=True), SubSaveAt(steps=True, fn=lambda t, state, _: None)]
            ),
            adjoint=ForwardMode(),
            max_steps=_MAX_STEPS,
            throw=False,
        )
        reached = solution.result == RESULTS.successful
    (x, log_det), _ = solution.ys
    taken = jnp.where(jnp.isfinite(solution.ts[1]), solution.ts[1], end)
    ends = taken.reshape(-1, _BLOCK)
    begins = jnp.concatenate([jnp.full(1, begin, start.dtype), ends[:-1, -1]])
    times = jnp.concatenate([begins[:, None], ends], axis=1)
    return (x[0], log_det[0]), reached, times


def _if(reached: Array, state: State) -> State:
    return jnp.where(reached, state[0], jnp.nan), jnp.where(reached, state[1], jnp.nan)


@eqx.filter_custom_jvp
def _adaptive(
    flow: Continuous, start: Array, context: Array | None, begin: float, end: float
) -> State:
    state, reached, _ = _solved(flow, start, context, begin, end)
    return _if(reached, state)


@_adaptive.def_jvp
def _(primals, tangents):
    flow, start, context, begin, end = primals
    fixed = jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf,
        (flow, start, context),
    )
    _, reached, times = _solved(fixed[0], fixed[1], fixed[2], begin, end)

    def again(flow, start, context):
        return _if(reached, _through(flow, start, context, times))

    return eqx.filter_jvp(again, (flow, start, context), tangents[:3])


# Learning -----------------------------------------------------------------------------------


def flow_matching_loss(
    flow: Continuous,
    x0: Array,
    x1: Array,
    key: PRNGKeyArray,
    context: Array | None = None,
    weights: Array | None = None,
) -> Array:
    """Mean of `flow_matching_errors`, weighted by ``weights``, ``(n,)``, not negative."""
    missed = flow_matching_errors(flow, x0, x1, key, context)
    return jnp.mean(missed) if weights is None else jnp.sum(weights * missed) / jnp.sum(weights)


def flow_matching_errors(
    flow: Continuous, x0: Array, x1: Array, key: PRNGKeyArray, context: Array | None = None
) -> Array:
    """``|v(x_t, t) - (x1 - x0)|^2`` of each row, ``x_t = (1 - t) x0 + t x1``: no integration.

    Angles go the shorter way round. Times are uniform, ``1/n`` apart.

    Args:
        flow: the continuous flow.
        x0: draws from the base, ``(n, dim)``, paired with ``x1``: independent of it, or coupled.
        x1: data, ``(n, dim)``.
        key: of the times.
        context: one condition, or one a row, ``(n, context_size)``.

    Raises:
        ShapeError: ``x0`` and ``x1`` differ in shape, or are not rows of events.

    Source: Lipman et al., 2210.02747, section 4.1; pairs: Tong et al., 2302.00482; times: Kingma
    et al., 2107.00630, appendix I.
    """
    n = x1.shape[0]
    if x0.shape != x1.shape or x1.shape[1:] != flow.event_shape:
        raise ShapeError(
            f"x0 {x0.shape} and x1 {x1.shape} must be rows of events {flow.event_shape}"
        )
    start, way = x0.T, (x1 - x0).T
    if flow.periodic is not None:
        way = jnp.where(across(jnp.asarray(flow.periodic), way), wrap(way), way)
    t = jax.random.uniform(key, (), x1.dtype) + jnp.arange(n, dtype=x1.dtype) / n
    t = t - jnp.floor(t)
    if context is not None and context.shape != flow.context_shape:
        context = context.T
    return jnp.sum((flow.velocity(start + t * way, t, context) - way) ** 2, axis=0)
