"""What a model is worth, on jets that nothing has learned from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray
from scipy.special import ndtr

from posterion.bijections.base import apply_batch
from posterion.core.estimate import Estimate
from posterion.diagnostics.divergence import kolmogorov_smirnov, kolmogorov_smirnov_two
from posterion.studies.jets.coordinates import (
    PULLS,
    conditions_of,
    from_jets,
    negative_masses,
    to_jets,
)
from posterion.studies.jets.kinematics import NAMES
from posterion.studies.jets.learning import Learned, Task
from posterion.studies.jets.tables import Side
from posterion.targets.target import v_and_log_det
from posterion.training import classify
from posterion.training.losses import row_by_row
from posterion.training.quantiles import crossing_rate
from posterion.training.ranges import said_once

__all__ = [
    "CUBE",
    "SHARP",
    "SHIFT",
    "Direction",
    "Judge",
    "Measured",
    "in_cube",
    "judge",
    "marginal",
    "measured",
]

Floats = NDArray[np.float64]

CUBE = {"pt": (30.0, 35.0), "eta": (-1.0, 1.0), "phi": (-1.0, 1.0), "m": (5.0, 10.0)}
"""Of the jets that are given, where the structure of the condition is looked at; in GeV."""

SHIFT = 1.02
"""Of the energies, planted to see whether the judge finds it."""

SHARP = 0.6
"""Area under the curve that the classifier is to reach on the planted shift."""

BINS = 10  # of the ratios, each of as many jets
_TRANSFORMS = 20_000
_TIMED = 200_000
_FEW = 50


@dataclass(frozen=True)
class Judge:
    """What a classifier tells apart, as areas under its curve; 0.5 is nothing.

    Attributes:
        planted: jets from the same jets with energies scaled by `SHIFT`: the judge's sharpness.
        floor: jets from a second response of the same events, where there is one.
    """

    planted: Estimate
    floor: Estimate | None


@dataclass(frozen=True, eq=False)
class Measured:
    """One model and its figures.

    Attributes:
        learned: the model.
        drawn: a jet for each jet of the test, ``(n, 4)``.
        levels: transforms of the test, ``(n, 4)``, uniform where the model is right.
        figures: by name.
        floors: what truth against truth gives, by the same names.
        auc: of the classifier between the model and the truth.
    """

    learned: Learned
    drawn: Floats
    levels: Floats
    auc: Estimate
    figures: Mapping[str, float]
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Direction:
    """Simulation or correction, with all its models.

    Attributes:
        task: what was learned.
        judge: how sharp the classifier is.
        rows: a row a model.
    """

    task: Task
    judge: Judge
    rows: tuple[Measured, ...]

    @property
    def valid(self) -> bool:
        """Whether the classifier finds the planted shift, so that what it says means something."""
        return self.judge.planted.value >= SHARP


def judge(task: Task, *, seed: int) -> Judge:
    """How sharp the classifier is that judges the models of this task."""
    given, outcome = task.test
    shifted = outcome * np.array([SHIFT, 1.0, 1.0, SHIFT])
    floor = None if task.again is None else _auc(task.test, task.again, seed)
    return Judge(_auc(task.test, (given, shifted), seed), floor)


def measured(learned: Learned, *, seed: int) -> Measured:
    """The figures of a model.

    Args:
        learned: the model, with the jets of its test.
        seed: of the draws and of the classifier.
    """
    given, _ = learned.task.test
    with said_once(learned.fit, conditions_of(given)):
        return _figures(learned, seed)


def _figures(learned: Learned, seed: int) -> Measured:
    task = learned.task
    given, outcome = task.test
    began = time.perf_counter()
    pulls = _drawn(learned.fit, given, seed)
    drawn = to_jets(pulls, given)
    levels = _levels(learned.fit, given[:_TRANSFORMS], outcome[:_TRANSFORMS])
    auc = _auc(task.test, (given, drawn), seed)
    figures = _compared(task.test, (given, drawn))
    floors = {} if task.again is None else _compared(task.test, task.again)
    for name, column in zip(NAMES, levels.T, strict=True):
        test = kolmogorov_smirnov(column, lambda u: u)
        figures |= {f"pit.{name}.ks": test.distance, f"pit.{name}.ks_p": test.p_value}
    figures["negative_masses"] = negative_masses(pulls, given)
    x, context = _as_learned(learned.fit, given[:_TRANSFORMS], outcome[:_TRANSFORMS])
    if (crossing := crossing_rate(learned.fit.flow, x, context)) is not None:
        figures["crossing_rate"] = crossing
    named = from_jets(outcome[:_TRANSFORMS], given[:_TRANSFORMS])
    log_prob = learned.fit.log_prob(named, conditions_of(given[:_TRANSFORMS]))
    figures["log_prob"] = float(np.mean(log_prob))
    figures["judging_seconds"] = time.perf_counter() - began
    figures["jets_a_second"] = _speed(learned.fit, given)
    return Measured(learned, drawn, levels, auc, figures, floors)


def marginal(truth: Floats, drawn: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Ratio of counts in bins, drawn over true, and the error that counting gives it."""
    n, m = (np.histogram(x, edges)[0].astype(np.float64) for x in (truth, drawn))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = m / n * (len(truth) / len(drawn))
        return ratio, ratio * np.sqrt(1 / n + 1 / m)


def in_cube(given: Floats) -> NDArray[np.bool_]:
    """Which jets are within `CUBE`."""
    keep = np.ones(len(given), bool)
    for column, (low, high) in zip(given.T, (CUBE[name] for name in NAMES), strict=True):
        keep &= (column > low) & (column < high)
    return keep


def _compared(truth: Side, other: Side) -> dict[str, float]:
    """Largest errors of ratios of marginals, and the test of each coordinate in the cube."""
    found: dict[str, float] = {}
    for name, x, y in zip(NAMES, truth[1].T, other[1].T, strict=True):
        edges = np.quantile(x, np.linspace(0, 1, BINS + 1))
        edges[0], edges[-1] = -np.inf, np.inf
        ratio, error = marginal(x, y, edges)
        found[f"marginal.{name}.largest"] = float(np.abs(ratio - 1).max())
        found[f"marginal.{name}.error"] = float(np.max(error))
    inside = [in_cube(given) for given, _ in (truth, other)]
    found["cube.jets"] = float(inside[0].sum())
    if min(rows.sum() for rows in inside) >= _FEW:
        pulls = [
            from_jets(outcome[rows], given[rows])
            for (given, outcome), rows in zip((truth, other), inside, strict=True)
        ]
        for name, pull in zip(NAMES, PULLS, strict=True):
            test = kolmogorov_smirnov_two(pulls[0][pull], pulls[1][pull])
            found[f"cube.{name}.ks"] = test.distance
            found[f"cube.{name}.ks_p"] = test.p_value
    return found


def _auc(truth: Side, other: Side, seed: int) -> Estimate:
    """Of a classifier that sees pulls beside their condition; either sample has its own jets."""
    first = _columns(*(rows[: len(rows) // 2] for rows in truth))
    second = _columns(*(rows[len(rows) // 2 :] for rows in other))
    return classify(first, second, hidden=(128, 128), batch=1024, seed=seed).auc


def _columns(given: Floats, jets: Floats) -> Floats:
    named = from_jets(jets, given) | conditions_of(given)
    return np.stack(list(named.values()), axis=1)


def _drawn(fit: Any, given: Floats, seed: int) -> dict[str, Floats]:
    pulls = fit.sample(1, context=conditions_of(given), seed=seed)
    return {name: np.asarray(pulls[name]).reshape(-1) for name in PULLS}


def _as_learned(fit: Any, given: Floats, outcome: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the frame's coordinates, and their conditions as the flow sees them."""
    x = np.stack(list(from_jets(outcome, given).values()), axis=1)
    v, _ = v_and_log_det(fit.frame, x)
    context = np.stack(list(conditions_of(given).values()), axis=1)
    return v.astype(np.float32), fit.as_seen(context).astype(np.float32)


def _levels(fit: Any, given: Floats, outcome: Floats) -> Floats:
    return ndtr(row_by_row(_latent, fit.flow, *_as_learned(fit, given, outcome)))


@eqx.filter_jit
def _latent(flow: Any, v: Array, context: Array | None) -> Array:
    return apply_batch(flow.bijection.inverse_and_log_det, v, context=context)[0]


def _speed(fit: Any, given: Floats) -> float:
    """Jets a second, from given jets to jets, after one call that compiles."""
    rows = given[np.arange(max(len(given), min(_TIMED, 20 * len(given)))) % len(given)]
    best = 0.0
    for seed in range(2):
        began = time.perf_counter()
        to_jets(_drawn(fit, rows, seed), rows)
        best = max(best, len(rows) / (time.perf_counter() - began))
    return best
