"""Probability density distillation: a flow that draws fast learns from one that has a fast density.

A teacher whose inverse is one pass (a MAF) and a student whose forward is one (an IAF), of as many
layers, are held against each other both ways round: x through the teacher to z and back through the
student, z through the student to x and back through the teacher, compared at both ends, at every
layer in between and in every parameter of the element-wise maps (van den Oord et al., 1711.10433;
Krause and Shih, 2110.11377). A last stage minimises KL(student || teacher) itself by path
gradients.
"""

import time
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection, apply_batch
from posterion.bijections.compose import Chain, Invert, Stack
from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.progress import progress
from posterion.core.status import Status
from posterion.diagnostics.health import Check, Health
from posterion.distributions.flow import Flow
from posterion.optimisation import Trained, run_segment, trainable
from posterion.training.fitted import Fit
from posterion.training.losses import log_probs
from posterion.training.posterior import Posterior
from posterion.training.samples import conditions_of

_SEGMENT = 200
_POOL = 65536
_COMPARED = 20_000
_GOOD = 0.05


class Pass(NamedTuple):
    """What happens to a batch, layer by layer from the base to the data: arrays (layers, n, dim).

    ``slopes`` are the logarithms of ``dx_i/dz_i`` of each layer, ``shifts`` what remains of ``x_i``
    besides ``z_i dx_i/dz_i``: the parameters of an affine map.
    """

    ends: Array
    slopes: Array
    shifts: Array


def _pass(layer: Autoregressive, before: Array, after: Array, log_slopes: Array) -> Pass:
    return Pass(after, log_slopes, after - before * jnp.exp(log_slopes))


def through_teacher(layers: Autoregressive, x: Array, context: Array | None) -> tuple[Array, Pass]:
    """From data to base through stacked layers, events along the first axis."""

    def step(x, layer):
        z, log_slopes = apply_batch(layer.inverse_and_log_slopes, x, context=context)
        return z, _pass(layer, z, x, -log_slopes)

    return lax.scan(step, x, layers, reverse=True)


def through_student(layers: Invert, z: Array, context: Array | None) -> tuple[Array, Pass]:
    """From base to data through stacked inverse layers."""

    def step(z, layer):
        x, log_slopes = apply_batch(layer.bijection.inverse_and_log_slopes, z, context=context)
        return x, _pass(layer.bijection, z, x, log_slopes)

    return lax.scan(step, z, layers)


def _chi2(a: Array, b: Array) -> Array:
    """Mean over the batch of the sum over coordinates (and layers) of squared differences."""
    square = jnp.square(a - b)
    return jnp.sum(square) / square.shape[-2]


class Distillation(eqx.Module):
    """The loss: half of that from x and half of that from z, or KL(student || teacher).

    ``inputs`` hold the teacher, its draws ``x`` and their ``context``.
    """

    batch: int = eqx.field(static=True)
    layerwise: bool = eqx.field(static=True)
    polish: bool = eqx.field(static=True)

    def __call__(
        self, student: Flow, inputs: dict[str, Any], key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        teacher: Flow = lax.stop_gradient(inputs["teacher"])
        chosen = jax.random.randint(key, (self.batch,), 0, len(inputs["x"]))
        x = inputs["x"][chosen]
        context = None if inputs["context"] is None else inputs["context"][chosen]
        z, log_base = student.base.sample_and_log_prob(jax.random.fold_in(key, 1), (self.batch,))
        if self.polish:
            loss = self._reverse_kl(student, teacher, z, log_base, context)
        elif self.layerwise:
            loss = self._layer_by_layer(student, teacher, x, z, context)
        else:
            loss = self._ends(student, teacher, x, z, context)
        return loss, {"loss": loss}

    def _layer_by_layer(self, student, teacher, x, z, context):
        of_teacher, of_student = stacked(teacher), stacked(student)
        inner, down = through_teacher(of_teacher, x, context)
        _, up = through_student(of_student, inner, context)
        from_x = sum(_chi2(a, b) for a, b in zip(up, down, strict=True))
        outer, up = through_student(of_student, z, context)
        back, down = through_teacher(of_teacher, outer, context)
        from_z = sum(_chi2(a, b) for a, b in zip(up, down, strict=True)) + _chi2(back, z)
        return 0.5 * (from_x + from_z)

    def _ends(self, student, teacher, x, z, context):
        inner, _ = apply_batch(teacher.bijection.inverse_and_log_det, x, context=context)
        again, _ = apply_batch(student.bijection.forward_and_log_det, inner, context=context)
        outer, _ = apply_batch(student.bijection.forward_and_log_det, z, context=context)
        back, _ = apply_batch(teacher.bijection.inverse_and_log_det, outer, context=context)
        return 0.5 * (_chi2(again, x) + _chi2(back, z))

    def _reverse_kl(self, student, teacher, z, log_base, context):
        """Path gradient: of the points alone, so that it vanishes where the two agree."""
        start = jax.vmap(jax.grad(student.base.log_prob))(z)
        x, _, score = apply_batch(student.bijection.forward_and_score, z, start, context=context)

        def log_prob(x):
            return jnp.sum(apply_batch(teacher.log_prob, x, context=context))

        pull = score - jax.grad(log_prob)(lax.stop_gradient(x))
        return jnp.mean(jnp.sum(lax.stop_gradient(pull) * x, axis=-1))


def stacked(flow: Flow) -> Any:
    """The stacked layers that a flow consists of, or ``None``."""
    bijection: Bijection = flow.bijection
    while isinstance(bijection, Chain) and len(bijection.bijections) == 1:
        bijection = bijection.bijections[0]
    return bijection.layers if isinstance(bijection, Stack) else None


def _of_one_build(teacher: Flow, student: Flow) -> bool:
    """Whether layer can be held against layer."""
    down, up = stacked(teacher), stacked(student)
    return (
        isinstance(down, Autoregressive)
        and isinstance(up, Invert)
        and isinstance(up.bijection, Autoregressive)
        and down.order.shape == up.bijection.order.shape
        and bool(jnp.all(down.order == up.bijection.order))
    )


def distill(
    teacher: Fit | Posterior,
    student: Flow,
    *,
    steps: int = 10_000,
    polish: int = 4_000,
    batch: int = 256,
    rate: float | int = 2e-3,
    context: Any = None,
    seed: int = 0,
    quiet: bool | None = None,
) -> Any:
    """Teaches a flow that draws fast what another one has learned.

    Args:
        teacher: a fit or a posterior; its density should be the fast direction.
        student: such as ``posterion.flows.iaf`` with as many transforms as the teacher; of another
            build it is held against the teacher at both ends only.
        steps: of the comparison both ways round.
        polish: further steps on KL(student || teacher).
        batch: draws a step, of each kind.
        rate: learning rate, falling to zero as a cosine in either stage.
        context: conditions to learn under, for a conditional fit.
        seed: of everything.
        quiet: no progress bar.

    Returns:
        A result of the teacher's kind with the student's flow; its health states the Kullback-
        Leibler divergences between the two, in nats for a whole event.

    Raises:
        SettingError: the student is for other events or contexts, or context lacks.
    """
    flow = teacher.flow
    if not isinstance(flow, Flow):
        raise SettingError("a flow on a surface cannot be distilled: its density has no volume")
    if student.event_shape != flow.event_shape or student.context_shape != flow.context_shape:
        raise SettingError(
            f"the student takes events {student.event_shape} and context {student.context_shape}, "
            f"the teacher {flow.event_shape} and {flow.context_shape}"
        )
    began = time.perf_counter()
    rows = None
    if flow.context_shape is not None:
        if context is None or not isinstance(teacher, Fit):
            raise SettingError("the teacher has a context: give context=, rows to learn under")
        found = teacher.as_seen(conditions_of(teacher, context))
        rows = np.resize(found, (_POOL, found.shape[1])).astype(np.float32)
    x = np.asarray(_draws(flow, jax.random.key(seed), rows, _POOL)[0])
    inputs = {
        "teacher": flow,
        "x": jnp.asarray(x),
        "context": None if rows is None else jnp.asarray(rows),
    }
    params, fixed = trainable(student)
    layerwise = _of_one_build(flow, student)
    history: dict[str, list[float]] = {"step": [], "loss": []}
    done = 0
    with progress(f"distilling {teacher.name}", total=steps + polish, quiet=quiet) as bar:
        for last, count in ((False, steps), (True, polish)):
            state = Trained.start(params)
            loss = Distillation(batch, layerwise, last)
            count = -(-count // _SEGMENT) * _SEGMENT
            for start in range(0, count, _SEGMENT):
                along = (start + np.arange(_SEGMENT)) / count
                each = (0.25 if last else 1.0) * rate * 0.5 * (1 + np.cos(np.pi * along))
                schedule = {"rate": jnp.asarray(each, jnp.float32)}
                key = jax.random.key(seed + 1 + last)
                first = jnp.asarray(start, jnp.int32)
                state, record = run_segment(loss, state, fixed, inputs, key, first, schedule)
                done += _SEGMENT
                history["step"].append(float(done))
                history["loss"].append(float(np.mean(record["loss"])))
                bar.update(done, loss=history["loss"][-1])
            params = state.params
    learned = eqx.combine(params, fixed)
    health = _health(teacher, learned, rows, seed, time.perf_counter() - began)
    return replace(
        teacher,
        flow=learned,
        health=health,
        history={name: np.array(values) for name, values in history.items()},
        citations=(*teacher.citations, "oord2018", "krause2021"),
        settings={**teacher.settings, "distilled": {"steps": steps, "polish": polish}},
    )


@eqx.filter_jit
def _draw_piece(flow: Flow, key: Array, count: int, context: Array | None):
    z, log_base = flow.base.sample_and_log_prob(key, (count,))
    x, log_det = apply_batch(flow.bijection.forward_and_log_det, z, context=context)
    return x, log_base - log_det


def _draws(
    flow: Flow, key: Array, rows: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    given = None if rows is None else jnp.asarray(rows[:count])
    x, log_q = _draw_piece(flow, key, count, given)
    return np.asarray(x), np.asarray(log_q, np.float64)


def _health(
    teacher: Any, student: Flow, rows: np.ndarray | None, seed: int, seconds: float
) -> Health:
    """KL(student || teacher) from the student's draws, KL(teacher || student) from the other's."""
    given = None if rows is None else rows[:_COMPARED]
    found = {}
    for name, a, b in (
        ("KL(student || teacher)", student, teacher.flow),
        ("KL(teacher || student)", teacher.flow, student),
    ):
        x, log_q = _draws(a, jax.random.key(seed + 17), given, _COMPARED)
        gain = log_q - log_probs(b, x, given)
        found[name] = Estimate(float(gain.mean()), float(gain.std() / np.sqrt(len(gain))))
    worst = max(found.values(), key=lambda e: e.value)
    good = bool(worst.value < _GOOD)
    checks = [
        Check(
            name,
            e.value,
            e.error,
            f"< {_GOOD:g}",
            "good" if e.value < _GOOD else "bad",
            f"nats an event, of {_COMPARED} draws",
        )
        for name, e in found.items()
    ]
    reasons = [] if good else [f"{name} is {e}" for name, e in found.items() if e.value >= _GOOD]
    return Health(
        Status.fitted if good else Status.misfit,
        f"{teacher.name}, distilled",
        tuple(reasons),
        tuple(checks),
        seconds={"distilling": seconds},
        measure=teacher.health.measure,
        notes=(f"the teacher's status: {teacher.status.name}",),
    )
