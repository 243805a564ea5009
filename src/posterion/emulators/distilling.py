"""An emulator's networks distilled into one, and what was lost by it.

The student learns the teacher's predictive moments on points that cost nothing but the teacher's
time (Korattikara et al., Bayesian Dark Knowledge, 1506.04416; both parts of the variance as in
Malinin et al., 1905.00076). On other points it is then held against the teacher.
"""

import platform
import time
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError
from posterion.core.progress import progress
from posterion.core.status import Status
from posterion.core.versions import versions
from posterion.diagnostics.health import Check, Health
from posterion.emulators.assessing import corrected
from posterion.emulators.distilled import HEADS, Distilled, moments_of_outputs
from posterion.emulators.emulator import Emulator
from posterion.emulators.predicting import Moments, moments
from posterion.emulators.settings import named_settings
from posterion.networks import Architecture, mlp, on_rows
from posterion.optimisation.epochs import train_epochs

Floats = NDArray[np.float64]

FEWEST = 200
"""Points that a distillation takes at least."""
MEAN, SD, PROBABILITY = 0.2, 0.1, 0.02
"""RMS differences up to which the student may stand for its teacher.

Of means, in the teacher's standard deviations: pulls then widen by two per cent; of standard
deviations, relative; of probabilities.
"""

_FLOOR = 1e-6  # of a standard deviation, in units of the targets' spread


@named_settings
def distil(
    emulator: Emulator,
    points: Any = None,
    *,
    network: Any = None,
    rows: int = 30_000,
    epochs: int = 100,
    batch: int = 256,
    rate: float | int = 2e-3,
    seed: int = 0,
    quiet: bool | None = None,
) -> Distilled:
    """One network that gives an emulator's means and both parts of its error bars.

    Args:
        emulator: the teacher.
        points: where it is asked, as for `Emulator.predict`: best from where the student will be.
            By default half of them lie evenly within the trained range, half about the rows that
            the file keeps.
        network: of the student, such as `posterion.networks.mlp`; three layers of 128 by default.
        rows: number of points, where they are not given. Another tenth each chooses the epoch and
            tells the differences.
        epochs: at most.
        batch: rows of a step of Adam.
        rate: of Adam at the start.
        seed: of everything.
        quiet: no progress bar.

    Returns:
        The student. Its report states the differences on points that neither chose nor trained it,
        and, where the file keeps held-out rows, its own coverage on them; its conformal factors are
        its own, from these.

    Raises:
        SampleError: too few points, or points that are not finite.
        SettingError: settings of the wrong type, or numbers out of range.
    """
    if rows < FEWEST or epochs < 1 or batch < 1 or not rate > 0 or seed < 0:
        raise SettingError(
            f"distil needs rows >= {FEWEST}, positive epochs, batch and rate and a seed of at "
            f"least 0, got {rows}, {epochs}, {batch}, {rate}, {seed}"
        )
    network = mlp((128, 128, 128), "silu") if network is None else network
    if not isinstance(network, Architecture):
        raise SettingError(f"network is what posterion.networks.mlp gives, not {network!r}")
    rng = np.random.default_rng([seed, 51])
    drawn = points is None
    x = _drawn(emulator, rng, rows + 2 * (rows // 10)) if drawn else emulator._points(points)
    if len(x) < FEWEST:
        raise SampleError(f"{len(x)} points are too few to distil on: {FEWEST} are needed")
    order, tenth = rng.permutation(len(x)), len(x) // 12 if drawn else len(x) // 10
    fresh, chosen, taken = np.split(x[order], [tenth, 2 * tenth])
    began = time.perf_counter()
    with progress(f"distilling {emulator.name}", quiet=quiet, total=2) as bar:
        data = [_lesson(emulator, part) for part in (taken, chosen)]
        bar.update(1)
        outputs = HEADS[emulator.head] * data[0].goal.mean.shape[1]
        built = network.build(x.shape[1], outputs, key=jax.random.key(seed))
        offset = _offset(emulator.head, data[0].goal)
        inputs = data[0], jnp.asarray(offset), emulator.head

        def score(model: Any) -> float:
            return float(_whole_loss(model, data[1], inputs[1], emulator.head))

        settings = {"epochs": epochs, "batch": batch, "rate": rate}
        trained, scores = train_epochs(
            _loss, built, inputs, len(taken), score, patience=epochs, seed=seed, **settings
        )
    student = Distilled(
        name=emulator.name,
        network=trained,
        offset=offset,
        head=emulator.head,
        inputs=emulator.inputs,
        targets=emulator.targets,
        factors=np.empty((0, emulator.factors.shape[1])),
        history={"epoch": np.arange(1, len(scores) + 1), "loss": np.asarray(scores)},
        settings={
            "network": repr(network),
            "rows": len(taken),
            "seed": seed,
            **settings,
            "emulator": emulator.settings,
        },
        versions=versions(),
        citations=(*emulator.citations, "korattikara2015"),
        provenance={
            **emulator.provenance,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "emulator": {
                "created": emulator.provenance.get("created", ""),
                "networks": len(emulator.networks),
                "status": emulator.status.name,
            },
        },
        held=emulator.held,
    )
    return _held_against(student, emulator, fresh, time.perf_counter() - began)


class _Lesson(eqx.Module):
    """Points in the networks' units, and the teacher's moments there."""

    x: Array
    goal: Moments


def _lesson(emulator: Emulator, x: Floats) -> _Lesson:
    scaled = emulator.inputs.scaled(x)
    goal, _ = moments(emulator.joint, emulator.networks, scaled, emulator.targets)
    return _Lesson(*jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (scaled, goal)))


def _drawn(emulator: Emulator, rng: np.random.Generator, count: int) -> Floats:
    """Points within the trained range; half of them about the rows that are kept.

    About means by a normal kernel of Scott's width, so that they are where the rows are and between
    them; what falls out of the range is put on its end.
    """
    columns, held = emulator.inputs, emulator.held
    if held is None or not len(held.x):
        return columns.uniform(rng, count)
    even = columns.uniform(rng, count // 2)
    rows = columns.scaled(held.x)
    width = rows.std(axis=0) * len(rows) ** (-1 / (rows.shape[1] + 4))
    near = rows[rng.integers(len(rows), size=count - len(even))]
    near = columns.unscaled(near + width * rng.normal(size=near.shape))
    return np.concatenate([even, np.clip(near, columns.low, columns.high)])


def _offset(head: str, goal: Moments) -> np.ndarray:
    """Means over points of what the outputs shall be: the network begins at zero about these."""
    if head != "normal":
        return np.zeros(2 * goal.mean.shape[1], np.float32)
    parts = goal.mean, _log_sd(goal.epistemic), _log_sd(goal.aleatoric)
    return np.concatenate([np.mean(np.asarray(part), axis=0) for part in parts])


def _log_sd(variance: Array) -> Array:
    return 0.5 * jnp.log(jnp.maximum(variance, _FLOOR**2))


def _loss_of_rows(head: str, outputs: Array, goal: Moments) -> Array:
    """Of means in standard deviations and of the logarithms of both parts; of labels the
    Kullback-Leibler divergence, and of the logits of the epistemic share.
    """
    found = moments_of_outputs(head, outputs)
    variance = jnp.maximum(goal.epistemic + goal.aleatoric, _FLOOR**2)
    if head == "normal":
        pull = (found.mean - goal.mean) ** 2 / variance
        first = _log_sd(found.epistemic) - _log_sd(goal.epistemic)
        second = _log_sd(found.aleatoric) - _log_sd(goal.aleatoric)
        return jnp.mean(pull + first**2 + second**2)
    p = jnp.clip(goal.mean, 1e-6, 1 - 1e-6)
    q = jnp.clip(found.mean, 1e-6, 1 - 1e-6)
    divergence = p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))
    share = jnp.clip(goal.epistemic / variance, 1e-6, 1 - 1e-6)
    logits = jnp.split(outputs, 2, axis=-1)[1]
    away = logits - jnp.log(share) + jnp.log1p(-share)
    # A share that is wrong by a tenth weighs as much as a divergence of 1e-4.
    return jnp.mean(divergence + 0.01 * away**2)


def _loss(model: Any, inputs: Any, key: Array, row: dict[str, Array]) -> tuple[Array, Array]:
    lesson, offset, head = inputs
    x, goal = jax.tree.map(lambda a: a[row["rows"]], (lesson.x, lesson.goal))
    value = _loss_of_rows(head, on_rows(model, x) + offset, goal)
    return value, value


@eqx.filter_jit
def _whole_loss(model: Any, lesson: _Lesson, offset: Array, head: str) -> Array:
    return _loss_of_rows(head, on_rows(model, lesson.x) + offset, lesson.goal)


def _held_against(
    student: Distilled, emulator: Emulator, fresh: Floats, seconds: float
) -> Distilled:
    """With its factors and its report."""
    checks = _differences(student, emulator, fresh)
    reasons = [
        f"{c.name} is {c.value:.3g}, wanted {c.threshold}" for c in checks if c.verdict == "bad"
    ]
    status = Status.unfaithful if reasons else emulator.status
    unmeasured: tuple[str, ...] = ("coverage: the file keeps no held-out rows",)
    held = student.held
    if held is not None:
        student, found, missed, unmeasured = corrected(
            student, held.x, held.y, correction=~held.test, test=held.test
        )
        checks += found
        reasons += [text for _, text in missed]
        if missed and status.ok:
            status = Status.overconfident
    if unmeasured and status.ok:
        status = Status.unproven
    notes = (
        f"differences: from {len(emulator.networks)} networks, on {len(fresh)} points that neither "
        "saw",
        f"the emulator: {emulator.status.name.replace('_', ' ')}",
    )
    health = Health(
        status,
        name=f"{student.name}, distilled",
        reasons=tuple(reasons),
        checks=tuple(checks),
        unmeasured=unmeasured,
        seconds={"distilling": seconds},
        notes=notes,
    )
    return replace(student, health=health)


def _differences(student: Distilled, emulator: Emulator, x: Floats) -> list[Check]:
    """RMS over points and targets, in the targets' own units."""
    ours, theirs = student.predict(x), emulator.predict(x)

    def check(name: str, away: Floats, limit: float | None = None) -> Check:
        value = float(np.sqrt(np.mean(away**2)))
        if limit is None:
            return Check(name, value)
        return Check(
            name, value, threshold=f"<= {limit}", verdict="good" if value <= limit else "bad"
        )

    if student.head != "normal":
        return [
            check("probability, difference", ours.mean - theirs.mean, PROBABILITY),
            check("epistemic, difference", ours.epistemic - theirs.epistemic),
        ]
    away = (ours.mean - theirs.mean) / theirs.sd
    return [
        check("mean, difference / sd", away, MEAN),
        Check("the same, 95 % within", float(np.quantile(np.abs(away), 0.95))),
        check("sd, relative difference", ours.sd / theirs.sd - 1, SD),
        check("epistemic, the same", ours.epistemic / np.maximum(theirs.epistemic, 1e-300) - 1),
        check("aleatoric, the same", ours.aleatoric / theirs.aleatoric - 1),
    ]
