"""One attempt at learning: a start, and the steps from there, in segments."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterion.bijections.affine import Affine
from posterion.bijections.base import apply_batch
from posterion.diagnostics import Thresholds
from posterion.distributions.families import realnvp
from posterion.distributions.flow import Flow
from posterion.distributions.mixture import NormalMixture
from posterion.optimisation import Guard, Trained, restore, run_segment, trainable
from posterion.targets.target import Target, x_and_log_det
from posterion.training.gaussians import by_expectation_maximisation, by_labels, parted
from posterion.training.method import Method
from posterion.training.objectives import (
    Likelihood,
    LogVariance,
    PathObjective,
    flow_circular,
    mean_log_prob,
)
from posterion.training.scouting import WORTH_KEEPING, Ground

SEGMENT = 100
COMPONENTS = 16
_PRETRAIN_RATE = 1e-3
_PATIENCE = 6
_SETTLE_ROUNDS, _SETTLE_DRAWS = 3, 8192
_FEWEST = 50
_POOR, _FITS = 0.3, Thresholds().ess_fraction

Save = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], None]


@dataclass
class Record:
    """What learning used and how it went, one row a segment."""

    rows: list[dict[str, float]] = field(default_factory=list)
    calls: int = 0
    not_finite: int = 0
    excluded: int = 0
    seconds: float = 0.0
    compiling: float = 0.0
    skipped: int = 0
    checking: int = 0
    checking_seconds: float = 0.0

    def on_its_way(self) -> bool:
        """Whether the flow fits its own draws in part: neither well by now, nor hardly at all."""
        return _POOR <= float(np.median([row["ess"] for row in self.rows[-5:]])) < _FITS

    def history(self) -> dict[str, np.ndarray]:
        """Arrays of one entry per segment."""
        names = ("step", "loss", "ess", "calls", "seconds")
        return {name: np.array([row[name] for row in self.rows], float) for name in names}


@dataclass
class Limits:
    """What learning may still use.

    Attributes:
        calls: density calls in all, or ``None``.
        deadline: on the clock of ``time.perf_counter``, or ``None``.
    """

    calls: int | None
    deadline: float | None

    def steps(self, wanted: int, batch: int, record: Record, *, reserve: int = 0) -> int:
        """Steps that the calls still pay for, ``reserve`` kept back."""
        if self.calls is None:
            return wanted
        return max(0, min(wanted, (self.calls - reserve - record.calls) // batch))

    def passed(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.perf_counter() > self.deadline


def first_flow(ground: Ground, method: Method, kind: str, seed: int) -> Flow:
    """The flow before any step: the Gaussian (or mixture) answer is in it already."""
    circular = tuple(bool(flag) for flag in ground.frame.circular)
    base = None
    if not any(circular):
        if kind == "mixture":
            base = by_expectation_maximisation(ground.v, COMPONENTS, seed=seed)
        elif kind == "auto" and ground.modes.count > 1:
            base = by_labels(ground.v, ground.modes.assign(ground.scouted.u))
    dim = len(circular)
    last = Affine(jnp.zeros(dim), jnp.zeros(dim)) if method.linear == "scale" else None
    return realnvp(
        dim,
        transforms=method.layers,
        hidden=method.hidden,
        activation=method.activation,
        periodic=circular,
        bins=method.bins,
        scale_limit=None,
        shift_first=method.shift_first,
        base=base,
        last=None if any(circular) else last,
        seed=seed,
    )


def pretrain(flow: Flow, points: np.ndarray, method: Method, seed: int) -> Flow:
    """Maximum likelihood on the particles; the best on a held-out fifth of them is kept."""
    train, valid = (jnp.asarray(part, jnp.float32) for part in parted(points, seed))
    params, fixed = trainable(flow)
    state = Trained.start(params)
    best, best_params = float(mean_log_prob(flow, valid)), params
    key = jax.random.key(seed)
    loss = Likelihood(min(256, len(train)))
    rate = np.full(SEGMENT // 2, _PRETRAIN_RATE, np.float32)
    since = 0
    for start in range(0, method.pretrain, len(rate)):
        decay = 0.5 * (1 + np.cos(np.pi * start / method.pretrain))
        schedule = {"rate": jnp.asarray(rate * decay)}
        state, _ = run_segment(loss, state, fixed, train, key, jnp.asarray(start), schedule)
        value = float(mean_log_prob(eqx.combine(state.params, fixed), valid))
        since += 1
        if value > best:
            best, best_params, since = value, state.params, 0
        elif since >= _PATIENCE:
            break
    return eqx.combine(best_params, fixed)


def descend(
    flow: Flow,
    target: Target,
    ground: Ground,
    method: Method,
    limits: Limits,
    record: Record,
    seed: int,
    *,
    rate: float,
    on_segment: Callable[..., bool | None],
    resumed: tuple[int, Mapping[str, np.ndarray]] | None = None,
) -> tuple[Flow, str]:
    """Path gradients in compiled segments, until the steps, the budget or the aim are reached.

    Where ``on_segment`` returns False, this start is given up.
    """
    params, fixed = trainable(flow)
    state, step = Trained.start(params), 0
    batch = method.batch
    if limits.calls is not None and limits.calls < 3000 * batch:
        batch = max(32, batch // 2)
    guard = Guard(state)
    if resumed is not None:
        step, state = resumed[0], restore(state, "state", resumed[1])
        guard = Guard.restored(state, "state", resumed[1])
    reserve = 0
    if limits.calls is not None and isinstance(flow.base, NormalMixture):
        reserve = min(limits.calls // 10, _SETTLE_ROUNDS * _SETTLE_DRAWS)
    steps = limits.steps(method.steps - step, batch, record, reserve=reserve) + step
    stop = "finished" if steps >= method.steps else "budget"
    if stop == "budget" and steps > SEGMENT:
        steps -= steps % SEGMENT  # whole segments: a shorter one would compile anew
    objective = PathObjective(target, method.divergence, batch, method.widened)
    key = jax.random.key(seed)
    content = 0
    for done in record.rows[len(record.rows) - step // SEGMENT :]:
        content = content + 1 if done["ess"] >= method.target_ess else 0
    timings: list[float] = []
    while step < steps:
        rows = min(SEGMENT, steps - step)
        began = time.perf_counter()
        number = step + np.arange(rows)
        done = number / max(steps, 1)
        ramp = np.clip(done / method.anneal, 0.0, 1.0) if method.anneal > 0 else np.ones(rows)
        schedule = {
            "rate": jnp.asarray(
                guard.slower * 0.5 * rate * (1 + np.cos(np.pi * done)), jnp.float32
            ),
            "beta": jnp.asarray(ramp, jnp.float32),
            "spread": jnp.full(rows, method.spread, jnp.float32),
        }
        state, out = run_segment(
            objective, state, fixed, ground.frame, key, jnp.asarray(step), schedule
        )
        out = {name: np.asarray(value, np.float64) for name, value in out.items()}
        taken = time.perf_counter() - began
        timings.append(taken)
        step += rows
        record.calls += rows * batch
        record.not_finite += int(out["not_finite"].sum())
        record.excluded += int(out["excluded"].sum())
        record.skipped = int(state.skipped)
        own = batch - round(batch * method.widened)
        ess = _pooled_ess(out["log_sum"], out["log_square"], own)
        record.rows.append(
            {
                "step": float(len(record.rows) + 1) * SEGMENT,
                "loss": float(np.mean(out["loss"])),
                "ess": ess,
                "calls": float(record.calls),
                "seconds": taken,
            }
        )
        state = guard.watch(state, ess)
        go_on = on_segment(step, steps, record, state, guard.leaves("state"))
        content = content + 1 if ess >= method.target_ess else 0
        if go_on is False or (content >= 3 and step >= steps // 4):
            break
        if limits.deadline is not None and len(timings) >= 2:
            left = limits.deadline - time.perf_counter()
            affordable = step + int(max(left, 0.0) / np.median(timings[1:])) * SEGMENT
            if affordable < steps:
                steps, stop = max(affordable, step), "budget"
        if limits.passed():
            stop = "budget"
            break
    if timings:
        typical = float(np.median(timings[1:])) if len(timings) > 1 else timings[0]
        extra = max(0.0, timings[0] - typical)
        record.compiling += extra
        record.seconds += sum(timings) - extra
    return eqx.combine(guard.last(state).params, fixed), stop


def _pooled_ess(log_sum: np.ndarray, log_square: np.ndarray, count: int) -> float:
    """ESS/N of all own draws of a segment together."""
    good = np.isfinite(log_sum) & np.isfinite(log_square)
    if not good.any():
        return 0.0
    total = np.logaddexp.reduce(log_sum[good])
    square = np.logaddexp.reduce(log_square[good])
    return float(np.exp(2 * total - square) / (len(log_sum) * count))


@eqx.filter_jit
def _components(flow: Flow, key: jax.Array, count: int):
    z, component = flow.base.sample_components(key, (count,))  # type: ignore[attr-defined]
    x, log_det = apply_batch(flow.bijection.forward_and_log_det, z)
    return x, component, jax.vmap(flow.base.log_prob)(z) - log_det


def settle(
    flow: Flow, target: Target, ground: Ground, limits: Limits, record: Record, seed: int
) -> Flow:
    """Corrects the shares of a mixture base by importance weights.

    The path gradient does not see how much weight separated modes have against one another.
    """
    base = flow.base
    if not isinstance(base, NormalMixture):
        return flow
    for number in range(_SETTLE_ROUNDS):
        left = limits.steps(_SETTLE_DRAWS * (_SETTLE_ROUNDS - number), 1, record)
        count = left // (_SETTLE_ROUNDS - number)
        if count < _FEWEST:
            return flow
        key = jax.random.fold_in(jax.random.key(seed), number)
        drawn = _components(flow, key, _SETTLE_DRAWS)
        v, component, log_q = (np.asarray(part)[:count] for part in drawn)
        x, log_det = x_and_log_det(ground.frame, v)
        log_w = target.evaluate(x) + log_det - log_q.astype(np.float64)
        record.calls += count
        log_w = np.where(np.isfinite(log_w), log_w, -np.inf)
        if not np.isfinite(log_w).any():
            return flow
        w = np.exp(log_w - log_w.max())
        w = np.minimum(w / w.mean(), 10.0)
        k = base.log_weights.shape[0]
        hits = np.bincount(component, minlength=k)
        mean = np.bincount(component, weights=w, minlength=k) / np.maximum(hits, 1)
        mean = np.where(hits > 0, np.clip(mean, 0.2, 5.0), 1.0)
        log_weights = jax.nn.log_softmax(base.log_weights + jnp.asarray(np.log(mean), jnp.float32))
        base = NormalMixture(log_weights, base.locations, base.lowers)
        flow = Flow(base, flow.bijection)
    return flow


@eqx.filter_jit
def _wider(flow: Flow, key: jax.Array, count: int, spread: float):
    base = flow.base
    scale = jnp.where(jnp.arange(count) < count // 2, spread, 1.0)[:, None]
    if isinstance(base, NormalMixture):
        z, _ = base.sample_components(key, (count,), scale)
    else:
        z = base.sample(key, (count,))
        z = jnp.where(jnp.array([not flag for flag in flow_circular(flow)]), z * scale, z)
    return apply_batch(flow.bijection.forward_and_log_det, z)[0]


def fit_values(
    flow: Flow,
    target: Target,
    ground: Ground,
    method: Method,
    limits: Limits,
    record: Record,
    seed: int,
    *,
    on_segment: Callable[..., Any],
    resumed: tuple[int, Mapping[str, np.ndarray]] | None = None,
    rounds: int = 8,
    fresh: int = 3000,
) -> tuple[Flow, str]:
    """Without gradients: the density's values at kept points, and at fresh draws of the flow.

    Each round draws from the flow, half of it widened, and fits the flow to all values met so far
    by the variance of ``log p - log q``, which needs no gradient of the density.
    """
    params, fixed = trainable(flow)
    state = Trained.start(params)
    reference = float(np.asarray(ground.frame.reference))
    known, known_values = ground.pool if ground.pool is not None else _particles(target, ground)
    loss = LogVariance(min(256, len(known)))
    capacity = len(known) + rounds * fresh
    step = 0
    if resumed is not None:
        step, state = resumed[0], restore(state, "state", resumed[1])
        known, known_values = (resumed[1][f"state.{name}"] for name in ("points", "values"))
    filled = len(known)
    points = np.zeros((capacity, target.dim), np.float32)
    values = np.zeros(capacity, np.float32)
    points[:filled], values[:filled] = known, known_values
    key = jax.random.key(seed)
    steps_each = max(SEGMENT, method.steps // rounds // SEGMENT * SEGMENT)
    total, stop = rounds * steps_each, "finished"
    for number in range(step // steps_each, rounds):
        count = limits.steps(fresh, 1, record)
        if count < _FEWEST or limits.passed():
            stop = "budget"
            break
        began = time.perf_counter()
        model = eqx.combine(state.params, fixed)
        v = np.asarray(_wider(model, jax.random.fold_in(key, 10_000 + number), fresh, 1.3))[:count]
        x, log_det = x_and_log_det(ground.frame, v)
        value = target.evaluate(x) + log_det - reference
        record.calls += count
        record.not_finite += int(np.sum(np.isnan(value) | (value == np.inf)))
        record.excluded += int(np.sum(value == -np.inf))
        log_q = np.asarray(eqx.filter_jit(apply_batch)(model.log_prob, jnp.asarray(v)))
        own = value[count // 2 :] - log_q[count // 2 :]
        own = own[np.isfinite(own)]
        # Points far below the rest teach nothing about the bulk.
        usable = value > values[:filled].max() - WORTH_KEEPING - target.dim
        more = filled + int(usable.sum())
        points[filled:more], values[filled:more] = v[usable], value[usable]
        filled = more
        kept = (jnp.asarray(points), jnp.asarray(values), jnp.asarray(filled))
        for _ in range(steps_each // SEGMENT):
            done = (step + np.arange(SEGMENT)) / total
            schedule = {
                "rate": jnp.asarray(0.5 * method.rate * (1 + np.cos(np.pi * done)), jnp.float32),
                "variance": jnp.ones(SEGMENT, jnp.float32),
            }
            state, out = run_segment(loss, state, fixed, kept, key, jnp.asarray(step), schedule)
            step += SEGMENT
        ess = _pooled_ess(
            np.array([np.logaddexp.reduce(own)]), np.array([np.logaddexp.reduce(2 * own)]), len(own)
        )
        taken = time.perf_counter() - began
        record.seconds += taken
        record.rows.append(
            {
                "step": float(step),
                "loss": float(np.mean(np.asarray(out["loss"]))),
                "ess": ess,
                "calls": float(record.calls),
                "seconds": taken,
            }
        )
        met = {"state.points": points[:filled], "state.values": values[:filled]}
        on_segment(step, total, record, state, met)
    return eqx.combine(state.params, fixed), stop


def _particles(target: Target, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    """The particles and their log-densities in the frame, evaluated anew."""
    x, log_det = x_and_log_det(ground.frame, ground.v)
    return ground.v, target.evaluate(x) + log_det - float(np.asarray(ground.frame.reference))
